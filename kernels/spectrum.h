/* Averaged spectra of real float32 streams: window, trend and transform of overlapping segments, and sums over them.
 *
 *     X_s[k] = sum_t w[t] (x[s*hop + t] - trend_s[t]) exp(-2 pi i k t / n)        k = 0 .. n/2
 *     power  P[c][k]     = sum_s keep^(S-1-s) |X_cs[k]|^2                          s = 0 .. S-1
 *     matrix S[i][j][k]  = sum_s keep^(S-1-s) conj(X_is[k]) X_js[k]
 *
 * Segments are taken in groups of eight counted from the last start or seam; a group is summed in float32 in one fixed order
 * and added to doubles. `part` groups make a part, which is summed from zero and then added to the totals. What is not yet
 * a whole group stays in the buffer as samples and is counted in when somebody looks. So the sums are the same, bit for bit,
 * for any cut of the stream and any time of looking, and for whole parts that were summed elsewhere and merged in order.
 *
 *     samples    |....hop....|....hop....|....hop....|
 *     segment 0  [==========n==========]
 *     segment 1              [==========n==========]
 *     segment 2                          [==========n==========]
 */
#ifndef LL_SPECTRUM_H
#define LL_SPECTRUM_H

#include <stddef.h>
#include <stdint.h>

#include "isa.h"
#include "status.h"

enum { LL_DETREND_NONE = 0, LL_DETREND_CONSTANT = 1, LL_DETREND_LINEAR = 2 };

typedef struct {
    uint32_t n;       /* samples per segment, a power of two, 16 .. 65536 */
    uint32_t hop;     /* samples between the starts of two segments, 1 .. n */
    uint32_t n_ch;    /* rows */
    uint32_t detrend; /* LL_DETREND_* */
    uint32_t cross;   /* 1: matrix (power is its diagonal), 0: power only */
    uint32_t skip;    /* 1: a segment with a non-finite sample is left out for its row, 0: it makes the row NaN */
    uint32_t part;    /* groups per part, at least 1 */
    uint32_t reserved;
    double keep;      /* what a sum keeps at each further segment, above 0 .. 1; 1: a plain sum */
} ll_spectrum_plan;

typedef struct ll_spectrum_sums ll_spectrum_sums;

typedef struct {
    ll_spectrum_sums *(*open)(const ll_spectrum_plan *plan, const float *window); /* NULL: a bad plan or no memory */
    void (*close)(ll_spectrum_sums *s);
    /* n more samples of every row r, from x[r] on. */
    int (*push)(ll_spectrum_sums *s, const float *const *x, size_t n);
    void (*fetch)(const ll_spectrum_sums *s, size_t n); /* asks the caches for what the next push of n samples will write */
    void (*reset)(ll_spectrum_sums *s);   /* forget everything */
    void (*restart)(ll_spectrum_sums *s); /* a seam: keep the sums, drop the segment that was not complete */
    /* Sums so far into out[n_ch][n/2+1] and how many segments are in each into used[n_ch]. */
    int (*power)(ll_spectrum_sums *s, double *out, int64_t *used);
    /* Sums so far, out[n/2+1][n_ch][n_ch] of {re, im}, used[n_ch][n_ch]. Plans with cross only. */
    int (*matrix)(ll_spectrum_sums *s, double *out, int64_t *used);
    /* The matrix's sums times scale[k] over their weight (keep^age summed; the count at keep = 1), rounded to {re, im} float. */
    int (*average)(ll_spectrum_sums *s, const double *scale, float *out);
    int (*merge)(ll_spectrum_sums *s, ll_spectrum_sums *other); /* a seam in s, then all of other's sums as one part */
    /* Sum of keep^age of the segments in the sums: out[n_ch], with cross out[n_ch][n_ch]. Without forgetting: used. */
    int (*weights)(ll_spectrum_sums *s, double *out);
    /* scale[k] |X_cs[k]|^2 of each segment by itself into out[n_ch][n_seg][n/2+1]; leaves the sums alone. */
    int (*each)(ll_spectrum_sums *s, const float *x, ptrdiff_t stride, size_t n_seg, const double *scale, float *out);
    size_t (*size)(const ll_spectrum_sums *s);               /* bytes that save writes now */
    int (*save)(const ll_spectrum_sums *s, unsigned char *out);
    int (*load)(ll_spectrum_sums *s, const unsigned char *bytes, size_t len); /* LL_STATE unless plan, window and size agree */
} ll_spectrum_api;

LL_API(spectrum)

#endif
