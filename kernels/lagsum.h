/* Products of channels at lags, summed over a stretch of samples.
 *
 *     out[d][k n_ch + c] += sum over t = 0 .. n-1 of y[t + k][c] y[t][d]      y = x - offset, k = 0 .. lags
 *
 *     samples  |........ n ........|.. lags ..|        what lies behind the stretch is looked at, not begun from
 *
 * Sums are taken in the order of the samples, so the same stretch always gives the same bits. */
#ifndef LL_LAGSUM_H
#define LL_LAGSUM_H

#include <stddef.h>

#include "isa.h"
#include "status.h"

enum {
    LL_LAGSUM_TURN = 128, /* samples that lie side by side at a time */
    LL_LAGSUM_TILE = 12   /* columns of out are a multiple of this */
};

/* Columns of out, and doubles of work. */
static inline size_t ll_lagsum_columns(size_t n_ch, size_t lags) {
    return ((lags + 1) * n_ch + LL_LAGSUM_TILE - 1) / LL_LAGSUM_TILE * LL_LAGSUM_TILE;
}
static inline size_t ll_lagsum_work(size_t n_ch, size_t lags) { return (LL_LAGSUM_TURN + lags) * n_ch + LL_LAGSUM_TILE; }

typedef struct {
    /* Row c of x begins at x + c stride and has n + lags samples; out[n_ch][columns]; all double. */
    int (*add)(const double *x, size_t n_ch, size_t stride, const double *offset, size_t lags, size_t n, double *work,
               double *out);
} ll_lagsum_api;

LL_API(lagsum)

#endif
