/* Four rows at a time, four samples at a time turned into lanes, in stretches short enough that one is soon done again:
 *
 *     stretch    taken as if all samples were finite and the averages ready;
 *                again with a mask where that shows to be wrong (a sum that is not finite), or is known to be (warming up);
 *                again with the ratio from where that is wanted on
 *
 * What is done again begins from the state before it, so that the numbers are those of one way through. */
#include "trigger.h"

#include <float.h>
#include <math.h>

#include "denormals.h"
#include "lanes.h"

enum { STRETCH = 256, QUAD = LL_TRIGGER_ROWS, PARTS = QUAD / LL_D };

typedef struct {
    ll_quad x, d, y1, y2, sta, lta;
    ll_vi count[PARTS];
} lanes;

typedef const void *const rows_in[QUAD];
typedef void *const rows_out[QUAD];

LL_INLINE void spread(ll_quad *to, const double *from) {
    for (int p = 0; p < PARTS; p++) to->v[p] = ll_load(from, p * LL_D, 1);
}
LL_INLINE void gather(double *to, const ll_quad *from) {
    for (int p = 0; p < PARTS; p++) ll_store(to, p * LL_D, from->v[p], 1);
}

LL_INLINE lanes taken(const ll_trigger_state *s) {
    lanes l;
    spread(&l.x, s->x), spread(&l.d, s->d), spread(&l.y1, s->y[0]), spread(&l.y2, s->y[1]);
    spread(&l.sta, s->sum[0]), spread(&l.lta, s->sum[1]);
    memcpy(l.count, s->count, sizeof s->count);
    return l;
}

LL_INLINE void put_back(ll_trigger_state *s, const lanes *l) {
    gather(s->x, &l->x), gather(s->d, &l->d), gather(s->y[0], &l->y1), gather(s->y[1], &l->y2);
    gather(s->sum[0], &l->sta), gather(s->sum[1], &l->lta);
    memcpy(s->count, l->count, sizeof s->count);
}

/* One sample of each row; q becomes y, and *ratio that or, without `loud`, is above 0 where it may have reached `on`. */
LL_INLINE void step(lanes *l, const ll_trigger_rule *r, double near, ll_quad *q, ll_quad *ratio, int masked, int loud) {
    for (int p = 0; p < PARTS; p++) {
        const ll_vd x = q->v[p];
        ll_vd last = l->x.v[p];
        ll_vi good = {0}, warm = {0};
        if (masked) {
            good = x - x == 0.0, warm = good & (l->count[p] >= r->warm);
            last = ll_choose(l->count[p] == 0, x, last);
        }
        const ll_vd d = x - last, turn = ll_all(r->gain) * (d - l->d.v[p]);
        const ll_vd y = ll_fma(ll_all(r->a1), l->y1.v[p], ll_fma(ll_all(r->a2), l->y2.v[p], turn)), e = y * y;
        const ll_vd sta = ll_fma(ll_all(r->keep[0]), l->sta.v[p], e), lta = ll_fma(ll_all(r->keep[1]), l->lta.v[p], e);
        ll_vd answer = loud ? sta / ll_above(lta, ll_all(DBL_MIN)) * r->scale : ll_fma(ll_all(near), sta, -lta);
        if (masked) {
            answer = (ll_vd)(warm & (ll_vi)answer);
            if (loud) answer = ll_choose(good, answer, ll_all(NAN));
            l->x.v[p] = ll_choose(good, x, l->x.v[p]), l->d.v[p] = ll_choose(good, d, l->d.v[p]);
            l->y2.v[p] = ll_choose(good, l->y1.v[p], l->y2.v[p]), l->y1.v[p] = ll_choose(good, y, l->y1.v[p]);
            l->sta.v[p] = ll_choose(good, sta, l->sta.v[p]), l->lta.v[p] = ll_choose(good, lta, l->lta.v[p]);
            l->count[p] -= good;
            q->v[p] = ll_choose(good, y, ll_all(NAN));
        } else {
            l->x.v[p] = x, l->d.v[p] = d, l->y2.v[p] = l->y1.v[p], l->y1.v[p] = y;
            l->sta.v[p] = sta, l->lta.v[p] = lta;
            q->v[p] = y;
        }
        ratio->v[p] = answer;
    }
}

/* Samples [from, end); answers, without `loud`, the largest of what step() says of them. */
LL_INLINE ll_quad stretch(lanes *l, const ll_trigger_rule *of, rows_in in, size_t rows, size_t from, size_t end, rows_out out_y,
                          rows_out out_ratio, int masked, int loud) {
    /* Copies: what is stored through y might otherwise be any of these, and each would be read again for every four samples. */
    const ll_trigger_rule rule = *of, *r = &rule;
    const void *const x[QUAD] = {in[0], in[1], in[2], in[3]};
    void *const y[QUAD] = {out_y[0], out_y[1], out_y[2], out_y[3]};
    void *const ratio[QUAD] = {out_ratio[0], out_ratio[1], out_ratio[2], out_ratio[3]};
    /* a millionth: far more than roundings here, in the ratio and its float can make of it */
    const double near = r->scale * (1 + 1e-6) / r->on;
    lanes own = *l;
    ll_quad most, q[QUAD], told[QUAD];
    for (int p = 0; p < PARTS; p++) most.v[p] = ll_all(0.0);
    size_t i = from;
    for (; i + QUAD <= end; i += QUAD) {
        ll_load4(x, i, q, 0);
#pragma GCC unroll 4
        for (int j = 0; j < QUAD; j++) {
            step(&own, r, near, &q[j], &told[j], masked, loud);
            for (int p = 0; p < PARTS && !loud; p++) most.v[p] = ll_above(told[j].v[p], most.v[p]);
        }
        ll_store4(y, i, q, 0);
        if (loud) ll_store4(ratio, i, told, 0);
    }
    for (; i < end; i++) {
        double one[QUAD], out[2][QUAD];
        for (int k = 0; k < QUAD; k++) one[k] = ll_get(x[k], i, 0);
        spread(&q[0], one);
        step(&own, r, near, &q[0], &told[0], masked, loud);
        for (int p = 0; p < PARTS && !loud; p++) most.v[p] = ll_above(told[0].v[p], most.v[p]);
        gather(out[0], &q[0]), gather(out[1], &told[0]);
        for (size_t k = 0; k < rows; k++) {
            ll_put(y[k], i, out[0][k], 0);
            if (loud) ll_put(ratio[k], i, out[1][k], 0);
        }
    }
    *l = own;
    return most;
}

LL_INLINE int all(const ll_vi *yes) {
    int64_t each = -1;
    for (int p = 0; p < PARTS; p++)
        for (int k = 0; k < LL_D; k++) each &= yes[p][k];
    return each != 0;
}

LL_INLINE int ready(const lanes *l, const ll_trigger_rule *r) {
    ll_vi yes[PARTS];
    for (int p = 0; p < PARTS; p++) yes[p] = l->count[p] >= r->warm;
    return all(yes) && r->warm > 0;
}

LL_INLINE int calm(const ll_quad *q) {
    ll_vi yes[PARTS];
    for (int p = 0; p < PARTS; p++) yes[p] = q->v[p] - q->v[p] == 0.0;
    return all(yes);
}

LL_INLINE int none_above(const ll_quad *q) {
    ll_vi yes[PARTS];
    for (int p = 0; p < PARTS; p++) yes[p] = ~(q->v[p] > 0.0);
    return all(yes);
}

/* The stretch as if nothing were amiss, or with a mask. */
LL_INLINE ll_quad either(lanes *l, const ll_trigger_rule *r, rows_in x, size_t rows, size_t from, size_t end, rows_out y,
                         rows_out ratio, int loud) {
    if (ready(l, r)) {
        lanes before = *l;
        ll_quad most = stretch(l, r, x, rows, from, end, y, ratio, 0, loud);
        if (calm(&l->lta)) { /* once a sum is not, it stays so */
            for (int p = 0; p < PARTS; p++) l->count[p] += (int64_t)(end - from);
            return most;
        }
        *l = before;
    }
    return stretch(l, r, x, rows, from, end, y, ratio, 1, loud);
}

LL_APART static size_t quiet(lanes *l, const ll_trigger_rule *r, rows_in x, size_t rows, size_t n, size_t from, rows_out y) {
    for (size_t end; from < n; from = end) {
        end = n - from < STRETCH ? n : from + STRETCH;
        lanes before = *l;
        ll_quad most = either(l, r, x, rows, from, end, y, y, 0);
        if (none_above(&most)) continue;
        *l = before;
        break;
    }
    return from;
}

LL_APART static void loud(lanes *l, const ll_trigger_rule *r, rows_in x, size_t rows, size_t n, size_t from, rows_out y,
                          rows_out ratio) {
    for (size_t end; from < n; from = end) {
        end = n - from < STRETCH ? n : from + STRETCH;
        either(l, r, x, rows, from, end, y, ratio, 1);
    }
}

static size_t run(ll_trigger_state *s, const ll_trigger_rule *r, const float *const *x, size_t rows, size_t n, size_t from,
                  float *const *y, float *const *ratio) {
    const void *in[QUAD];
    void *out[2][QUAD];
    for (size_t k = 0; k < QUAD; k++) {
        size_t row = k < rows ? k : rows - 1;
        in[k] = x[row], out[0][k] = y[row], out[1][k] = ratio ? ratio[row] : NULL;
    }
    lanes l = taken(s);
    ll_float_mode before = ll_flush();
    if (!ratio) from = quiet(&l, r, in, rows, n, from, out[0]);
    else loud(&l, r, in, rows, n, from, out[0], out[1]), from = n;
    ll_restore(before);
    put_back(s, &l);
    return from;
}

const ll_trigger_api LL_FN(ll_trigger_api) = {.run = run};
