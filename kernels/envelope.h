/* The envelope of a band-limited signal: sqrt(x^2 + h^2), h its Hilbert transform, along the rows of x[rows][n].
 *
 * magnitude   of an x and an h that are there
 * push        h by an odd number of taps, 2 d + 1: antisymmetric, and 0 at even distances from the middle
 *
 *     h[i - d] = sum over odd k <= d of c_k (x[i - d - k] - x[i - d + k])      c_k = 2 / (pi k) times a window
 *     out[i]   = sqrt(x[i - d]^2 + h[i - d]^2)
 *
 * `wide` says that x and out are double, not float. float: differences, products and their sum are of floats (d / 2 terms of
 * one window, no recursion: some 1e-7 of its largest sample), squares and root of doubles, for a float's square may overflow.
 * NaN for windows that hold a sample that is not finite. out may be x. */
#ifndef LL_ENVELOPE_H
#define LL_ENVELOPE_H

#include <stddef.h>
#include <stdint.h>

#include "isa.h"
#include "status.h"

enum { LL_ENVELOPE_RUN = 1024 };

typedef struct {
    int (*magnitude)(const void *x, const void *h, size_t n, void *out, int wide);
    /* taps holds c_1, c_3, .. (taps_n of them, d = 2 taps_n - 1 or 2 taps_n); past[rows][2 d] the samples before these, oldest
     * first; work room for 2 d + LL_ENVELOPE_RUN + 64 doubles. */
    int (*push)(const double *taps, size_t taps_n, size_t d, double *past, const void *x, size_t rows, size_t n, void *out,
                double *work, int wide);
} ll_envelope_api;

LL_API(envelope)

#endif
