/* Recursive STA/LTA. One recursion is a chain of a multiplication and an addition per sample; cut into blocks of 4 it is one
 * per block, and all else runs in lanes, the ratio with one division in double:
 *
 *     within_j = a within_(j-1) + x_j^2          S_j = a^(j+1) before + within_j          before of the next block = S_3
 *
 *     lane 0    row 0, block k              lane 0    x0  x1  x2  x3       a row without neighbours: four blocks of it,
 *     lane 1    row 1, block k              lane 1    x4  x5  x6  x7       their `before` a chain from lane to lane
 *     lane 2    row 2, block k       or     lane 2    x8  x9  x10 x11
 *     lane 3    row 3, block k              lane 3    x12 x13 x14 x15
 *
 * The operations on the numbers of a row are the same in both, and in single(), which takes samples one by one: the first
 * of a stream, the ends of calls, and the blocks where a sample is not finite. Denormal numbers count as 0, so that no sum
 * decays among them for ever. */
#include "onset.h"

#include <float.h>
#include <math.h>

#include "denormals.h"
#include "lanes.h"

enum { B = LL_STA_BLOCK, QUAD = 4, PARTS = 4 / LL_D };

/* From here on, sums of squares might overflow: not finite. */
#define LOUD 1e300

typedef struct {
    double power[2][B]; /* a, a^2 .. a^B */
    double gain;
    uint64_t warm; /* finite samples whose answer is 0 */
} sta_rule;

typedef const void *const rows_in[QUAD];
typedef void *const rows_out[QUAD];

/* 0 in silence, when both are: sta fades first. */
LL_INLINE ll_vd ratio(ll_vd sta, ll_vd lta, double gain) { return sta / ll_above(lta, ll_all(DBL_MIN)) * gain; }

LL_INLINE int all(ll_vi yes) {
    int64_t each = -1;
    for (int l = 0; l < LL_D; l++) each &= yes[l];
    return each != 0;
}

static inline void single(ll_sta_state *s, const sta_rule *r, const void *x, size_t i, void *out, int wide) {
    double v = ll_get(x, i, wide), x2 = v * v, sum[2] = {0}, answer = 0;
    int fine = x2 < LOUD;
    if (fine && s->count > 0) {
        for (int w = 0; w < 2; w++) {
            s->within[w] = s->taken ? ll_fma1(r->power[w][0], s->within[w], x2) : x2;
            sum[w] = ll_fma1(r->power[w][s->taken], s->before[w], s->within[w]);
        }
        if (s->count >= r->warm) answer = sum[0] / (sum[1] > DBL_MIN ? sum[1] : DBL_MIN) * r->gain;
        s->taken++;
    }
    s->count += fine;
    ll_put(out, i, fine ? answer : NAN, wide);
    if (++s->at < B) return;
    for (int w = 0; w < 2 && s->taken; w++) s->before[w] = ll_fma1(r->power[w][s->taken - 1], s->before[w], s->within[w]);
    s->at = s->taken = 0;
}

/* The next sample j of its block: `within` goes on, q becomes the ratio; S for the block after. */
LL_INLINE void step(ll_quad *q, ll_quad within[2], const ll_quad before[2], ll_quad sum[2], const sta_rule *r, int j) {
#pragma GCC unroll 2
    for (int p = 0; p < PARTS; p++) {
        ll_vd x2 = q->v[p] * q->v[p];
        for (int w = 0; w < 2; w++) {
            within[w].v[p] = j ? ll_fma(ll_all(r->power[w][0]), within[w].v[p], x2) : x2;
            sum[w].v[p] = ll_fma(ll_all(r->power[w][j]), before[w].v[p], within[w].v[p]);
        }
        q->v[p] = ratio(sum[0].v[p], sum[1].v[p], r->gain);
    }
}

/* Whether all samples were finite and their squares below LOUD, as those of finite floats are; for float it shows in the sum. */
LL_INLINE int calm(const ll_quad x[B], const ll_quad *sum, int wide) {
    ll_vi fine = ~(ll_vi){0};
    for (int p = 0; p < PARTS; p++) {
        for (int j = 0; j < B && wide; j++) fine &= x[j].v[p] * x[j].v[p] < LOUD;
        if (!wide) fine &= sum->v[p] < INFINITY;
    }
    return all(fine);
}

/* Whole blocks of up to four rows that stand at the beginning of one, as far as they are calm: how many samples that was. */
LL_INLINE size_t beside(ll_sta_state *s, const sta_rule *r, size_t rows, rows_in x, size_t i, size_t n, rows_out out, int wide) {
    ll_quad before[2], sum[2], within[2], q[B];
    double at[2][QUAD];
    size_t end = i;
    for (size_t l = 0; l < QUAD; l++)
        for (int w = 0; w < 2; w++) at[w][l] = s[l < rows ? l : rows - 1].before[w];
    for (int w = 0; w < 2; w++)
        for (int p = 0; p < PARTS; p++) before[w].v[p] = ll_load(at[w], p * LL_D, 1);
    for (; end + B <= n; end += B) {
        ll_load4(x, end, q, wide);
        if (wide && !calm(q, NULL, wide)) break;
#pragma GCC unroll 4
        for (int j = 0; j < B; j++) step(&q[j], within, before, sum, r, j);
        if (!wide && !calm(q, &sum[1], wide)) break;
        before[0] = sum[0], before[1] = sum[1];
        ll_store4(out, end, q, wide);
    }
    for (int w = 0; w < 2; w++)
        for (int p = 0; p < PARTS; p++) ll_store(at[w], p * LL_D, before[w].v[p], 1);
    for (size_t l = 0; l < rows; l++)
        for (int w = 0; w < 2; w++) s[l].before[w] = at[w][l];
    return end - i;
}

/* within_3 of four blocks that follow each other becomes what each finds before it; last is moved behind them. */
LL_INLINE void follow(ll_quad *within, double *last, double power) {
#if defined(__AVX__)
    double a = *last, b = ll_fma1(power, a, within->v[0][0]), c = ll_fma1(power, b, within->v[0][1]);
    double d = ll_fma1(power, c, within->v[0][2]);
    *last = ll_fma1(power, d, within->v[0][3]);
    within->v[0] = (ll_vd){a, b, c, d};
#else
    double a = *last, b = ll_fma1(power, a, within->v[0][0]), c = ll_fma1(power, b, within->v[0][1]);
    double d = ll_fma1(power, c, within->v[1][0]);
    *last = ll_fma1(power, d, within->v[1][1]);
    within->v[0] = (ll_vd){a, b}, within->v[1] = (ll_vd){c, d};
#endif
}

/* The same of one row alone, four blocks at a time. */
LL_INLINE size_t alone(ll_sta_state *s, const sta_rule *r, const void *x, size_t i, size_t n, void *out, int wide) {
    const void *in[QUAD];
    void *to[QUAD];
    ll_quad before[2], sum[2], within[2], q[B];
    double last[2] = {s->before[0], s->before[1]};
    size_t end = i;
    for (size_t l = 0; l < QUAD; l++) in[l] = ll_skip(x, l * B, wide), to[l] = ll_skip_out(out, l * B, wide);
    for (; end + QUAD * B <= n; end += QUAD * B) {
        ll_load4(in, end, q, wide);
        if (wide && !calm(q, NULL, wide)) break;
        double from[2] = {last[0], last[1]};
#pragma GCC unroll 2
        for (int w = 0; w < 2; w++) {
#pragma GCC unroll 4
            for (int j = 0; j < B; j++)
                for (int p = 0; p < PARTS; p++) {
                    ll_vd x2 = q[j].v[p] * q[j].v[p];
                    before[w].v[p] = j ? ll_fma(ll_all(r->power[w][0]), before[w].v[p], x2) : x2;
                }
            follow(&before[w], &last[w], r->power[w][B - 1]);
        }
#pragma GCC unroll 4
        for (int j = 0; j < B; j++) step(&q[j], within, before, sum, r, j);
        if (!wide && !calm(q, &sum[1], wide)) {
            last[0] = from[0], last[1] = from[1];
            break;
        }
        ll_store4(to, end, q, wide);
    }
    s->before[0] = last[0], s->before[1] = last[1];
    return end - i;
}

LL_INLINE void recursive_rows(ll_sta_state *s, const sta_rule *r, const void *x, size_t rows, size_t n, void *out, int wide) {
    const void *in[QUAD];
    void *to[QUAD];
    for (size_t l = 0; l < QUAD; l++) {
        size_t row = l < rows ? l : rows - 1;
        in[l] = ll_skip(x, row * n, wide), to[l] = ll_skip_out(out, row * n, wide);
    }
    for (size_t i = 0; i < n;) {
        int ready = 1;
        for (size_t l = 0; l < rows; l++) ready &= s[l].at == 0 && s[l].count > 0;
        size_t done = ready && rows == 1 ? alone(s, r, x, i, n, out, wide) : 0;
        if (ready) done += beside(s, r, rows, in, i + done, n, to, wide);
        for (size_t l = 0; l < rows; l++) {
            for (size_t j = 0; j < done && s[l].count + j < r->warm; j++) ll_put(to[l], i + j, 0, wide);
            s[l].count += done;
        }
        i += done;
        size_t few = n - i < B - s->at ? n - i : B - s->at;
        for (size_t l = 0; l < rows; l++)
            for (size_t j = 0; j < few; j++) single(&s[l], r, in[l], i + j, to[l], wide);
        i += few;
    }
}

LL_APART static void recursive_all(ll_sta_state *s, const sta_rule *r, const void *x, size_t rows, size_t n, void *out, int wide) {
    for (size_t c = 0; c < rows; c += QUAD) {
        size_t some = rows - c < QUAD ? rows - c : QUAD;
        if (wide) recursive_rows(&s[c], r, ll_skip(x, c * n, 1), some, n, ll_skip_out(out, c * n, 1), 1);
        else recursive_rows(&s[c], r, ll_skip(x, c * n, 0), some, n, ll_skip_out(out, c * n, 0), 0);
    }
}

static int recursive(ll_sta_state *s, size_t n_sta, size_t n_lta, const void *x, size_t rows, size_t n, void *out, int wide) {
    if (n_sta < 1 || n_lta < 1) return LL_RANGE;
    sta_rule r = {.gain = (double)n_lta / (double)n_sta, .warm = n_lta};
    for (int w = 0; w < 2; w++) {
        double a = 1 - 1 / (double)(w ? n_lta : n_sta);
        r.power[w][0] = a;
        for (int j = 1; j < B; j++) r.power[w][j] = r.power[w][j - 1] * a;
    }
    ll_float_mode before = ll_flush();
    recursive_all(s, &r, x, rows, n, out, wide);
    ll_restore(before);
    return LL_OK;
}

const ll_onset_api LL_FN(ll_onset_api) = {
    .recursive = recursive, .classic_size = ll_classic_size, .classic = ll_classic, .cusum = ll_cusum, .aic = ll_aic};
