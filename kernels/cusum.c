/* CUSUM on both sides, a lane a row: without branches, for on noise they would go either way.
 *
 *     g > threshold ? max(0, step) : max(0, g + step)        step = x - drift, or -x - drift
 *
 * Both answers are made before the comparison is known, which shortens the chain from sample to sample. */
#include <math.h>

#include "lanes.h"
#include "onset.h"

enum { QUAD = 4, PARTS = 4 / LL_D };

typedef struct {
    ll_quad up, down;
} cusum_lanes;

LL_INLINE ll_vd above_zero(ll_vd v) { return (ll_vd)((ll_vi)v & (v > 0)); }

LL_INLINE ll_vd next(ll_vd g, ll_vd step, double threshold) {
    return ll_choose(g > threshold, above_zero(step), above_zero(g + step));
}

/* x becomes up, down is filled; a sample that is not finite answers NaN and changes nothing. */
LL_INLINE void add_up(cusum_lanes *s, double drift, double threshold, int m, ll_quad x[QUAD], ll_quad down[QUAD], int masked) {
#pragma GCC unroll 4
    for (int j = 0; j < m; j++)
        for (int p = 0; p < PARTS; p++) {
            ll_vd v = x[j].v[p], up = next(s->up.v[p], v - drift, threshold), low = next(s->down.v[p], -v - drift, threshold);
            ll_vi fine = v - v == 0;
            s->up.v[p] = masked ? ll_choose(fine, up, s->up.v[p]) : up;
            s->down.v[p] = masked ? ll_choose(fine, low, s->down.v[p]) : low;
            x[j].v[p] = masked ? ll_choose(fine, up, ll_all(NAN)) : up;
            down[j].v[p] = masked ? ll_choose(fine, low, ll_all(NAN)) : low;
        }
}

/* Whether no sample is NaN or infinite: what is makes the sum of all times 0 one. */
LL_INLINE int all_finite(const ll_quad x[QUAD]) {
    ll_vd none = {0};
    for (int j = 0; j < QUAD; j++)
        for (int p = 0; p < PARTS; p++) none = ll_fma(x[j].v[p], ll_all(0), none);
    int64_t each = -1;
    ll_vi fine = none == 0;
    for (int l = 0; l < LL_D; l++) each &= fine[l];
    return each != 0;
}

/* Fewer samples than a tile has. */
static inline void add_some(cusum_lanes *s, double drift, double threshold, const void *const x[QUAD], size_t i, int m,
                            void *const up[QUAD], void *const down[QUAD], int wide) {
    double a[QUAD][QUAD] = {{0}}, b[QUAD][QUAD];
    const void *const in[QUAD] = {a[0], a[1], a[2], a[3]};
    void *const high[QUAD] = {a[0], a[1], a[2], a[3]}, *const low[QUAD] = {b[0], b[1], b[2], b[3]};
    ll_quad q[QUAD], d[QUAD];
    for (int l = 0; l < QUAD; l++)
        for (int j = 0; j < m; j++) a[l][j] = ll_get(x[l], i + j, wide);
    ll_load4(in, 0, q, 1);
    for (int j = m; j < QUAD; j++) d[j] = q[j];
    add_up(s, drift, threshold, m, q, d, 1);
    ll_store4(high, 0, q, 1), ll_store4(low, 0, d, 1);
    for (int l = 0; l < QUAD; l++)
        for (int j = 0; j < m; j++) ll_put(up[l], i + j, a[l][j], wide), ll_put(down[l], i + j, b[l][j], wide);
}

/* A row without neighbours: its two sides are the lanes. */
LL_INLINE void cusum_row(ll_cusum_state *s, double drift, double threshold, const void *x, size_t n, void *up, void *down, int wide) {
    typedef double pair __attribute__((vector_size(16)));
    typedef int64_t mask __attribute__((vector_size(16)));
    pair g = {s->up, s->down};
    for (size_t i = 0; i < n; i++) {
        double v = ll_get(x, i, wide);
        if (!isfinite(v)) {
            ll_put(up, i, NAN, wide), ll_put(down, i, NAN, wide);
            continue;
        }
        pair step = (pair){v, -v} - drift, on = g + step;
        mask over = g > threshold;
        g = (pair)((over & (mask)step & (step > 0)) | (~over & (mask)on & (on > 0)));
        ll_put(up, i, g[0], wide), ll_put(down, i, g[1], wide);
    }
    s->up = g[0], s->down = g[1];
}

LL_INLINE void cusum_quad(ll_cusum_state *state, double drift, double threshold, const void *x, size_t rows, size_t n, void *up,
                          void *down, int wide) {
    if (rows == 1) {
        cusum_row(state, drift, threshold, x, n, up, down, wide);
        return;
    }
    cusum_lanes s;
    const void *in[QUAD];
    void *high[QUAD], *low[QUAD];
    for (size_t l = 0; l < QUAD; l++) {
        size_t row = l < rows ? l : rows - 1;
        in[l] = ll_skip(x, row * n, wide);
        high[l] = ll_skip_out(up, row * n, wide), low[l] = ll_skip_out(down, row * n, wide);
        s.up.v[l / LL_D][l % LL_D] = state[row].up, s.down.v[l / LL_D][l % LL_D] = state[row].down;
    }
    size_t i = 0;
    for (; i + QUAD <= n; i += QUAD) {
        ll_quad q[QUAD], d[QUAD];
        ll_load4(in, i, q, wide);
        if (all_finite(q)) add_up(&s, drift, threshold, QUAD, q, d, 0);
        else add_up(&s, drift, threshold, QUAD, q, d, 1);
        ll_store4(high, i, q, wide), ll_store4(low, i, d, wide);
    }
    if (i < n) add_some(&s, drift, threshold, in, i, (int)(n - i), high, low, wide);
    for (size_t l = 0; l < rows; l++)
        state[l].up = s.up.v[l / LL_D][l % LL_D], state[l].down = s.down.v[l / LL_D][l % LL_D];
}

int ll_cusum(ll_cusum_state *s, double drift, double threshold, const void *x, size_t rows, size_t n, void *up, void *down, int wide) {
    if (!(threshold > 0) || !isfinite(drift)) return LL_RANGE;
    for (size_t c = 0; c < rows; c += QUAD) {
        size_t i = c * n, some = rows - c < QUAD ? rows - c : QUAD;
        if (wide) cusum_quad(&s[c], drift, threshold, ll_skip(x, i, 1), some, n, ll_skip_out(up, i, 1), ll_skip_out(down, i, 1), 1);
        else cusum_quad(&s[c], drift, threshold, ll_skip(x, i, 0), some, n, ll_skip_out(up, i, 0), ll_skip_out(down, i, 0), 0);
    }
    return LL_OK;
}
