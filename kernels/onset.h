/* Where something begins: STA/LTA, CUSUM and the AIC picker, along the rows of x[rows][n].
 *
 * recursive   S = a S + x^2 with a = 1 - 1/n, for n_sta and n_lta; ratio = (S_sta / n_sta) / (S_lta / n_lta)    onset.c
 * classic     mean of x^2 over the last n_sta samples / over the last n_lta                                     classic.c
 * cusum       up = max(0, up + x - drift), down = max(0, down - x - drift); beyond the threshold: 0 before the
 *             next sample                                                                                       cusum.c
 * aic         k ln var(x[0..k)) + (n - k - 1) ln var(x[k..n)), least at the onset                               aic.c
 *
 * Lanes are rows, four to a quad: every row meets the same operations in the same order, whoever its neighbours are and
 * wherever a call ends. Where rows are missing to a quad, the last one is worked on again beside itself. `wide` says that
 * x and out are double, not float; all state is double. out may be x. */
#ifndef LL_ONSET_H
#define LL_ONSET_H

#include <stddef.h>
#include <stdint.h>

#include "isa.h"
#include "status.h"

enum { LL_STA_BLOCK = 4 };

/* Samples stand in blocks of LL_STA_BLOCK, counted from the first one whether finite or not, so that all rows of a stream
 * stand alike. After `taken` finite ones of a block S = a^taken before + within: blocks can be worked on side by side. */
typedef struct {
    double before[2], within[2]; /* sta, lta: of x^2, weighted */
    uint64_t count;              /* finite samples so far, the ignored first one included */
    uint32_t at, taken;          /* in this block */
} ll_sta_state;

/* Of four rows, for they are always at the same place. Sums over windows without subtraction: the window ends in one block
 * of n values and begins in the one before. `kept` holds this block's values up to `at`, and behind that the sums from
 * there to the end of the block before. */
typedef struct {
    uint64_t at[2]; /* in the block, for n_sta and n_lta */
    uint64_t count;
    uint64_t spare;
    double prefix[2][4];
    /* double kept[n_sta + 1][4], kept[n_lta + 1][4] follow; the last of each is always 0 */
} ll_classic_state;

typedef struct {
    double up, down;
} ll_cusum_state;

typedef struct {
    int (*recursive)(ll_sta_state *s, size_t n_sta, size_t n_lta, const void *x, size_t rows, size_t n, void *out, int wide);
    size_t (*classic_size)(size_t n_sta, size_t n_lta); /* bytes of four rows' state; all zero is a beginning */
    int (*classic)(void *s, size_t n_sta, size_t n_lta, const void *x, size_t rows, size_t n, void *out, int wide);
    int (*cusum)(ll_cusum_state *s, double drift, double threshold, const void *x, size_t rows, size_t n, void *up, void *down,
                 int wide);
    /* Index of the last sample before the onset and the sharpness 0..1 of one row; work holds 3 n + 12 doubles. -1 and NaN
     * where a sample is not finite. */
    int (*aic)(const void *x, size_t n, int wide, double *work, int64_t *index, double *quality);
} ll_onset_api;

LL_API(onset)

#define ll_classic_size LL_FN(ll_classic_size)
#define ll_classic LL_FN(ll_classic)
#define ll_cusum LL_FN(ll_cusum)
#define ll_aic LL_FN(ll_aic)
size_t ll_classic_size(size_t n_sta, size_t n_lta);
int ll_classic(void *s, size_t n_sta, size_t n_lta, const void *x, size_t rows, size_t n, void *out, int wide);
int ll_cusum(ll_cusum_state *s, double drift, double threshold, const void *x, size_t rows, size_t n, void *up, void *down, int wide);
int ll_aic(const void *x, size_t n, int wide, double *work, int64_t *index, double *quality);

#endif
