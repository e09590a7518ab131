/* Where something begins: STA/LTA, CUSUM and the AIC picker, along the rows of x[rows][n].
 *
 * recursive   S = a S + x^2 with a = 1 - 1/n, for n_sta and n_lta; ratio = (S_sta / n_sta) / (S_lta / n_lta)
 * classic     mean of x^2 over the last n_sta samples / over the last n_lta
 * cusum       up = max(0, up + x - drift), down = max(0, down - x - drift); beyond the threshold: 0 before the next sample
 * aic         k ln var(x[0..k)) + (n - k - 1) ln var(x[k..n)), least at the onset
 *
 * `wide` says that x and out are double, not float; all state is double. */
#ifndef LL_ONSET_H
#define LL_ONSET_H

#include <stddef.h>
#include <stdint.h>

#include "isa.h"
#include "status.h"

enum { LL_STA_BLOCK = 8 };

/* Sample k counts from the second finite one. In a block of LL_STA_BLOCK samples S_j = a^(j+1) before + within_j:
 * blocks can be worked on side by side, and where they begin depends on k only, never on how the input was cut. */
typedef struct {
    double before[2], within[2]; /* sta, lta */
    uint64_t count;              /* finite samples so far, the ignored first one included */
} ll_sta_state;

/* Sums over windows without subtraction: the window ends in one block of n values and begins in the one before. `kept`
 * holds this block's values up to `at`, and behind that the sums from there to the end of the block before. */
typedef struct {
    double prefix[2];
    uint64_t at[2];
    uint64_t count;
    /* double kept[n_sta + 1], kept[n_lta + 1] follow; the last of each is always 0 */
} ll_classic_state;

typedef struct {
    double up, down;
} ll_cusum_state;

typedef struct {
    int (*recursive)(ll_sta_state *s, size_t n_sta, size_t n_lta, const void *x, size_t rows, size_t n, void *out, int wide);
    size_t (*classic_size)(size_t n_sta, size_t n_lta); /* bytes of one row's state; all zero is a beginning */
    int (*classic)(void *s, size_t n_sta, size_t n_lta, const void *x, size_t rows, size_t n, void *out, int wide);
    int (*cusum)(ll_cusum_state *s, double drift, double threshold, const void *x, size_t rows, size_t n, void *up, void *down,
                 int wide);
    /* Index of the last sample before the onset and the sharpness 0..1 of one row; work holds 2 n doubles. -1 and NaN
     * where a sample is not finite. */
    int (*aic)(const void *x, size_t n, int wide, double *work, int64_t *index, double *quality);
} ll_onset_api;

LL_API(onset)

#endif
