/* Vectors as wide as the registers of the instruction set at hand, and how rows come into lanes and out again.
 *
 *     ll_vd  LL_D doubles (4, baseline 2)     ll_vf  LL_F floats (8, baseline 4)     ll_vh  LL_D floats, for conversion
 *
 * A wider GCC vector is split badly and its shuffles become scalar code, so nothing here is wider; under AVX-512 256 bits
 * are kept, for 512 take two cycles on the processors measured. Samples lie in memory as float or double (`wide`); loads
 * and stores need no alignment. `wide` is to be a constant where the function is inlined.
 *
 *     transpose: row r of samples t, t+1, ..  ->  vector j holds sample t + j of every row (its own inverse) */
#ifndef LL_LANES_H
#define LL_LANES_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#if defined(__AVX__)
enum { LL_D = 4, LL_F = 8 };
#else
enum { LL_D = 2, LL_F = 4 };
#endif
typedef double ll_vd __attribute__((vector_size(8 * LL_D)));
typedef int64_t ll_vi __attribute__((vector_size(8 * LL_D))); /* a comparison of ll_vd: all ones or 0 */
typedef float ll_vf __attribute__((vector_size(4 * LL_F)));
typedef int32_t ll_vm __attribute__((vector_size(4 * LL_F))); /* a comparison of ll_vf */
typedef float ll_vh __attribute__((vector_size(4 * LL_D)));
typedef float ll_f4 __attribute__((vector_size(16)));
typedef int32_t ll_m4 __attribute__((vector_size(16)));

#define LL_INLINE static inline __attribute__((always_inline))

#if defined(__has_builtin) && __has_builtin(__builtin_shufflevector)
#define LL_SHUFFLE(mask, a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define LL_SHUFFLE(mask, a, b, ...) __builtin_shuffle(a, b, (mask){__VA_ARGS__})
#endif

/* One sample. */
LL_INLINE double ll_get(const void *x, size_t i, int wide) {
    return wide ? ((const double *)x)[i] : (double)((const float *)x)[i];
}
LL_INLINE void ll_put(void *out, size_t i, double v, int wide) {
    if (wide) ((double *)out)[i] = v;
    else ((float *)out)[i] = (float)v;
}
LL_INLINE const void *ll_skip(const void *x, size_t i, int wide) { return (const char *)x + i * (wide ? 8 : 4); }
LL_INLINE void *ll_skip_out(void *x, size_t i, int wide) { return (char *)x + i * (wide ? 8 : 4); }

/* Float to double and back; the compiler's __builtin_convertvector would halve the vectors and join them again. */
LL_INLINE ll_vd ll_widen(ll_vh h) {
#if defined(__AVX__)
    return (ll_vd)_mm256_cvtps_pd((__m128)h);
#elif defined(__x86_64__)
    double both;
    memcpy(&both, &h, 8);
    return (ll_vd)_mm_cvtps_pd(_mm_castpd_ps(_mm_set_sd(both)));
#else
    return __builtin_convertvector(h, ll_vd);
#endif
}
LL_INLINE ll_vh ll_narrow(ll_vd d) {
#if defined(__AVX__)
    return (ll_vh)_mm256_cvtpd_ps((__m256d)d);
#elif defined(__x86_64__)
    ll_vh h;
    double both = _mm_cvtsd_f64(_mm_castps_pd(_mm_cvtpd_ps((__m128d)d)));
    memcpy(&h, &both, 8);
    return h;
#else
    return __builtin_convertvector(d, ll_vh);
#endif
}

/* LL_D samples. */
LL_INLINE ll_vd ll_load(const void *x, size_t i, int wide) {
    ll_vd d;
    ll_vh h;
    if (wide) {
        memcpy(&d, (const double *)x + i, sizeof d);
        return d;
    }
    memcpy(&h, (const float *)x + i, sizeof h);
    return ll_widen(h);
}
LL_INLINE void ll_store(void *out, size_t i, ll_vd d, int wide) {
    if (wide) {
        memcpy((double *)out + i, &d, sizeof d);
    } else {
        ll_vh h = ll_narrow(d);
        memcpy((float *)out + i, &h, sizeof h);
    }
}
LL_INLINE ll_vf ll_loadf(const float *x) {
    ll_vf f;
    memcpy(&f, x, sizeof f);
    return f;
}
LL_INLINE void ll_storef(float *out, ll_vf f) { memcpy(out, &f, sizeof f); }

LL_INLINE ll_vd ll_all(double v) { return v - (ll_vd){0}; } /* v in every lane; -0 stays -0 */

/* a b + c: one rounding where the processor has it, two where it has not. */
LL_INLINE double ll_fma1(double a, double b, double c) {
#if defined(__FMA__)
    return __builtin_fma(a, b, c);
#else
    return a * b + c;
#endif
}
LL_INLINE ll_vd ll_fma(ll_vd a, ll_vd b, ll_vd c) {
#if defined(__FMA__)
    return (ll_vd)_mm256_fmadd_pd((__m256d)a, (__m256d)b, (__m256d)c); /* a loop over lanes may be taken apart */
#else
    return a * b + c;
#endif
}

/* The larger one; b where one of them is NaN. */
LL_INLINE ll_vd ll_above(ll_vd a, ll_vd b) {
#if defined(__AVX__)
    return (ll_vd)_mm256_max_pd((__m256d)a, (__m256d)b);
#elif defined(__x86_64__)
    return (ll_vd)_mm_max_pd((__m128d)a, (__m128d)b);
#else
    ll_vi yes = a > b;
    return (ll_vd)((yes & (ll_vi)a) | (~yes & (ll_vi)b));
#endif
}

LL_INLINE ll_vd ll_choose(ll_vi yes, ll_vd a, ll_vd b) { return (ll_vd)((yes & (ll_vi)a) | (~yes & (ll_vi)b)); }

/* Doubles, LL_D rows by LL_D samples. */
LL_INLINE void ll_transpose(ll_vd r[LL_D]) {
#if defined(__AVX__)
    ll_vd a = LL_SHUFFLE(ll_vi, r[0], r[1], 0, 4, 2, 6), b = LL_SHUFFLE(ll_vi, r[0], r[1], 1, 5, 3, 7);
    ll_vd c = LL_SHUFFLE(ll_vi, r[2], r[3], 0, 4, 2, 6), d = LL_SHUFFLE(ll_vi, r[2], r[3], 1, 5, 3, 7);
    r[0] = LL_SHUFFLE(ll_vi, a, c, 0, 1, 4, 5), r[1] = LL_SHUFFLE(ll_vi, b, d, 0, 1, 4, 5);
    r[2] = LL_SHUFFLE(ll_vi, a, c, 2, 3, 6, 7), r[3] = LL_SHUFFLE(ll_vi, b, d, 2, 3, 6, 7);
#else
    ll_vd a = LL_SHUFFLE(ll_vi, r[0], r[1], 0, 2), b = LL_SHUFFLE(ll_vi, r[0], r[1], 1, 3);
    r[0] = a, r[1] = b;
#endif
}

/* Floats, 4 rows by 4 samples, in any instruction set. */
LL_INLINE void ll_transpose4(ll_f4 r[4]) {
    ll_f4 a = LL_SHUFFLE(ll_m4, r[0], r[1], 0, 4, 1, 5), b = LL_SHUFFLE(ll_m4, r[0], r[1], 2, 6, 3, 7);
    ll_f4 c = LL_SHUFFLE(ll_m4, r[2], r[3], 0, 4, 1, 5), d = LL_SHUFFLE(ll_m4, r[2], r[3], 2, 6, 3, 7);
    r[0] = LL_SHUFFLE(ll_m4, a, c, 0, 1, 4, 5), r[1] = LL_SHUFFLE(ll_m4, a, c, 2, 3, 6, 7);
    r[2] = LL_SHUFFLE(ll_m4, b, d, 0, 1, 4, 5), r[3] = LL_SHUFFLE(ll_m4, b, d, 2, 3, 6, 7);
}

/* A number for each of four rows. */
typedef struct {
    ll_vd v[4 / LL_D];
} ll_quad;

/* Four rows x[r][i .. i + 4) as four quads, one a sample, and back. */
LL_INLINE void ll_load4(const void *const x[4], size_t i, ll_quad q[4], int wide) {
    if (wide) {
        for (int p = 0; p < 4 / LL_D; p++)
            for (int h = 0; h < 4; h += LL_D) {
                ll_vd r[LL_D];
                for (int l = 0; l < LL_D; l++) r[l] = ll_load(x[p * LL_D + l], i + h, 1);
                ll_transpose(r);
                for (int l = 0; l < LL_D; l++) q[h + l].v[p] = r[l];
            }
        return;
    }
    ll_f4 r[4];
    for (int l = 0; l < 4; l++) memcpy(&r[l], (const float *)x[l] + i, sizeof r[l]);
    ll_transpose4(r);
    for (int l = 0; l < 4; l++) {
#if defined(__AVX__)
        q[l].v[0] = ll_widen(r[l]);
#else
        ll_vh low, high;
        memcpy(&low, &r[l], 8), memcpy(&high, (char *)&r[l] + 8, 8);
        q[l].v[0] = ll_widen(low), q[l].v[1] = ll_widen(high);
#endif
    }
}
LL_INLINE void ll_store4(void *const out[4], size_t i, const ll_quad q[4], int wide) {
    if (wide) {
        for (int p = 0; p < 4 / LL_D; p++)
            for (int h = 0; h < 4; h += LL_D) {
                ll_vd r[LL_D];
                for (int l = 0; l < LL_D; l++) r[l] = q[h + l].v[p];
                ll_transpose(r);
                for (int l = 0; l < LL_D; l++) ll_store(out[p * LL_D + l], i + h, r[l], 1);
            }
        return;
    }
    ll_f4 r[4];
    for (int l = 0; l < 4; l++) {
#if defined(__AVX__)
        r[l] = ll_narrow(q[l].v[0]);
#else
        ll_vh low = ll_narrow(q[l].v[0]), high = ll_narrow(q[l].v[1]);
        memcpy(&r[l], &low, 8), memcpy((char *)&r[l] + 8, &high, 8);
#endif
    }
    ll_transpose4(r);
    for (int l = 0; l < 4; l++) memcpy((float *)out[l] + i, &r[l], sizeof r[l]);
}

/* Whether every x^2 is finite; cautious for double, where a square may overflow. */
LL_INLINE int ll_calm(const void *x, size_t n, int wide) {
    if (wide) {
        uint64_t most = 0;
        for (size_t i = 0; i < n; i++) {
            uint64_t bits;
            memcpy(&bits, (const double *)x + i, 8);
            bits &= UINT64_C(0x7fffffffffffffff);
            most = bits > most ? bits : most;
        }
        return most < UINT64_C(0x5f00000000000000); /* 2^497 */
    }
    int32_t most = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t bits;
        memcpy(&bits, (const float *)x + i, 4);
        bits &= 0x7fffffff;
        most = bits > most ? bits : most;
    }
    return most < 0x7f800000;
}

#endif
