/* The median of a running window, and how far from it its samples lie, along the rows of x[rows][n].
 *
 *     window of 5, h = 2      x0 x1 [x2 x3 x4 x5 x6] x7 ..     answer 4 from x2 .. x6, known when x6 is
 *     at the ends             [x0 x1 x2] ..                    answer 0: the window holds what there is
 *
 * median: of an even number the mean of the middle two. MAD: the median of |x - median| over the same window. A window that
 * holds a sample that is not finite answers NaN. `wide` says that x and out are double, else float. */
#ifndef LL_HAMPEL_H
#define LL_HAMPEL_H

#include <stddef.h>
#include <stdint.h>

#include "isa.h"
#include "status.h"

enum { LL_MEDIAN = 0, LL_MAD = 1, LL_MARK = 2, LL_REPLACE = 3 };

/* Why a sample was taken out. */
enum { LL_KEPT = 0, LL_SPIKE = 1, LL_OUT_OF_RANGE = 2, LL_STUCK = 3, LL_REASONS = 4 };

/* How samples are cleaned, see spikes.h. */
typedef struct {
    double threshold, floor; /* MADs in standard deviations; in the unit of x, nothing less is an outlier */
    int64_t ahead;           /* samples waited for behind the one judged; 0: range and stillness only */
    int64_t near, most;      /* how far others are looked for; how many in a row may be taken out */
    uint64_t least;          /* finite samples that a window must hold */
    int64_t stuck;           /* equal samples in a row that are no measurement; 0: any number is one */
    int fill;                /* put the middle of both neighbours there, else NaN */
} ll_cleaning;

/* The last sample of a row, and how often it came in a row. */
typedef struct {
    double value;
    int64_t count;
} ll_still;

typedef struct {
    /* Bytes that one row's state takes. */
    size_t (*size)(size_t window, int wide);
    /* A row's state before its first sample. */
    void (*begin)(void *state, size_t window, int wide);
    /* n samples of each row go in, or n ends of row where x is NULL. Answers come out h samples late: out and, for LL_MARK and
     * LL_REPLACE, marks (1: further than limit * MAD from the median) get as many as that completes, `stride` from row to
     * row. States lie `size` bytes apart. Answers the number of answers. */
    int64_t (*push)(void *states, const void *x, size_t rows, size_t n, int verb, double limit, void *out, uint8_t *marks,
                    size_t stride, int wide);
    /* Rows from their first sample to their last, n answers each; `state` is one row's, in any condition. */
    int (*whole)(void *state, size_t window, const void *x, size_t rows, size_t n, int verb, double limit, void *out,
                 uint8_t *marks, int wide);
    /* The samples in a row's window, oldest first, into out[window]; how many they are. A state that has begun and has got
     * these samples again goes on as this one does. */
    size_t (*window)(const void *state, double *out, int wide);
    /* n samples of each row go in, or n ends of row where x is NULL; answers come out how->ahead samples late: the sample, or NaN
     * (or its fill) with the reason in marks. States xs and rs are as those of `push`, of one window; reasons[rows][window] and
     * still[rows] go with them. range[rows][2]: what lies outside goes. counts[rows][LL_REASONS] are added to. Answers the
     * number of answers. */
    int64_t (*clean)(void *xs, void *rs, uint8_t *reasons, ll_still *still, const void *x, size_t rows, size_t n,
                     const double *range, const ll_cleaning *how, void *out, uint8_t *marks, size_t stride, int64_t *counts,
                     int wide);
} ll_hampel_api;

LL_API(hampel)

#endif
