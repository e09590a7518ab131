/* Second-order sections, forwards or to and fro, and detrending along the rows of x[rows][n].
 *
 * One section, transposed direct form II, all in double:
 *
 *     y  = b0 x + z1
 *     z1 = (b1 x + z2) - a1 y
 *     z2 = b2 x - a2 y
 *
 * A sample that is not finite answers NaN and leaves z1, z2 as they are. Numbers below 2.2e-308 count as 0.
 * `wide` says that x and out are double, else float. */
#ifndef LL_FILTERS_H
#define LL_FILTERS_H

#include <stddef.h>
#include <stdint.h>

#include "isa.h"
#include "status.h"

/* What stands before the first and after the last sample while a row is filtered to and fro. */
enum { LL_PAD_NONE = 0, LL_PAD_ODD = 1, LL_PAD_EVEN = 2, LL_PAD_CONSTANT = 3 };

typedef struct {
    /* sos[sections][5] = b0 b1 b2 a1 a2 (a0 is 1); z[rows][sections][2] moves on; out may be x */
    int (*sosfilt)(const double *sos, size_t sections, double *z, const void *x, size_t rows, size_t n, void *out, int wide);
    /* Forwards, then backwards, over x with `pad` samples more at both ends; zi[sections][2] is the state that a level of 1
     * leaves. Between the two, samples are kept in double. out may be x. */
    int (*sosfiltfilt)(const double *sos, size_t sections, const double *zi, const void *x, size_t rows, size_t n, int kind,
                       size_t pad, void *out, int wide);
    /* Less the mean (linear 0) or the least-squares line (linear 1); a row with a sample that is not finite becomes NaN. */
    int (*detrend)(const void *x, size_t rows, size_t n, int linear, void *out, int wide);
} ll_filters_api;

LL_API(filters)

#endif
