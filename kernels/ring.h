/* Channels as ring buffers with seams, and joins that read several of them aligned in time.
 *
 * A ring counts its samples for ever (`pos`, uint64); a **seam** says from which position on a time base, a rate and flags
 * hold, and whether the samples before it go on (`reason` 0) or not. A **join** is one reader over n rings: it gives pieces
 * in which all rings are gap-free and within half a sample of each other, and a break wherever one of them has a seam
 * with a reason. How the writer cut its samples never shows: pieces may be cut differently, their union and the breaks not.
 *
 *      ring a   ........|gap|.......          join   block block BREAK block
 *      ring b   .....................                both    a lost some: both go on at the later start
 */
#ifndef LL_RING_H
#define LL_RING_H

#include <stddef.h>
#include <stdint.h>

#include "isa.h"
#include "status.h"

enum { LL_GOES_ON = 0, LL_GAP = 1, LL_EPOCH = 2, LL_CLOCK_STEP = 3, LL_OVERFLOW = 4, LL_START = 5 };

typedef struct {
    uint64_t pos;        /* first sample it holds for */
    uint64_t anchor_pos; /* the sample whose time is anchor_ns: time(p) = anchor_ns + floor((p - anchor_pos) * 1e9 * den / num) */
    int64_t anchor_ns;
    int64_t lost; /* samples that never came, -1 unknown */
    uint32_t rate_num, rate_den;
    uint32_t clock_sd_us;
    uint8_t reason, flags;
} ll_seam;

typedef struct {
    int32_t join, cursor;
} ll_reader;

typedef struct {
    float *data;
    int64_t *times; /* timed rings only */
    ll_seam *seams;
    ll_reader *readers;
    uint64_t cap, max_cap, head, tail;
    uint64_t most;       /* room that was needed at once since ll_ring_shrink */
    uint64_t first_seam; /* number of seams forgotten: seam k is seams[k - first_seam] */
    uint32_t n_seams, cap_seams, n_readers;
    uint32_t quiet; /* ticks since the last sample */
    uint8_t timed, fresh;
} ll_ring;

typedef struct {
    int32_t ring;
    uint8_t masked; /* its device is silent: a row of NaN, so that the others need not wait */
    uint64_t pos, next; /* sample to read; number of the first seam not yet crossed */
} ll_cursor;

/* The last sample that a join's readers were given. */
typedef struct {
    uint64_t turn; /* which of all that were given; 0: none yet */
    int64_t anchor_ns, index, t_ns;
    uint32_t rate_num, rate_den; /* rate_num 0: at t_ns */
} ll_last;

typedef struct {
    ll_cursor *cursors;
    int32_t n;
    uint8_t maskable, started, broken, dirty; /* broken: the reason of the break that is still to be told */
    int64_t lost;
    uint8_t listed; /* among the dirty ones */
    struct ll_crowd *crowd; /* its readers, where some have takers (handout.h) */
    ll_last last;
} ll_join;

enum { LL_NOTHING = 0, LL_BLOCK = 1, LL_BREAK = 2 };

typedef struct {
    int32_t kind;
    uint64_t n; /* samples */
    int64_t anchor_ns, index;
    int64_t t_ns, lost; /* of a break */
    uint32_t rate_num, rate_den, clock_sd_us;
    uint8_t flags, reason;
} ll_piece;

#define ll_ring_room LL_FN(ll_ring_room)
#define ll_ring_seam LL_FN(ll_ring_seam)
#define ll_ring_last LL_FN(ll_ring_last)
#define ll_ring_time LL_FN(ll_ring_time)
#define ll_ring_trim LL_FN(ll_ring_trim)
#define ll_ring_drop LL_FN(ll_ring_drop)
#define ll_ring_free LL_FN(ll_ring_free)
#define ll_ring_shrink LL_FN(ll_ring_shrink)
#define ll_join_next LL_FN(ll_join_next)
#define ll_join_copy LL_FN(ll_join_copy)
#define ll_join_pass LL_FN(ll_join_pass)
#define ll_join_tick LL_FN(ll_join_tick)

/* Makes room for n more samples, growing up to max_cap; LL_FULL when readers must read first. */
int ll_ring_room(ll_ring *r, uint64_t n);
/* A seam at the head. */
int ll_ring_seam(ll_ring *r, const ll_seam *s);
const ll_seam *ll_ring_last(const ll_ring *r);
/* Time that sample `pos` has, or would have, under seam s. */
int64_t ll_ring_time(const ll_ring *r, const ll_seam *s, uint64_t pos);
/* Forgets what every reader has read. */
void ll_ring_trim(ll_ring *r, const ll_join *joins);
/* Makes room by force: readers that are too far behind lose samples and get a break. Returns how many were lost. */
uint64_t ll_ring_drop(ll_ring *r, ll_join *joins, uint64_t n);
void ll_ring_free(ll_ring *r);
/* Now and then: a ring that is empty and was much too large for what came since the last call lets go of its memory. A small one is
 * written over and over in the caches, a large one never is. */
void ll_ring_shrink(ll_ring *r);

/* What can be read next; `skew_s` gets one double per row. A break is consumed by this call, a block by ll_join_copy. */
int ll_join_next(ll_join *j, ll_ring *rings, ll_piece *out, double *skew_s);
/* Copies the block of the last ll_join_next (rows of n floats; times for a timed ring) and moves on. */
void ll_join_copy(ll_join *j, ll_ring *rings, const ll_join *joins, const ll_piece *piece, float *x, int64_t *t_ns);
/* Moves on behind a block without a copy. */
void ll_join_pass(ll_join *j, ll_ring *rings, const ll_join *joins, const ll_piece *piece);
/* Once a second: masks channels that have been quiet for `patience` ticks while others wait, unmasks those that came back. */
void ll_join_tick(ll_join *j, ll_ring *rings, uint32_t patience);

#endif
