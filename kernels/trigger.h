/* A high-pass of order 2 and the recursive STA/LTA behind it, in one pass over the rows of x[rows][n], and the ratio only where
 * it may matter.
 *
 *     d = x - x[-1]     y = g (d - d[-1]) + a1 y[-1] + a2 y[-2]     both zeros of the high-pass are at 0 Hz: an offset cancels
 *     S = (1 - 1/n) S + y^2   for n_sta and n_lta                   exactly, and the first sample is the rest position
 *     ratio = (S_sta / n_sta) / (S_lta / n_lta)
 *
 * A sample waits for the one before it through one multiplication with addition only (a1 y[-1]), and everything else of it,
 * the averages too, is done while it waits. Whether the ratio may have reached `on` is asked without a division, a millionth
 * too soon. A run without a ratio to fill stops there; the next one goes on from the same state and fills.
 *
 * Lanes are rows, four to a state; the lanes of missing rows repeat the last one. A row meets the same operations in the same
 * order, whoever its neighbours are and wherever a call ends. A sample that is not finite answers NaN and leaves its row's
 * state as it was; the ratio is 0 until n_lta finite ones have come. */
#ifndef LL_TRIGGER_H
#define LL_TRIGGER_H

#include <stddef.h>
#include <stdint.h>

#include "isa.h"
#include "status.h"

enum { LL_TRIGGER_ROWS = 4 };

typedef struct {
    double gain, a1, a2; /* a1 and a2 with their signs turned: added */
    double keep[2];      /* 1 - 1 / n_sta, 1 - 1 / n_lta */
    double scale;        /* n_lta / n_sta */
    double on;
    int64_t warm; /* n_lta */
} ll_trigger_rule;

/* Of four rows. All zero is a beginning. */
typedef struct {
    double x[LL_TRIGGER_ROWS], d[LL_TRIGGER_ROWS], y[2][LL_TRIGGER_ROWS]; /* the last ones; y[0] is y[-1] */
    double sum[2][LL_TRIGGER_ROWS];                                       /* S_sta, S_lta */
    int64_t count[LL_TRIGGER_ROWS];                                       /* finite samples so far */
} ll_trigger_state;

typedef struct {
    /* Samples [from, n) of 1 to 4 rows, row r at x[r], y[r] and ratio[r]; y is filled. Answers where it stopped: n, or without
     * `ratio` (NULL) the sample from which on it is wanted: that one and those behind it are as if never seen. */
    size_t (*run)(ll_trigger_state *s, const ll_trigger_rule *r, const float *const *x, size_t rows, size_t n, size_t from,
                  float *const *y, float *const *ratio);
} ll_trigger_api;

LL_API(trigger)

#endif
