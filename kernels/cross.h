/* Spectra of two channels averaged over half-overlapping segments, with what a delay is judged by.
 *
 *     A_s[k] = sum_t w[t] (a[s hop + t] - mean) exp(-2 pi i k t / n)       w Hann, hop = n / 2, k = 0 .. n/2; B_s of b likewise
 *     s11 = <|A|^2>   s22 = <|B|^2>   q = <|A|^2 |B|^2>   s12 = <conj(A) B>       averages over the segments sound in both
 *     part p of s12: the sum over segments p per_part .. (p + 1) per_part - 1, divided as the whole
 *
 * With a shift, sample i of a is paired with sample i + shift of b, and S12[k] is turned back by exp(-2 pi i shift k / n):
 *
 *     shift = 3     a  [====n====)            shift = -3    a  ...[====n====)
 *                   b  ...[====n====)                       b  [====n====)
 *
 * A segment with a sample that is not finite is left out. Samples come off their mean and near 1 (a power of two) in double,
 * are transformed in float32, and are squared and summed in double (running), or in float32 over at most eight segments
 * between doubles (whole rows). No unit of the samples matters between 1e-75 and 1e75, where q still is a double.
 *
 * Running sums (`begin`, `push`): one segment after the other, a and b in one transform. Whole rows (`row`, `planes`, `pair`):
 * two segments of one row in one transform, whose bins serve every pair the row is in. */
#ifndef LL_CROSS_H
#define LL_CROSS_H

#include <stddef.h>
#include <stdint.h>

#include "isa.h"
#include "status.h"

enum { LL_CROSS_I16 = 0, LL_CROSS_F32 = 1, LL_CROSS_F64 = 2 };
enum { LL_CROSS_HALF = 31 };

typedef struct ll_bins ll_bins;           /* tables and work for one length of segment; one thread at a time */
typedef struct ll_cross_sums ll_cross_sums; /* running */
typedef struct ll_lags ll_lags;             /* tables and work for a correlogram of n lags; one thread at a time */

/* Two rows' planes to be summed: n_seg segments; the planes of a hold n_a segments, those of b n_b. */
typedef struct {
    const float *a, *b;
    const unsigned char *sound_a, *sound_b;
    size_t n_a, n_b, n_seg, per_part;
    double unit_a, unit_b; /* what a sample of 1 in the row stands for */
    int64_t shift;
    size_t used; /* answered */
} ll_cross_rows;

/* Counters of running sums. */
typedef struct {
    uint64_t seen, used;     /* segments; those that were not left out */
    uint64_t fill, n_parts;  /* samples of either channel that wait; parts begun by a segment that counts */
} ll_cross_count;

/* Averages at n_f lines; which of them are open. */
typedef struct {
    const double *s11, *s22, *s12, *q; /* s12 {re, im} */
    const unsigned char *open;
    size_t n_f, half;          /* neighbours to each side in the mean of chance */
    double sign;               /* -1: one channel is turned over */
    double segments, spread;   /* in the averages; how much larger than 1 / segments the variance of a mean is, for overlap */
} ll_band_lines;

/* When a run of values counts, see bands.h; the variance of a mean over count lines is spread chance / count. */
typedef struct {
    double sure, holds, spread;
} ll_band_runs;

/* A row over the open lines, what may be told by each, and the variance of each by chance; `lags` are tried for every line that a
 * band is wide. */
typedef struct {
    const double *x, *size, *even, *alone;
    const int64_t *at;
    size_t n;
    double spread, lags;
} ll_band_row;

/* Lines low .. high - 1 of a row, so many deviations from nothing, so many lags; one of `tried` bands. */
typedef struct {
    int64_t low, high;
    double z, lags;
    uint64_t tried;
} ll_band;

typedef struct {
    ll_bins *(*open)(size_t n); /* n a power of two, 16 .. 65536; NULL: it is not, or no memory */
    void (*close)(ll_bins *c);

    /* Row of n samples into out, off its mean and near 1; not finite where x is not. Answers what a 1 stands for. */
    double (*row)(const void *x, int kind, size_t n, float *out);
    /* Share of the finite samples that sit at the extremes, where those are more than the samples within 2 % of the swing of them
     * (noise thins out towards its extremes, the wall of a converter piles up); else 0. */
    double (*clipped)(const void *x, int kind, size_t n);
    size_t (*size)(size_t n, size_t n_seg); /* floats of planes */
    /* Bins of segments that begin at from, from + n/2, ..: planes [8 bins][segment]{re[8], im[8]} at a multiple of 64 bytes, twice
     * their size; sound[segment] 0 where it was left out (its bins are 0). */
    int (*planes)(ll_bins *c, const float *row, size_t n_row, size_t from, size_t n_seg, float *planes, unsigned char *sound);
    /* Averages: power [3][n/2+1] s11, s22, q; s12 [n/2+1] and parts [ceil(n_seg / per_part)][n/2+1] of {re, im}. All 0 if none
     * counts. */
    int (*pair)(ll_bins *c, ll_cross_rows *r, double *power, double *s12, double *parts);

    ll_cross_sums *(*begin)(size_t n, int64_t shift, uint64_t per_part); /* |shift| <= 2^40, per_part >= 1 */
    void (*end)(ll_cross_sums *s);
    int (*push)(ll_cross_sums *s, const void *a, const void *b, int kind, size_t n);
    void (*break_off)(ll_cross_sums *s); /* the samples that wait are forgotten */
    ll_cross_count (*count)(const ll_cross_sums *s);
    int (*read)(const ll_cross_sums *s, double *power, double *s12, double *parts); /* as of pair; n_parts parts */
    size_t (*bytes)(const ll_cross_sums *s);
    int (*save)(const ll_cross_sums *s, unsigned char *out);
    int (*load)(ll_cross_sums *s, const unsigned char *bytes, size_t len);

    /* What lines say of a delay, see lines.h; `at` are line numbers, rising, 0 or more; c {re, im} each. */
    void (*turned)(const int64_t *at, size_t n_at, double theta, const double *c, double *out);
    double (*newton)(const int64_t *at, size_t n_at, const double *c, double theta, double step); /* theta: there is no maximum */
    /* Lines that stand out of their neighbours: 1 in mark[n], else 0. Windows are shorter at both ends; one that holds a floor that
     * is not finite marks nothing. half 1 .. LL_CROSS_HALF, work [2 (n + 2 half)]. */
    int (*standing)(const double *power, size_t n, double factor, size_t half, double *work, unsigned char *mark);
    /* What two channels have in common, see bands.h. coherency answers how many of the n_f places of at, c, size, chance and alone
     * are filled; work [2 n_f + 1]. common: work [6 n + 1]. closer: work [4 n + 1], out is changed. best: edges rise within 0 .. n,
     * bands hold `least` lines; work [3 n + 2]. */
    size_t (*coherency)(const ll_band_lines *l, double *work, int64_t *at, double *c, double *size, double *chance, double *alone);
    void (*common)(const double *size, const double *chance, size_t n, const size_t half[2], const ll_band_runs *r, double *work,
                   double *out);
    void (*closer)(const double *x, const double *chance, size_t n, size_t half, const ll_band_runs *r, double *work, double *out);
    int (*best)(const ll_band_row *row, const int64_t *edges, size_t n_edges, int64_t least, double *work, ll_band *best);
    ll_lags *(*open_lags)(size_t n); /* n a power of two, 16 .. 65536 */
    void (*close_lags)(ll_lags *l);
    /* r [2 far + 1], far < n / 2 */
    int (*lags)(ll_lags *l, const int64_t *at, size_t n_at, const double *c, size_t far, double *r);
} ll_cross_api;

LL_API(cross)

#endif
