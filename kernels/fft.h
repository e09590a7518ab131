/* Transform of two real rows at once: window, trend, FFT, and what is wanted of the bins; fft.c says how. */
#ifndef LL_FFT_H
#define LL_FFT_H

#include <stddef.h>

#include "isa.h"

/* One segment: gain * window[t] * (x[t] - coarse - fine - slope * (t - (n-1)/2)). x NULL: nothing but zeros. */
typedef struct {
    const float *x;
    float coarse, fine, slope, gain;
} ll_segment;

typedef struct ll_fft ll_fft;

#define ll_fft_open LL_FN(ll_fft_open)
#define ll_fft_close LL_FN(ll_fft_close)
#define ll_fft_powers LL_FN(ll_fft_powers)
#define ll_fft_bins LL_FN(ll_fft_bins)

ll_fft *ll_fft_open(size_t n, const float *window); /* n a power of two, 16 .. 65536; NULL: no memory */
void ll_fft_close(ll_fft *f);
/* z = a + i b, Z its transform: sum[k] = (add ? sum[k] : 0) + |Z[k]|^2, k = 0 .. n-1. */
void ll_fft_powers(ll_fft *f, const ll_segment two[2], int add, float *sum);
/* Z[k] itself; the arrays end in a further Z[n] = Z[0]. All arrays at multiples of 64 bytes. */
void ll_fft_bins(ll_fft *f, const ll_segment two[2], float *re, float *im);

#endif
