/* Classic STA/LTA: sums of x^2 over the last n samples without a subtraction, so that no spike is remembered.
 *
 *     blocks of n     |  a  b [c  d  e |  f  g] h  i  j |        the window of n = 5 that ends with g
 *     kept from           c..e d..e e                            suffix sums of the block before, made once when it was full
 *     prefix                              f f..g                 running within the block: c..e + f..g
 *
 * A lane a row, four rows together: their windows stand at the same place. A row without neighbours keeps its sums without
 * gaps and goes stage by stage; its operations are the same. NaN (an infinity counts as one) stays in the sums of its block and
 * in no window without it. */
#include "onset.h"

#include <float.h>
#include <math.h>

#include "denormals.h"
#include "lanes.h"

enum { QUAD = 4, PARTS = 4 / LL_D, RUN = 256 };

typedef struct {
    ll_classic_state *state;
    double *kept[2]; /* sta, lta: `stride` numbers a sample */
    size_t n[2], stride;
    double gain;
} windows;

size_t ll_classic_size(size_t n_sta, size_t n_lta) { return (sizeof(ll_classic_state) + 32 * (n_sta + n_lta + 2) + 63) / 64 * 64; }

static windows windows_of(ll_classic_state *s, size_t n_sta, size_t n_lta, size_t stride) {
    double *kept = (double *)(s + 1);
    return (windows){s, {kept, kept + (n_sta + 1) * stride}, {n_sta, n_lta}, stride, (double)n_lta / (double)n_sta};
}

LL_INLINE ll_quad load(const double *p) {
    ll_quad q;
    for (int i = 0; i < PARTS; i++) q.v[i] = ll_load(p, (size_t)i * LL_D, 1);
    return q;
}
LL_INLINE void store(double *p, ll_quad q) {
    for (int i = 0; i < PARTS; i++) ll_store(p, (size_t)i * LL_D, q.v[i], 1);
}
LL_INLINE ll_quad plus(ll_quad a, ll_quad b) {
    for (int i = 0; i < PARTS; i++) a.v[i] += b.v[i];
    return a;
}

/* Values become the sums from each of them to the end: within four, and on them what comes behind. */
static inline void suffixes(double *kept, size_t n) {
    ll_quad behind = {0};
    for (; n >= 4; n -= 4) {
        double *k = kept + (n - 4) * QUAD;
        ll_quad d = load(k + 12), c = plus(load(k + 8), d), b = plus(load(k + 4), c), a = plus(load(k), b);
        store(k + 12, plus(d, behind)), store(k + 8, plus(c, behind)), store(k + 4, plus(b, behind));
        store(k, behind = plus(a, behind));
    }
    while (n-- > 0) store(kept + n * QUAD, behind = plus(load(kept + n * QUAD), behind));
}
static inline void suffixes_alone(double *kept, size_t n) {
    double behind = 0;
    for (; n >= 4; n -= 4) {
        double *k = kept + n - 4, d = k[3], c = k[2] + d, b = k[1] + c, a = k[0] + b;
        k[3] = d + behind, k[2] = c + behind, k[1] = b + behind;
        k[0] = behind = a + behind;
    }
    while (n-- > 0) kept[n] = behind = kept[n] + behind;
}

/* m samples further; full blocks turn. */
LL_INLINE void advance(const windows *w, size_t m) {
    for (int i = 0; i < 2; i++) {
        w->state->at[i] += m;
        if (w->state->at[i] < w->n[i]) continue;
        if (w->stride == 1) suffixes_alone(w->kept[i], w->n[i]);
        else suffixes(w->kept[i], w->n[i]);
        memset(w->state->prefix[i], 0, sizeof w->state->prefix[i]);
        w->state->at[i] = 0;
    }
    w->state->count += m;
}

/* 0 in silence; NaN stays what it is. */
LL_INLINE ll_vd ratio(ll_vd sta, ll_vd lta, double gain) { return sta / ll_above(ll_all(DBL_MIN), lta) * gain; }

/* The square of a tile, and whether all of it is finite. */
LL_INLINE int square(ll_quad q[QUAD], int m) {
    ll_vi fine = ~(ll_vi){0};
    for (int p = 0; p < PARTS; p++) {
        ll_vd sum = {0};
        for (int j = 0; j < m; j++) q[j].v[p] = q[j].v[p] * q[j].v[p], sum += q[j].v[p];
        fine &= sum < INFINITY;
    }
    int64_t each = -1;
    for (int l = 0; l < LL_D; l++) each &= fine[l];
    return each != 0;
}

/* What is not finite becomes NaN, and always the same one, so that in sums of NaN the order does not show. */
static void blot(ll_quad q[QUAD], int m) {
    for (int j = 0; j < m; j++)
        for (int p = 0; p < PARTS; p++) q[j].v[p] = ll_choose(q[j].v[p] < INFINITY, q[j].v[p], ll_all(NAN));
}

/* m samples of q within both blocks become their ratios; `at` is the first one's place in what is kept. */
LL_INLINE void slide(const windows *w, ll_quad sum[2], double *const at[2], ll_quad *q, int m) {
    ll_quad all[2];
    if (!square(q, m)) blot(q, m);
#pragma GCC unroll 4
    for (int j = 0; j < m; j++) {
        for (int i = 0; i < 2; i++) {
            store(at[i] + j * QUAD, q[j]);
            sum[i] = plus(sum[i], q[j]);
            all[i] = plus(sum[i], load(at[i] + (j + 1) * QUAD)); /* [n] is 0 */
        }
        for (int p = 0; p < PARTS; p++) q[j].v[p] = ratio(all[0].v[p], all[1].v[p], w->gain);
    }
}

/* One sample, wherever it stands. */
static void slide_one(const windows *w, ll_quad *q) {
    ll_quad sum[2] = {load(w->state->prefix[0]), load(w->state->prefix[1])};
    double *const at[2] = {w->kept[0] + w->state->at[0] * QUAD, w->kept[1] + w->state->at[1] * QUAD};
    slide(w, sum, at, q, 1);
    for (int i = 0; i < 2; i++) store(w->state->prefix[i], sum[i]);
    advance(w, 1);
}

/* Samples i .. end, a number of tiles that ends no block before its last one. */
LL_INLINE void slide_tiles(const windows *w, const void *const x[QUAD], size_t i, size_t end, void *const out[QUAD], int wide) {
    ll_quad sum[2] = {load(w->state->prefix[0]), load(w->state->prefix[1])}, q[QUAD];
    double *at[2] = {w->kept[0] + w->state->at[0] * QUAD, w->kept[1] + w->state->at[1] * QUAD};
    size_t m = end - i;
    for (; i < end; i += QUAD, at[0] += QUAD * QUAD, at[1] += QUAD * QUAD) {
        ll_load4(x, i, q, wide);
        slide(w, sum, at, q, QUAD);
        ll_store4(out, i, q, wide);
    }
    for (int k = 0; k < 2; k++) store(w->state->prefix[k], sum[k]);
    advance(w, m);
}

/* The last m < 4 samples. */
static void slide_end(const windows *w, const void *const x[QUAD], size_t i, size_t m, void *const out[QUAD], int wide) {
    double from[QUAD][QUAD] = {{0}}, to[QUAD][QUAD];
    const void *const in[QUAD] = {from[0], from[1], from[2], from[3]};
    void *const made[QUAD] = {to[0], to[1], to[2], to[3]};
    ll_quad q[QUAD];
    for (int l = 0; l < QUAD; l++)
        for (size_t j = 0; j < m; j++) from[l][j] = ll_get(x[l], i + j, wide);
    ll_load4(in, 0, q, 1);
    for (size_t j = 0; j < m; j++) slide_one(w, &q[j]);
    ll_store4(made, 0, q, 1);
    for (int l = 0; l < QUAD; l++)
        for (size_t j = 0; j < m; j++) ll_put(out[l], i + j, to[l][j], wide);
}

LL_INLINE void beside(const windows *w, const void *const x[QUAD], size_t n, void *const out[QUAD], int wide) {
    ll_quad q[QUAD];
    size_t i = 0;
    while (i + QUAD <= n) {
        size_t run = n - i;
        for (int k = 0; k < 2; k++) run = run < w->n[k] - w->state->at[k] ? run : w->n[k] - w->state->at[k];
        if (run >= QUAD) {
            run = run / QUAD * QUAD;
            slide_tiles(w, x, i, i + run, out, wide);
            i += run;
        } else { /* a block ends within the tile */
            ll_load4(x, i, q, wide);
            for (int j = 0; j < QUAD; j++) slide_one(w, &q[j]);
            ll_store4(out, i, q, wide);
            i += QUAD;
        }
    }
    if (i < n) slide_end(w, x, i, n - i, out, wide);
}

/* A row without neighbours. */
LL_INLINE void alone(const windows *w, const void *x, size_t n, void *out, int wide) {
    double x2[RUN + LL_D], all[2][RUN + LL_D];
    for (size_t i = 0, run; i < n; i += run, advance(w, run)) {
        run = n - i < RUN ? n - i : RUN;
        for (int k = 0; k < 2; k++) run = run < w->n[k] - w->state->at[k] ? run : w->n[k] - w->state->at[k];
        for (size_t j = 0; j < run; j++) {
            double v = ll_get(x, i + j, wide);
            x2[j] = v * v < INFINITY ? v * v : NAN;
        }
        double *a = w->kept[0] + w->state->at[0], *b = w->kept[1] + w->state->at[1];
        double sta = w->state->prefix[0][0], lta = w->state->prefix[1][0];
        for (size_t j = 0; j < run; j++) all[0][j] = sta += x2[j], all[1][j] = lta += x2[j];
        w->state->prefix[0][0] = sta, w->state->prefix[1][0] = lta;
        for (size_t j = 0; j < run; j++) all[0][j] += a[j + 1], all[1][j] += b[j + 1];
        memcpy(a, x2, run * sizeof *a), memcpy(b, x2, run * sizeof *b);
        for (size_t j = 0; j < run; j += LL_D) ll_store(all[0], j, ratio(ll_load(all[0], j, 1), ll_load(all[1], j, 1), w->gain), 1);
        for (size_t j = 0; j < run; j++) ll_put(out, i + j, all[0][j], wide);
    }
}

LL_INLINE void classic_rows(ll_classic_state *s, size_t n_sta, size_t n_lta, const void *x, size_t rows, size_t n, void *out,
                            int wide) {
    windows w = windows_of(s, n_sta, n_lta, rows == 1 ? 1 : QUAD);
    size_t cold = s->count >= n_lta - 1 ? 0 : n_lta - 1 - s->count;
    const void *in[QUAD];
    void *to[QUAD];
    for (size_t l = 0; l < QUAD; l++) {
        size_t row = l < rows ? l : rows - 1;
        in[l] = ll_skip(x, row * n, wide), to[l] = ll_skip_out(out, row * n, wide);
    }
    if (rows == 1) alone(&w, x, n, out, wide);
    else beside(&w, in, n, to, wide);
    for (size_t l = 0; l < rows; l++)
        for (size_t i = 0; i < n && i < cold; i++) ll_put(to[l], i, 0, wide);
}

LL_APART static void classic_all(char *s, size_t n_sta, size_t n_lta, const void *x, size_t rows, size_t n, void *out, int wide) {
    for (size_t c = 0; c < rows; c += QUAD, s += ll_classic_size(n_sta, n_lta)) {
        size_t some = rows - c < QUAD ? rows - c : QUAD;
        if (wide) classic_rows((ll_classic_state *)s, n_sta, n_lta, ll_skip(x, c * n, 1), some, n, ll_skip_out(out, c * n, 1), 1);
        else classic_rows((ll_classic_state *)s, n_sta, n_lta, ll_skip(x, c * n, 0), some, n, ll_skip_out(out, c * n, 0), 0);
    }
}

int ll_classic(void *s, size_t n_sta, size_t n_lta, const void *x, size_t rows, size_t n, void *out, int wide) {
    if (n_sta < 1 || n_lta < n_sta) return LL_RANGE;
    ll_float_mode before = ll_flush();
    classic_all(s, n_sta, n_lta, x, rows, n, out, wide);
    ll_restore(before);
    return LL_OK;
}
