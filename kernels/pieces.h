/* Payloads that lie where libzmq put them, handed from the receive loop to the journal without a copy.
 *
 * The struct lives as long as the loop does; what it points to holds from one drain to the next, and `*n` is 0 once the loop
 * is closed. Between the two modules it travels as a capsule of the name below. */
#ifndef LL_PIECES_H
#define LL_PIECES_H

#include <stdint.h>

#define LL_PIECES "lifeline_core.pieces"

typedef struct {
    const uint8_t *const *at; /* payload k */
    const int64_t *lengths;
    const uint32_t *sources;
    const long *n;
} ll_pieces;

#endif
