/* Cycles of a load history as ASTM E1049-85, 5.4.4 counts them, from a stream.
 *
 * A reversal is a sample where the direction changes; the first sample is one, and so is the last once the history ends.
 * They go onto a stack. Y is the range of the two before the last one, X of the last two:
 *
 *     X < Y                          nothing closes: take the next reversal
 *     X >= Y, Y has the first point  half a cycle of range Y; the first point goes
 *     X >= Y                         one cycle of range Y; its two points go
 *
 *     s0 ----- s1 ----- s2 ----- s3            the ranges left in the stack become smaller and smaller:
 *         >         Y        X                 it grows by one only while the history swings less and less
 *
 * What is left when the history ends counts as half cycles. Range = |a - b|, mean = 0.5 (a + b), in double. A sample equal
 * to the one before it changes no direction. A sample that is not finite is passed over and counted in `bad`, as is one of
 * 2^1023 or more, whose ranges might not be. */
#ifndef LL_RAINFLOW_H
#define LL_RAINFLOW_H

#include <stddef.h>
#include <stdint.h>

#include "isa.h"
#include "status.h"

typedef struct {
    double *stack; /* reversals; infinities lie below stack[0] */
    size_t top, cap;
    double last;               /* finite sample; it is no reversal yet */
    int64_t seen, bad;         /* samples, and those of them that are not finite */
    int32_t begun, direction;  /* of the last step: 1 up, -1 down, 0 none yet */
} ll_history;

typedef struct {
    double *ranges, *means, *counts; /* room for all that may come; n of them are there */
    size_t n;
    double gate; /* smaller ranges are not told */
} ll_cycles;

/* Bin i of ranges holds i*range_width <= range < (i+1)*range_width, of means the same from mean_low on; what lies beyond an
 * end goes into the outermost bin. counts[n_ranges][n_means]. */
typedef struct {
    double range_width, mean_low, mean_width;
    size_t n_ranges, n_means;
} ll_rainflow_bins;

typedef struct {
    /* The most cycles that n samples more and the residue after them may have, and one place more. */
    size_t (*room)(const ll_history *s, size_t n);
    int (*push)(ll_history *s, const void *x, int is_double, size_t n, ll_cycles *out);
    /* What would be told if the history ended here; the state stays. scratch[top + 1]. */
    void (*residue)(const ll_history *s, double *scratch, ll_cycles *out);
    void (*bin)(const ll_cycles *cycles, const ll_rainflow_bins *b, double *counts);
    int (*reserve)(ll_history *s, size_t cap); /* before a stack is filled from outside */
    void (*close)(ll_history *s);
} ll_rainflow_api;

LL_API(rainflow)

#endif
