/* Follows the level of one channel per row and says when it stepped to another one.
 *
 * Samples go into bins (about 16 a second); a bin's level is the median of its finite samples. Over the levels m[k] run
 *
 *     a meter of change, metres:   down = max(0, down - (m[k] - m[k-1]) - drift)          slow changes never count
 *     a CUSUM of whitened levels:  g    = max(0, g + e[k] / sigma - reference)            noise passes `threshold` once per budget
 *
 * with y[k] = m[k] - base (a mean that forgets in LL_STEP_MEMORY bins) and e[k] = y[k] - sum a[l] y[k-l], an autoregression learnt
 * from the row's own past. Both have a twin for the other sign. A step is asked for where the meter and, within the last
 * n_gate bins, the CUSUM of the same sign have passed their thresholds; it is confirmed once most of the last n_post bins differ
 * by `limit` from the level n_rise bins before:
 *
 *     bins   . . b b b b b b b b . . . . r r r r . . . a a a a        limit = max(min_step, allowance + z noise)
 *                before (n_pre)    `- n_rise between -'  after (n_post)
 *
 *     ring of raw samples:   [bin][bin] ... [open bin]        n_ring bins of `size` samples; a bin never wraps around
 */
#ifndef LL_STEP_H
#define LL_STEP_H

#include <stddef.h>
#include <stdint.h>

#include "isa.h"
#include "past.h"
#include "status.h"

enum { LL_STEP_ORDER = LL_ORDER, LL_STEP_PAST = LL_PAST, LL_STEP_MEMORY = 64, LL_STEP_MOST = 512 };
enum { LL_STEP_LAG = 4, LL_STEP_WARM = 12 }; /* bins between the levels whose difference is the noise; bins before a statement */
enum { LL_STEP_NONE = 0, LL_STEP_ON = 1, LL_STEP_QUIET = 2 };

typedef struct {
    uint32_t size, n_pre, n_post, n_rise, n_gate, n_window, n_ring, n_hold;
    double drift, trigger, min_step, allowance, z; /* of the meter, a bin; of the meter; of the size */
    double reference, threshold;                   /* of the CUSUM, in sigmas */
} ll_step_rule;

typedef struct {
    uint64_t crossings, fed;            /* times the CUSUM passed its threshold; bins learnt from */
    int64_t since, back;                /* samples since the step's bin ended, and when the old level was there again; -1: not yet */
    uint32_t open, at, held;            /* samples of the open bin; its place in the ring; full bins before it */
    uint32_t levels, head, missing;     /* kept, the next one's place; bins in a row without a level */
    uint32_t pending, quiet;            /* bins since the question was asked, 0: it is not; bins without one */
    uint32_t bins[2], gate[2];          /* since the meter left zero; that the CUSUM's word still counts */
    uint32_t lags, settled, blocks;     /* of `lag` that are known; bins in `base`; blocks in the averages */
    uint32_t tracking, near, span;      /* looks out for the old level; bins in a row near it; bins since the level began */
    double meter[2], g[2], base, sigma, noise;
    double lag[LL_STEP_ORDER], a[LL_STEP_ORDER], rho[LL_STEP_ORDER + 1];
    double log_mid, log_tail, log_noise; /* averages over blocks */
    double from, half;                   /* level before the first step, half of its size */
} ll_step_head;                          /* then double level[n_window]; float y[PAST], d[PAST]; float raw[n_ring size] */

typedef struct {
    uint32_t what, bins, held, pad; /* bins since the meter left zero; full bins of this level */
    int64_t back; /* LL_STEP_QUIET: samples from the end of the bin back to where the old level was met; -1: not */
} ll_step_event;

typedef struct {
    /* Bytes of a row's state, a multiple of 8; 0 where the rule is not one. */
    size_t (*room)(const ll_step_rule *rule);
    void (*start)(const ll_step_rule *rule, void *state);
    /* After a seam: the level is not known, the noise is. */
    void (*restart)(const ll_step_rule *rule, void *state);
    /* Takes x[*used..n) until something can be said; LL_STEP_NONE: all is taken. `work` holds `size` floats. */
    int (*push)(const ll_step_rule *rule, void *state, const float *x, size_t n, size_t *used, float *work, ll_step_event *event);
    /* The last n samples to `out`, oldest first; those that are no longer kept are NaN. */
    void (*last)(const ll_step_rule *rule, const void *state, size_t n, float *out);
    /* LL_STATE where a saved state would lead outside. */
    int (*check)(const ll_step_rule *rule, const void *state);
} ll_step_api;

LL_API(step)

#endif
