/* Peers by linear probing (peers.h); deleting shifts the run back, so there are no tombstones. */
#include "peers.h"

#include <stdlib.h>
#include <string.h>

int ll_peers_open(ll_peers *p, uint32_t slots, uint32_t first_number) {
    if (slots == 0 || (slots & (slots - 1))) return LL_RANGE;
    *p = (ll_peers){.mask = slots - 1, .next_number = first_number};
    p->slots = calloc(slots, sizeof *p->slots);
    p->table = calloc(2 * (size_t)slots, sizeof *p->table);
    if (p->slots && p->table) return LL_OK;
    ll_peers_close(p);
    return LL_NOMEM;
}

void ll_peers_close(ll_peers *p) {
    free(p->slots);
    free(p->table);
    p->slots = NULL;
    p->table = NULL;
}

static uint64_t hash(const ll_peers *p, const uint8_t *id, size_t len) {
    uint64_t h = 0xcbf29ce484222325u ^ ((uint64_t)(uintptr_t)p->table * 0x9e3779b97f4a7c15u); /* seeded: peers choose their names */
    for (size_t i = 0; i < len; i++) h = (h ^ id[i]) * 0x100000001b3u;
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93u;
    return h ^ (h >> 32);
}

static uint32_t wrap(const ll_peers *p) { return 2 * p->mask + 1; }
static uint32_t home(const ll_peers *p, const ll_peer *peer) { return (uint32_t)hash(p, peer->id, peer->len) & wrap(p); }

void ll_peers_forget(ll_peers *p, ll_peer *peer) {
    const uint32_t slot = (uint32_t)(peer - p->slots);
    uint32_t at = home(p, peer);
    while (p->table[at] != slot + 1) at = (at + 1) & wrap(p);
    for (uint32_t next = (at + 1) & wrap(p); p->table[next]; next = (next + 1) & wrap(p)) {
        const uint32_t want = home(p, &p->slots[p->table[next] - 1]);
        if (((next - want) & wrap(p)) >= ((next - at) & wrap(p))) { /* `at` lies between its home and where it is */
            p->table[at] = p->table[next];
            at = next;
        }
    }
    p->table[at] = 0;
    peer->number = 0;
}

static uint32_t free_place(const ll_peers *p, uint32_t at) {
    while (p->table[at]) at = (at + 1) & wrap(p);
    return at;
}

ll_peer *ll_peers_of(ll_peers *p, const uint8_t *id, size_t len) {
    const uint32_t wanted = (uint32_t)hash(p, id, len) & wrap(p);
    for (uint32_t at = wanted; p->table[at]; at = (at + 1) & wrap(p)) {
        ll_peer *peer = &p->slots[p->table[at] - 1];
        if (peer->len == len && !memcmp(peer->id, id, len)) return peer;
    }
    if (p->next_number == 0) p->next_number = 1;
    const uint32_t number = p->next_number++, slot = number & p->mask;
    ll_peer *peer = &p->slots[slot];
    if (peer->number) ll_peers_forget(p, peer); /* the run of `wanted` may move: its end is looked for behind it */
    p->table[free_place(p, wanted)] = slot + 1;
    *peer = (ll_peer){.number = number, .len = (uint8_t)len};
    memcpy(peer->id, id, len);
    return peer;
}

void ll_peers_forget_users(ll_peers *p) {
    for (uint32_t i = 0; i <= p->mask; i++) p->slots[i].user = 0;
}
