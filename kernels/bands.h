/* Where in the spectrum two channels have something in common: rows over the open lines, side by side.
 *
 *     coherency   C = S12 / sqrt(S11 S22) at the open lines, its size, and what chance makes of |C|^2
 *     common      |C| that stands out of chance, whatever its phase
 *     closer      the mean over few neighbours in the place of one over many, where the two differ beyond chance
 *     best        the band in which a row stands out most of what unrelated channels make of it
 *
 * A window of `half` lines to each side is shorter at both ends. A run is a stretch of values above `holds`, and counts if it
 * reaches `sure` somewhere. A sum over a window is the difference of two running sums in double: rows are about 1 in size. */
#ifndef LL_BANDS_H
#define LL_BANDS_H

#include <stddef.h>
#include <stdint.h>

#include "cross.h"

#define ll_bands_coherency LL_FN(ll_bands_coherency)
#define ll_bands_common LL_FN(ll_bands_common)
#define ll_bands_closer LL_FN(ll_bands_closer)
#define ll_bands_best LL_FN(ll_bands_best)

/* As the pointers of ll_cross_api. */
size_t ll_bands_coherency(const ll_band_lines *l, double *work, int64_t *at, double *c, double *size, double *chance,
                          double *alone);
void ll_bands_common(const double *size, const double *chance, size_t n, const size_t half[2], const ll_band_runs *r, double *work,
                     double *out);
void ll_bands_closer(const double *x, const double *chance, size_t n, size_t half, const ll_band_runs *r, double *work,
                     double *out);
int ll_bands_best(const ll_band_row *row, const int64_t *edges, size_t n_edges, int64_t least, double *work, ll_band *best);

#endif
