/* Lanes are samples that follow each other: every answer is a sum over its own window, in one order, so cuts leave no trace.
 * Four vectors go together, for each waits on its own sum. */
#include "envelope.h"

#include <math.h>

#include "lanes.h"

enum { RUN = LL_ENVELOPE_RUN, SIDE = 4, MOST = 1024 };

LL_INLINE ll_vd root(ll_vd v) {
#if defined(__AVX__)
    return (ll_vd)_mm256_sqrt_pd((__m256d)v);
#elif defined(__x86_64__)
    return (ll_vd)_mm_sqrt_pd((__m128d)v);
#else
    for (int l = 0; l < LL_D; l++) v[l] = sqrt(v[l]);
    return v;
#endif
}

LL_INLINE ll_vd length(ll_vd x, ll_vd h) { return root(ll_fma(x, x, h * h)); }

LL_INLINE void magnitude_row(const void *x, const void *h, size_t n, void *out, int wide) {
    size_t i = 0;
    double a[LL_D] = {0}, b[LL_D] = {0};
    for (; i + LL_D <= n; i += LL_D) ll_store(out, i, length(ll_load(x, i, wide), ll_load(h, i, wide)), wide);
    for (size_t j = i; j < n; j++) a[j - i] = ll_get(x, j, wide), b[j - i] = ll_get(h, j, wide);
    ll_store(a, 0, length(ll_load(a, 0, 1), ll_load(b, 0, 1)), 1);
    for (size_t j = i; j < n; j++) ll_put(out, j, a[j - i], wide);
}

static int magnitude(const void *x, const void *h, size_t n, void *out, int wide) {
    if (wide) magnitude_row(x, h, n, out, 1);
    else magnitude_row(x, h, n, out, 0);
    return LL_OK;
}

LL_INLINE ll_vf fmaf_lanes(ll_vf a, ll_vf b, ll_vf c) {
#if defined(__FMA__)
    return (ll_vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
#else
    return a * b + c;
#endif
}

/* h of SIDE vectors whose first middle is x[0]. */
LL_INLINE void transform_float(const float *c, size_t taps_n, const float *x, float *h) {
    ll_vf sum[SIDE] = {{0}};
    for (size_t t = 0; t < taps_n; t++) {
        const float *before = x - (2 * t + 1), *behind = x + (2 * t + 1);
        ll_vf tap = c[t] - (ll_vf){0};
#pragma GCC unroll 4
        for (int s = 0; s < SIDE; s++)
            sum[s] = fmaf_lanes(tap, ll_loadf(before + s * LL_F) - ll_loadf(behind + s * LL_F), sum[s]);
    }
    for (int s = 0; s < SIDE; s++) ll_storef(h + s * LL_F, sum[s]);
}
LL_INLINE void transform_double(const double *c, size_t taps_n, const double *x, double *h) {
    ll_vd sum[SIDE] = {{0}};
    for (size_t t = 0; t < taps_n; t++) {
        const double *before = x - (2 * t + 1), *behind = x + (2 * t + 1);
#pragma GCC unroll 4
        for (int s = 0; s < SIDE; s++)
            sum[s] = ll_fma(ll_all(c[t]), ll_load(before, s * LL_D, 1) - ll_load(behind, s * LL_D, 1), sum[s]);
    }
    for (int s = 0; s < SIDE; s++) ll_store(h, s * LL_D, sum[s], 1);
}

/* Answers of m windows, the first of which begins with x[0]. */
LL_INLINE void windows(const void *c, size_t taps_n, size_t d, const void *x, size_t m, void *out, int wide) {
    enum { LOT = SIDE * LL_F };
    double h[LOT], made[LOT];
    size_t lot = wide ? SIDE * LL_D : LOT;
    for (size_t i = 0; i < m; i += lot) {
        size_t some = m - i < lot ? m - i : lot;
        if (wide) transform_double(c, taps_n, (const double *)x + d + i, h);
        else transform_float(c, taps_n, (const float *)x + d + i, (float *)h);
        for (size_t j = 0; j < lot; j += LL_D)
            ll_store(made, j, length(ll_load(x, d + i + j, wide), ll_load(h, j, wide)), wide);
        memcpy(ll_skip_out(out, i, wide), made, some * (wide ? 8 : 4));
    }
}

/* Windows that hold what is not finite; x has m + 2 d samples. */
LL_INLINE void blot(const void *x, size_t m, size_t d, void *out, int wide) {
    if (ll_calm(x, m + 2 * d, wide)) return;
    for (size_t p = 0; p < m + 2 * d; p++)
        if (!isfinite(ll_get(x, p, wide)))
            for (size_t i = p < 2 * d ? 0 : p - 2 * d; i <= p && i < m; i++) ll_put(out, i, NAN, wide);
}

LL_INLINE void push_row(const void *c, size_t taps_n, size_t d, double *past, const void *x, size_t n, void *out, void *work,
                        int wide) {
    for (size_t i = 0; i < 2 * d; i++) ll_put(work, i, past[i], wide);
    for (size_t i = 0, m; i < n; i += m) {
        m = n - i < RUN ? n - i : RUN;
        memcpy(ll_skip_out(work, 2 * d, wide), ll_skip(x, i, wide), m * (wide ? 8 : 4));
        windows(c, taps_n, d, work, m, ll_skip_out(out, i, wide), wide);
        blot(work, m, d, ll_skip_out(out, i, wide), wide);
        memmove(work, ll_skip(work, m, wide), 2 * d * (wide ? 8 : 4));
    }
    for (size_t i = 0; i < 2 * d; i++) past[i] = ll_get(work, i, wide);
}

static int push(const double *taps, size_t taps_n, size_t d, double *past, const void *x, size_t rows, size_t n, void *out,
                double *work, int wide) {
    float c[MOST];
    if (taps_n < 1 || taps_n > MOST || (d != 2 * taps_n - 1 && d != 2 * taps_n)) return LL_RANGE;
    memset(work, 0, (2 * d + RUN + 64) * sizeof *work);
    for (size_t t = 0; t < taps_n; t++) c[t] = (float)taps[t];
    for (size_t r = 0; r < rows; r++, past += 2 * d) {
        if (wide) push_row(taps, taps_n, d, past, ll_skip(x, r * n, 1), n, ll_skip_out(out, r * n, 1), work, 1);
        else push_row(c, taps_n, d, past, ll_skip(x, r * n, 0), n, ll_skip_out(out, r * n, 0), work, 0);
    }
    return LL_OK;
}

const ll_envelope_api LL_FN(ll_envelope_api) = {.magnitude = magnitude, .push = push};
