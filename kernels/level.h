/* Limits on a channel of samples: when is a limit reached, for how long, and when is it over.
 *
 * Two sides, above and below, are one machine: the side below works on -x with negated bounds. With v = x or -x and
 * bounds b[0] < b[1] < ... (mild to extreme, at most one per severity):
 *
 *     beyond k   v >= b[k]  (v > b[k] where the rule is strict)
 *     over       not beyond 0, and v <= clear = b[0] - hysteresis
 *
 *     v   b1 - - - - - - - x x x - - - - - - -      raise: beyond 0 held for on_ns; onset = first x beyond b0
 *         b0 - - - x x x x - - - x - - - - - -      rise:  beyond 1 held for on_ns
 *      clear - - - - - - - - - - - x - - - - -      end:   over held for off_ns
 *             x x x - - - - - - - - - x x x x
 *
 * Only finite samples count; times are those of the samples. All comparing is done in float. */
#ifndef LL_LEVEL_H
#define LL_LEVEL_H

#include <stddef.h>
#include <stdint.h>

#include "isa.h"
#include "status.h"

enum { LL_LEVEL_RANKS = 4, LL_SLOPE_KEEP = 128, LL_SLOPE_ROOM = LL_SLOPE_KEEP + 2 };
enum { LL_LEVEL_RAISE = 0, LL_LEVEL_RISE = 1, LL_LEVEL_END = 2 };

/* When the samples were taken: sample i at anchor_ns + floor((index + i) * den * 1e9 / num), or at t_ns[i]. */
typedef struct {
    int64_t anchor_ns, index;
    int64_t num, den;
    const int64_t *t_ns; /* not NULL: irregular */
} ll_level_clock;

typedef struct {
    float bound[2][LL_LEVEL_RANKS]; /* rising; of -x on side 1 */
    float clear[2];                 /* at most bound[.][0] */
    int32_t n[2];
    int32_t strict;
    int64_t on_ns, off_ns;
    int64_t hold_ns; /* a longer time between two samples ends what is pending; 0: none does */
} ll_level_rule;

typedef struct {
    int64_t since[2][LL_LEVEL_RANKS]; /* begin of the run beyond each bound; LL_LEVEL_NEVER: not beyond */
    int64_t clear_since, onset_ns, last_ns;
    float peak[2]; /* largest v since the run or the episode began */
    float last_x;
    int8_t side, rank; /* of the active alarm; side -1: none */
    int8_t pad[2];
} ll_level_state;

#define LL_LEVEL_NEVER INT64_MIN

typedef struct {
    int64_t t_ns, onset_ns;
    float x, peak;
    int8_t what, side, rank, pad[5];
} ll_level_event;

/* The mean slope over a window, against the newest kept sample that is at least a window old. At most one sample per
 * window / LL_SLOPE_KEEP is kept (the first in each such span of absolute time), so memory is bounded at any rate. */
typedef struct {
    int64_t t[LL_SLOPE_ROOM];
    float x[LL_SLOPE_ROOM];
    int64_t next_ns, last_ns; /* from when the next sample is kept; time of the last finite sample */
    int32_t head, count;
} ll_slope_state;

typedef struct {
    void (*start)(ll_level_state *s);
    /* Feeds x[*used..n); answers the number of events written, sets *used. Stops early, to be called again, when less
     * than two events have room (a sample makes two at most). */
    int (*push)(ll_level_state *s, const ll_level_rule *rule, const float *x, const ll_level_clock *clock, size_t n,
                size_t *used, ll_level_event *out, int cap);
    void (*slope_start)(ll_slope_state *s);
    /* out[i] = (x[i] - x[j]) / (t[i] - t[j]) * per_ns, NaN where there is no sample j or x[i] is not finite. */
    int (*slope)(ll_slope_state *s, int64_t window_ns, int64_t hold_ns, double per_ns, const float *x,
                 const ll_level_clock *clock, size_t n, float *out);
} ll_level_api;

LL_API(level)

#endif
