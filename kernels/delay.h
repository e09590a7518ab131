/* Delays of many pairs of channels from one matrix of averaged cross-spectra.
 *
 *     c[k]     = S_ij[k] / sqrt(S_ii[k] S_jj[k])                 coherency; gamma2 = |c|^2, at most 1
 *     cross[k] = W[k] S_ij[k] = u[k] c[k]
 *     R(tau)   = Re sum_k cross[k] exp(i 2 pi k tau / n) / sum_k |cross[k]|
 *
 *     weighting   W                              u, but for a factor that is the same at all k
 *     cc          1                              h_i h_j           h = sqrt(S_ii / max over k of S_ii)
 *     roth        1 / S_ii                       h_j / h_i
 *     scot        1 / sqrt(S_ii S_jj)            1
 *     phat        1 / |S_ij|                     1 / |c|
 *     ht          gamma2 / (|S_ij| (1-gamma2))   |c| / (1-gamma2)
 *
 * Nothing but ratios of powers is ever formed, so no unit matters; a line without power has c = 0 and no say. Spectra may be
 * float or double; all arithmetic is double, because 1 - gamma2 loses what the two have in common.
 *
 * A line's `say` is 0 (outside the band), 1, or 1/2: the line at half the rate stands for both signs of frequency.
 */
#ifndef LL_DELAY_H
#define LL_DELAY_H

#include <stddef.h>
#include <stdint.h>

#include "isa.h"
#include "status.h"

enum { LL_DELAY_CC = 0, LL_DELAY_ROTH = 1, LL_DELAY_SCOT = 2, LL_DELAY_PHAT = 3, LL_DELAY_HT = 4 };
enum { LL_DELAY_SAME = 0, LL_DELAY_INVERTED = 1, LL_DELAY_EITHER = 2 };

typedef struct {
    size_t n_f, n_ch;   /* of the matrix S[n_f][n_ch][n_ch] of {re, im} */
    size_t lo, hi;      /* lines outside lo .. hi-1 have say 0; 1 <= lo <= hi <= n_f */
    uint32_t weighting; /* LL_DELAY_CC .. */
    uint32_t polarity;  /* LL_DELAY_SAME .. */
    uint32_t wide;      /* spectra, cross, full, coherence and r are 0: float, 1: double */
    uint32_t stride;    /* complex numbers from one pair's cross to the next, at least n_f */
    double certain;     /* gamma2 is held this far below 1 under ht: what rounding leaves of one segment's coherence of 1 */
    const double *say;  /* [n_f] */
} ll_delay_plan;

typedef struct {
    double size;        /* sum |cross| */
    double top, bottom; /* sum k^2 u^2 (1-gamma2), sum k^2 |cross|: Knapp and Carter's variance is top / bottom^2 * n / (...) */
} ll_delay_sums;

typedef struct {
    /* Once per matrix: root[n_ch][n_f] = 1 / sqrt(S_ii), share[n_ch][n_f] = h (cc and roth only, else may be NULL). */
    int (*channels)(const ll_delay_plan *p, const void *s, double *root, double *share);
    /* cross[n_pairs][stride], coherence[n_pairs][n_f] and sums of pairs (i, j) = pairs[2 q], pairs[2 q + 1]. Cross is left alone
       beyond n_f. */
    int (*weigh)(const ll_delay_plan *p, const void *s, const double *root, const double *share, const int64_t *pairs, size_t n_pairs,
                 void *cross, void *coherence, ll_delay_sums *sums);
    /* full[n_pairs][n] is the inverse real transform of cross padded to n/2 + 1 lines. r[n_pairs][2 edge + 1] are the lags -edge .. edge
       scaled so that all lines in phase are 1; at the exact place of the peak in steps of that grid; peak the signed value there.
       NaN where cross holds a NaN; r = peak = 0 and at = NaN where no line has a say. edge < n / 2. */
    int (*peaks)(const ll_delay_plan *p, const void *cross, const void *full, size_t n, size_t edge, const ll_delay_sums *sums,
                 size_t n_pairs, void *r, double *at, double *peak);
} ll_delay_api;

LL_API(delay)

#endif
