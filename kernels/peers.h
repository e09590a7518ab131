/* Connections by the names ZeroMQ gives them: identity -> number, and back.
 *
 * A number is of 32 bits, never 0, given in order from a random first one; its low bits are the slot. The last `slots` identities
 * are remembered; an older one that speaks again gets a new number, and its old number means nobody. So the table is bounded, and
 * a number out of an earlier life of the process means nobody as well. */
#ifndef LL_PEERS_H
#define LL_PEERS_H

#include <stddef.h>
#include <stdint.h>

#include "isa.h"
#include "status.h"

enum { LL_LONGEST_ID = 255 }; /* of a routing id (RFC 23); whoever has a longer one sends rubbish and gets no answer */

typedef struct {
    uint32_t number; /* 0: the slot is free */
    uint32_t user;   /* of its last message */
    uint8_t delimited, len, id[256];
} ll_peer;

typedef struct {
    ll_peer *slots;
    uint32_t *table; /* open addressing, twice as many entries: slot + 1, 0 free */
    uint32_t mask, next_number;
} ll_peers;

#define ll_peers_open LL_FN(ll_peers_open)
#define ll_peers_close LL_FN(ll_peers_close)
#define ll_peers_of LL_FN(ll_peers_of)
#define ll_peers_forget LL_FN(ll_peers_forget)
#define ll_peers_forget_users LL_FN(ll_peers_forget_users)

/* `slots` is a power of two. LL_NOMEM, LL_RANGE. */
int ll_peers_open(ll_peers *p, uint32_t slots, uint32_t first_number);
void ll_peers_close(ll_peers *p);
/* The peer of this name; where it was not known, a new one in the place of the oldest. */
ll_peer *ll_peers_of(ll_peers *p, const uint8_t *id, size_t len);
/* Its number means nobody from now on. */
void ll_peers_forget(ll_peers *p, ll_peer *peer);
void ll_peers_forget_users(ll_peers *p);

/* The peer behind a number, or NULL where that means nobody. */
static inline ll_peer *ll_peers_at(const ll_peers *p, uint32_t number) {
    ll_peer *peer = &p->slots[number & p->mask];
    return number && peer->number == number ? peer : NULL;
}

#endif
