/* Second-order sections and detrending along the rows of x[rows][n].
 *
 * One section, transposed direct form II, all in double:
 *
 *     y  = b0 x + z1
 *     z1 = (b1 x + z2) - a1 y
 *     z2 = b2 x - a2 y
 *
 * A sample that is not finite answers NaN and leaves z1, z2 as they are. `wide` says that x and out are double. */
#ifndef LL_FILTERS_H
#define LL_FILTERS_H

#include <stddef.h>
#include <stdint.h>

#include "isa.h"
#include "status.h"

typedef struct {
    /* sos[sections][5] = b0 b1 b2 a1 a2 (a0 is 1); z[rows][sections][2] moves on */
    int (*sosfilt)(const double *sos, size_t sections, double *z, const void *x, size_t rows, size_t n, void *out, int wide);
    /* Less the mean (linear 0) or the least-squares line (linear 1); a row with a sample that is not finite becomes NaN. */
    int (*detrend)(const void *x, size_t rows, size_t n, int linear, void *out, int wide);
} ll_filters_api;

LL_API(filters)

#endif
