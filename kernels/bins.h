/* Transforms of a row's segments, and the sums two rows make of them: what cross.c keeps running and cross.h offers whole. */
#ifndef LL_BINS_H
#define LL_BINS_H

#include "cross.h"
#include "fft.h"
#include "lanes.h"

/* Tables and work of one length of segment; one thread at a time. */
struct ll_bins {
    size_t n, n_f;  /* samples of a segment, its frequencies */
    ll_fft *fft;
    float *x, *re, *im; /* two levelled segments; their bins */
    double *circle;     /* cos(2 pi i / n), i < 5 n / 4: sin is a quarter on */
};

#define ll_bins_open LL_FN(ll_bins_open)
#define ll_bins_close LL_FN(ll_bins_close)
#define ll_bins_level LL_FN(ll_bins_level)
#define ll_bins_row LL_FN(ll_bins_row)
#define ll_bins_clipped LL_FN(ll_bins_clipped)
#define ll_bins_planes LL_FN(ll_bins_planes)
#define ll_bins_pair LL_FN(ll_bins_pair)
#define ll_bins_size LL_FN(ll_bins_size)

ll_bins *ll_bins_open(size_t n);
void ll_bins_close(ll_bins *c);
/* y = (x - mean) * gain, largest about 1; answers 1 / gain, a power of two, or 0 where a sample is not finite. */
double ll_bins_level(const void *x, int kind, size_t n, float *y);
/* As the pointers of ll_cross_api. */
double ll_bins_row(const void *x, int kind, size_t n, float *out);
double ll_bins_clipped(const void *x, int kind, size_t n);
size_t ll_bins_size(size_t n, size_t n_seg);
int ll_bins_planes(ll_bins *c, const float *row, size_t n_row, size_t from, size_t n_seg, float *planes, unsigned char *sound);
int ll_bins_pair(ll_bins *c, ll_cross_rows *r, double *power, double *s12, double *parts);
/* exp(-2 pi i shift k / n) into re and im, k = 0 .. n/2. */
LL_INLINE void ll_bins_turned(const ll_bins *c, size_t step, size_t k, double *re, double *im) {
    const size_t at = step * k & (c->n - 1);
    *re = c->circle[at], *im = c->circle[at + c->n / 4];
}

/* to[l] += {re[l], im[l]}, LL_D complex numbers. */
LL_INLINE void ll_bins_join(ll_vd re, ll_vd im, double *to) {
#if defined(__AVX__)
    ll_vd low = LL_SHUFFLE(ll_vi, re, im, 0, 4, 1, 5), high = LL_SHUFFLE(ll_vi, re, im, 2, 6, 3, 7);
#else
    ll_vd low = LL_SHUFFLE(ll_vi, re, im, 0, 2), high = LL_SHUFFLE(ll_vi, re, im, 1, 3);
#endif
    ll_store(to, 0, ll_load(to, 0, 1) + low, 1), ll_store(to, LL_D, ll_load(to, LL_D, 1) + high, 1);
}

#endif
