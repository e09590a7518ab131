/* Samples from rings to the takers of a join (taker.h), piece by piece, and to Python what those leave. */
#ifndef LL_HANDOUT_H
#define LL_HANDOUT_H

#include "assemble.h"
#include "taker.h"

/* Samples of a row that wait before a join is handed out in the middle of a feed. Few: the ring then stays in the caches. Not
 * very few: every taker's state has to come there first. */
enum { LL_RIPE = 1024, LL_EVEN = 64 }; /* and then whole numbers of LL_EVEN: vectors without odd ends */

/* The readers of a join. Reader r has takers[first[r]] .. takers[first[r + 1] - 1]; none where it takes blocks only. */
struct ll_crowd {
    int32_t n, *first;
    ll_taker **takers;
    uint8_t all;      /* every reader has takers */
    uint8_t held;     /* nothing is given until somebody in Python has seen to it */
    uint8_t left;     /* `piece` is what some reader did not take: from[r] is the first of its samples that reader r has not had */
    uint64_t left_at; /* where the first row stood then */
    uint64_t asked;   /* the feed in which Python was asked to read in the middle of it: once is enough */
    ll_piece piece;
    int64_t *from;
    double *skew_s;
    const float **x;
};
typedef struct ll_crowd ll_crowd;

#define ll_crowd_set LL_FN(ll_crowd_set)
#define ll_crowd_free LL_FN(ll_crowd_free)
#define ll_hand_out LL_FN(ll_hand_out)
#define ll_hand_next LL_FN(ll_hand_next)
#define ll_hand_passed LL_FN(ll_hand_passed)

/* Takers of the readers of a join's lane 0: n[r] each, one reader's after the other's. What is left over from before stays so. */
int ll_crowd_set(ll_assembler *a, int32_t join, const int32_t *n, int32_t readers, ll_taker *const *takers);
void ll_crowd_free(ll_join *j);
/* Gives what there is in lane 0 to the takers, or without `all` as much as is a multiple of LL_EVEN; 1: a piece is left that some
 * reader must have in Python, 0: nothing is. */
int ll_hand_out(ll_assembler *a, int32_t join, int all);
/* As ll_join_next for either lane; *from gets what each reader has had of a block, or NULL: nothing. */
int ll_hand_next(ll_assembler *a, int32_t join, int lane, ll_piece *out, double *skew_s, const int64_t **from);
/* A block of lane 0 was given to all its readers. */
void ll_hand_passed(ll_assembler *a, int32_t join, const ll_piece *piece);

#endif
