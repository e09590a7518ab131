/* What a bin of samples amounts to, in one pass, and what a row of samples betrays about its sensor.
 *
 * Time. Sample j of a stream is at anchor_ns + floor(j * rate_den * 1e9 / rate_num), or at t_ns[j]; all of it in 128-bit
 * integers, so that bins are clock aligned for ever: bin b holds the samples with floor(t / bin_ns) == b.
 *
 * Bin. Finite samples about the first finite one, K:  S1 = sum (x - K) ... S4 = sum (x - K)^4, each in eight doubles;
 * sample number p of the bin adds to double p mod 8, so the sums do not depend on how the samples arrive. A constant has a
 * deviation of exactly 0 whatever its size. Doubles, because n = 1e6 terms in a float would leave no digit of the mean; about
 * one of the samples, because then an offset costs nothing: S2 is at most n times what is left when the mean is taken out,
 * and far from it only where K is the one outlier. With m = S1/n:
 *     mean = K + m          spread = S2/n - m^2          deviation = sqrt(spread)          rms = sqrt(mean^2 + spread)
 *     skewness = (S3/n - 3 m S2/n + 2 m^3) / spread^1.5    kurtosis = (S4/n - 4 m S3/n + 6 m^2 S2/n - 3 m^4) / spread^2
 *     crest = max |x| / rms          NaN where the divisor is 0; kurtosis after Pearson: 3 for a normal distribution
 *
 * Flat: a value that repeats `need` times (and for need_ns, if given) is flat until another finite value comes. A sample
 * that is not finite ends a run that is not flat yet; it does not end flatness. The value `rest` is never flat.
 * Clip: a window (floor(t / window_ns)) in which `need` samples lie at or beyond the ends is clipped, from that sample on;
 * it is over with the first sound sample after a window with fewer.
 */
#ifndef LL_STATS_H
#define LL_STATS_H

#include <stddef.h>
#include <stdint.h>

#include "isa.h"
#include "status.h"

typedef struct {
    int64_t anchor_ns, index, rate_num, rate_den; /* of sample 0 of the block */
    const int64_t *t_ns;                          /* irregular: overrules the rest */
} ll_stats_clock;

typedef struct {
    double shift, sum[8], square[8], cube[8], fourth[8], low, high;
    int64_t seen, finite, clipped; /* of this bin: samples, finite ones, at or beyond an end */
    int64_t run, longest;          /* identical samples up to the last one; the longest such run that reaches into this bin */
    float last, reserved;
} ll_stats_cell;

typedef struct {
    int64_t finite, bad, clipped, longest;
    double mean, rms, deviation, low, high, sum, square; /* sum and square about 0 */
    double crest, skewness, kurtosis;
} ll_stats_row;

typedef struct {
    int64_t run, run_t0, window, clipped, clip_t0;
    float last;
    int32_t flat, clip;
    int32_t reserved;
} ll_stats_guard;

typedef struct {
    int64_t flat_need, flat_ns, window_ns, clip_need;
    float low, high, rest; /* ends of the range and the value that may repeat; NaN: none */
} ll_stats_rule;

typedef struct {
    int64_t active, sample, t_ns, onset_ns, count;
    double value;
} ll_stats_event;

typedef struct {
    /* The bin that sample clock->index lies in, and how many samples from it on lie in that bin. Regular clocks only. */
    int (*bin)(const ll_stats_clock *clock, int64_t bin_ns, int64_t *number, int64_t *n);
    void (*open)(ll_stats_cell *cells, size_t n_ch); /* a new bin; runs go on */
    /* n more samples of each row; row c begins at x + c*stride, its range is low[c] .. high[c], NaN: none. */
    void (*add)(ll_stats_cell *cells, size_t n_ch, const float *x, ptrdiff_t stride, size_t n, const float *low, const float *high);
    void (*read)(const ll_stats_cell *cells, size_t n_ch, ll_stats_row *out);
    /* What n floats or doubles amount to at once: a bin without runs and ends. Doubles whose fourth power overflows or vanishes
     * (1e77, 1e-77 from the first one) give a kurtosis that is NaN. */
    void (*describe)(const void *x, int is_double, size_t n, ll_stats_row *out);
    /* One row from sample `from` on, up to the next event or the end: the sample to go on from. `event` is filled and
     * *found is 1 where one is told. Two guards, one each for flat and clip, are called by turns with the same cell. */
    size_t (*flat)(ll_stats_guard *g, const ll_stats_rule *r, const float *x, size_t from, size_t n, const ll_stats_clock *clock,
                   ll_stats_event *event, int *found);
    size_t (*clip)(ll_stats_guard *g, const ll_stats_rule *r, const float *x, size_t from, size_t n, const ll_stats_clock *clock,
                   int all, ll_stats_event *event, int *found); /* all: the device says every sample is clipped */
} ll_stats_api;

LL_API(stats)

#endif
