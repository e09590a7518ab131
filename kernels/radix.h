/* Small transforms of complex numbers in vectors, in registers: what fft.c and sums.c are made of. */
#ifndef LL_RADIX_H
#define LL_RADIX_H

#include "lanes.h"

typedef struct {
    ll_vf re, im;
} cell;

/* a b + c, a b - c, c - a b: one rounding where the processor has it. */
#if defined(__AVX2__) && defined(__FMA__)
#define MUL_ADD(a, b, c) ((ll_vf)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define MUL_SUB(a, b, c) ((ll_vf)_mm256_fmsub_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define SUB_MUL(a, b, c) ((ll_vf)_mm256_fnmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#else
#define MUL_ADD(a, b, c) ((a) * (b) + (c))
#define MUL_SUB(a, b, c) ((a) * (b) - (c))
#define SUB_MUL(a, b, c) ((c) - (a) * (b))
#endif
#define EACH(v) ((ll_vf){0} + (v))
#define ADD(x, y) ((cell){(x).re + (y).re, (x).im + (y).im})
#define SUB(x, y) ((cell){(x).re - (y).re, (x).im - (y).im})
#define TURN(z, c, s) ((cell){MUL_SUB((z).re, c, (z).im * (s)), MUL_ADD((z).re, s, (z).im * (c))})
#define RIGHT(z) ((cell){(z).im, -(z).re}) /* times -i */

/* x0 .. x3 become X0 .. X3. */
#define FOUR(x0, x1, x2, x3)                                                      \
    do {                                                                          \
        cell even_ = ADD(x0, x2), odd_ = SUB(x0, x2), sum_ = ADD(x1, x3), diff_ = SUB(x1, x3); \
        x0 = ADD(even_, sum_);                                                    \
        x1 = (cell){odd_.re + diff_.im, odd_.im - diff_.re};                      \
        x2 = SUB(even_, sum_);                                                    \
        x3 = (cell){odd_.re - diff_.im, odd_.im + diff_.re};                      \
    } while (0)

/* In place, bins in order. */
LL_INLINE void radix4(cell *x) { FOUR(x[0], x[1], x[2], x[3]); }

/* Evens out of sums, odds out of turned differences. The two turns by an eighth keep their factor c to themselves until the
 * last sums, where it costs nothing (a +- c b). */
LL_INLINE void radix8(cell *x) {
    const ll_vf c = EACH(0.70710678118654752f);
    cell s0 = ADD(x[0], x[4]), s1 = ADD(x[1], x[5]), s2 = ADD(x[2], x[6]), s3 = ADD(x[3], x[7]);
    cell d0 = SUB(x[0], x[4]), d1 = SUB(x[1], x[5]), d2 = SUB(x[2], x[6]), d3 = SUB(x[3], x[7]);
    FOUR(s0, s1, s2, s3);
    cell t1 = {d1.re + d1.im, d1.im - d1.re}, t3 = {d3.im - d3.re, -d3.im - d3.re}; /* turned, without c */
    cell even = {d0.re + d2.im, d0.im - d2.re}, odd = {d0.re - d2.im, d0.im + d2.re};
    cell sum = ADD(t1, t3), diff = SUB(t1, t3);
    x[0] = s0, x[2] = s1, x[4] = s2, x[6] = s3;
    x[1] = (cell){MUL_ADD(c, sum.re, even.re), MUL_ADD(c, sum.im, even.im)};
    x[5] = (cell){SUB_MUL(c, sum.re, even.re), SUB_MUL(c, sum.im, even.im)};
    x[3] = (cell){MUL_ADD(c, diff.im, odd.re), SUB_MUL(c, diff.re, odd.im)};
    x[7] = (cell){SUB_MUL(c, diff.im, odd.re), MUL_ADD(c, diff.re, odd.im)};
}

/* Four by four. */
LL_INLINE void radix16(cell *x) {
    const ll_vf c1 = EACH(0.92387953251128676f), s1 = EACH(0.38268343236508977f), c2 = EACH(0.70710678118654752f);
    FOUR(x[0], x[4], x[8], x[12]);
    FOUR(x[1], x[5], x[9], x[13]);
    FOUR(x[2], x[6], x[10], x[14]);
    FOUR(x[3], x[7], x[11], x[15]);
    /* x[b + 4k] times w16^(b k) */
    x[5] = TURN(x[5], c1, -s1);
    x[6] = (cell){(x[6].re + x[6].im) * c2, (x[6].im - x[6].re) * c2};
    x[7] = TURN(x[7], s1, -c1);
    x[9] = (cell){(x[9].re + x[9].im) * c2, (x[9].im - x[9].re) * c2};
    x[10] = RIGHT(x[10]);
    x[11] = (cell){(x[11].im - x[11].re) * c2, (x[11].re + x[11].im) * -c2};
    x[13] = TURN(x[13], s1, -c1);
    x[14] = (cell){(x[14].im - x[14].re) * c2, (x[14].re + x[14].im) * -c2};
    x[15] = TURN(x[15], -c1, s1);
    FOUR(x[0], x[1], x[2], x[3]);
    FOUR(x[4], x[5], x[6], x[7]);
    FOUR(x[8], x[9], x[10], x[11]);
    FOUR(x[12], x[13], x[14], x[15]);
}

/* Where radix16 leaves bin k. */
#define PLACE(radix, k) ((radix) == 16 ? (k) / 4 + 4 * ((k) % 4) : (k))

LL_INLINE void butterfly(cell *x, int radix) {
    if (radix == 4) radix4(x);
    else if (radix == 8) radix8(x);
    else radix16(x);
}

/* LL_F rows by LL_F values. */
LL_INLINE void turn_over(ll_vf r[LL_F]) {
#if defined(__AVX__)
    ll_vf a[8], b[8];
#pragma GCC unroll 8
    for (int i = 0; i < 8; i += 2) {
        a[i] = LL_SHUFFLE(ll_vm, r[i], r[i + 1], 0, 8, 1, 9, 4, 12, 5, 13);
        a[i + 1] = LL_SHUFFLE(ll_vm, r[i], r[i + 1], 2, 10, 3, 11, 6, 14, 7, 15);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 8; i += 4) {
        b[i] = LL_SHUFFLE(ll_vm, a[i], a[i + 2], 0, 1, 8, 9, 4, 5, 12, 13);
        b[i + 1] = LL_SHUFFLE(ll_vm, a[i], a[i + 2], 2, 3, 10, 11, 6, 7, 14, 15);
        b[i + 2] = LL_SHUFFLE(ll_vm, a[i + 1], a[i + 3], 0, 1, 8, 9, 4, 5, 12, 13);
        b[i + 3] = LL_SHUFFLE(ll_vm, a[i + 1], a[i + 3], 2, 3, 10, 11, 6, 7, 14, 15);
    }
#pragma GCC unroll 8
    for (int i = 0; i < 4; i++) {
        r[i] = LL_SHUFFLE(ll_vm, b[i], b[i + 4], 0, 1, 2, 3, 8, 9, 10, 11);
        r[i + 4] = LL_SHUFFLE(ll_vm, b[i], b[i + 4], 4, 5, 6, 7, 12, 13, 14, 15);
    }
#else
    ll_transpose4(r);
#endif
}

LL_INLINE ll_vf backwards(ll_vf v) {
#if defined(__AVX__)
    return LL_SHUFFLE(ll_vm, v, v, 7, 6, 5, 4, 3, 2, 1, 0);
#else
    return LL_SHUFFLE(ll_vm, v, v, 3, 2, 1, 0);
#endif
}

#endif
