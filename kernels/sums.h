/* One stream's sums: what spectrum.c keeps and sums.c adds to. */
#ifndef LL_SUMS_H
#define LL_SUMS_H

#include "fft.h"
#include "spectrum.h"

enum { LL_GROUP = 8 };

/* Doubles of the sums, and per row (pair of rows) the weights and the count of the segments in them. Without cross
 * acc is [row][bin]; with cross [8 bins][pair]{re[8], im[8]}, pairs (i, j >= i) row by row. */
typedef struct {
    double *acc, *weight;
    int64_t *used;
} ll_sums;

struct ll_spectrum_sums {
    ll_spectrum_plan p;
    size_t n_f, n_f8, n_pair, n_acc; /* bins, groups of 8 bins, pairs of rows, doubles of the sums */
    size_t cap, fill;                /* of the buffer, in samples per row */
    uint64_t window_hash;
    uint64_t groups, segments; /* in the part under way; in everything since reset */
    int filled;                /* the totals are not all 0; the part is all 0 where groups is 0 */
    ll_sums total, part, seen; /* whole parts; the part under way; room for what somebody looks at */
    double keep[LL_GROUP + 1]; /* powers of plan.keep */
    float root[LL_GROUP];      /* and their square roots, by which the samples of a segment of that age are multiplied */
    float *buffer;
    const float **rows; /* of the buffer */
    ll_fft *fft;
    float *re, *im;       /* bins of two segments; re alone: powers of a group */
    float *planes;        /* with cross: bins of a group, [8 bins][segment][row]{re[8], im[8]} */
    size_t plane;         /* floats from 8 bins to the next, a cache line more than they are, or all would share a set */
    double *unit;         /* with cross: by how much the row's bins are to be multiplied */
    unsigned char *sound; /* with cross: [segment][row], 0 where the segment was left out of its row */
};

#define ll_sums_add LL_FN(ll_sums_add)
#define ll_sums_each LL_FN(ll_sums_each)

/* n_seg segments of every row r from x[r] + at on; n_seg is whole groups, but for the last call before a seam or a look. */
void ll_sums_add(ll_spectrum_sums *s, const float *const *x, size_t at, size_t n_seg, ll_sums *to);
/* As each of ll_spectrum_api. */
int ll_sums_each(ll_spectrum_sums *s, const float *x, ptrdiff_t stride, size_t n_seg, const double *scale, float *out);

#endif
