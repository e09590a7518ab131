/* A finite filter of which only every q-th answer is computed, along the rows of x[rows][n].
 *
 *     y[k] = taps[0] x[p] + taps[1] x[p-1] + .. + taps[L-1] x[p-L+1]        p = skip, skip + q, .. below n
 *
 * What lies before x comes from hist[rows][L-1] (oldest first), which is left as the call that follows needs it. A window
 * that holds a sample that is not finite answers NaN; no other does. `wide` says that x and out are double, else float. */
#ifndef LL_DECIMATE_H
#define LL_DECIMATE_H

#include <stddef.h>
#include <stdint.h>

#include "isa.h"
#include "status.h"

/* The number of answers of n samples. */
static inline size_t ll_kept(size_t n, size_t q, size_t skip) { return n > skip ? (n - skip - 1) / q + 1 : 0; }

typedef struct {
    /* Row r of the answers goes to out + r * stride. */
    int (*decimate)(const double *taps, size_t L, size_t q, size_t skip, double *hist, const void *x, size_t rows, size_t n,
                    void *out, size_t stride, int wide);
} ll_decimate_api;

LL_API(decimate)

#endif
