/* Receiving from a ROUTER socket (receive.h).
 *
 *   drain:  held payload first; then  recv id, recv part  until EAGAIN, cap or arena
 *           EAGAIN with nothing yet  -> poll socket and wake_fd once
 *           EAGAIN with something    -> sleep gather_us once, so that a fast sender is taken in batches, not in ones
 *   table:  identity -> slot by linear probing; deleting shifts the run back, so there are no tombstones. */
#include "receive.h"

#include <errno.h>
#include <time.h>

enum { DONTWAIT = 1, SNDMORE = 2, POLLIN_ = 1 };

static uint64_t hash(const ll_receiver *r, const uint8_t *id, size_t len) {
    uint64_t h = 0xcbf29ce484222325u ^ ((uint64_t)(uintptr_t)r->table * 0x9e3779b97f4a7c15u); /* seeded: peers choose their names */
    for (size_t i = 0; i < len; i++) h = (h ^ id[i]) * 0x100000001b3u;
    h ^= h >> 32;
    h *= 0xd6e8feb86659fd93u;
    return h ^ (h >> 32);
}

static uint32_t home(const ll_receiver *r, const ll_peer *p) { return (uint32_t)hash(r, p->id, p->len) & (2 * r->mask + 1); }

static void forget(ll_receiver *r, uint32_t slot) {
    const uint32_t wrap = 2 * r->mask + 1;
    uint32_t at = home(r, &r->peers[slot]);
    while (r->table[at] != slot + 1) at = (at + 1) & wrap;
    for (uint32_t next = (at + 1) & wrap; r->table[next]; next = (next + 1) & wrap) {
        const uint32_t want = home(r, &r->peers[r->table[next] - 1]);
        if (((next - want) & wrap) >= ((next - at) & wrap)) { /* `at` lies between its home and where it is */
            r->table[at] = r->table[next];
            at = next;
        }
    }
    r->table[at] = 0;
    r->peers[slot].number = 0;
}

static ll_peer *peer_of(ll_receiver *r, const uint8_t *id, size_t len) {
    const uint32_t wrap = 2 * r->mask + 1;
    uint32_t at = (uint32_t)hash(r, id, len) & wrap;
    for (; r->table[at]; at = (at + 1) & wrap) {
        ll_peer *p = &r->peers[r->table[at] - 1];
        if (p->len == len && !memcmp(p->id, id, len)) return p;
    }
    if (r->next_number == 0) r->next_number = 1;
    const uint32_t number = r->next_number++, slot = number & r->mask;
    ll_peer *p = &r->peers[slot];
    if (p->number) {
        forget(r, slot);
        at = (uint32_t)hash(r, id, len) & wrap; /* the run may have moved */
        while (r->table[at]) at = (at + 1) & wrap;
    }
    r->table[at] = slot + 1;
    p->number = number;
    p->user = 0;
    p->delimited = 0;
    p->len = (uint8_t)len;
    memcpy(p->id, id, len);
    return p;
}

static int open_(ll_receiver *r, uint32_t peers, uint32_t first_number) {
    if (peers == 0 || (peers & (peers - 1))) return LL_RANGE;
    r->mask = peers - 1;
    r->next_number = first_number;
    r->peers = calloc(peers, sizeof *r->peers);
    r->table = calloc(2 * (size_t)peers, sizeof *r->table);
    if (!r->peers || !r->table) {
        free(r->peers);
        free(r->table);
        r->peers = NULL;
        r->table = NULL;
        return LL_NOMEM;
    }
    r->zmq.msg_init(&r->id);
    r->zmq.msg_init(&r->part);
    return LL_OK;
}

static void close_(ll_receiver *r) {
    if (!r->peers) return;
    r->zmq.msg_close(&r->id);
    r->zmq.msg_close(&r->part);
    free(r->peers);
    free(r->table);
    r->peers = NULL;
    r->table = NULL;
    r->holding = 0;
}

/* Whose key the message in `part` came under. A connection keeps its key, so mostly one comparison does. */
static uint32_t user_of(ll_receiver *r, ll_peer *peer) {
    if (!r->n_keys) return 0;
    const char *key = r->zmq.msg_gets(&r->part, "User-Id");
    if (!key) return peer->user = 0;
    if (peer->user && !strncmp(key, r->keys + (size_t)LL_KEY * (peer->user - 1), LL_KEY)) return peer->user;
    uint32_t low = 0, high = r->n_keys;
    while (low < high) {
        const uint32_t mid = low + (high - low) / 2;
        const int order = strncmp(r->keys + (size_t)LL_KEY * mid, key, LL_KEY);
        if (order == 0) return peer->user = mid + 1;
        if (order < 0) low = mid + 1;
        else high = mid;
    }
    return peer->user = 0;
}

/* Bytes into the arena; the caller has seen to the room. */
static void keep(ll_receiver *r, const uint8_t *bytes, size_t len, uint32_t source, uint32_t user, uint8_t kind) {
    memcpy(r->arena + r->used, bytes, len);
    r->offsets[r->n] = (int64_t)r->used;
    r->lengths[r->n] = (int64_t)len;
    r->sources[r->n] = source;
    r->users[r->n] = user;
    r->kinds[r->n] = kind;
    r->used += len;
    r->n++;
}

/* The payload in `part`; 0 when it has to wait for an empty arena. */
static int take(ll_receiver *r, uint32_t source, uint32_t user) {
    const size_t len = r->zmq.msg_size(&r->part);
    if (len > r->arena_cap - r->used) {
        r->holding = 1;
        r->held_source = source;
        r->held_user = user;
        return 0;
    }
    const uint8_t *bytes = r->zmq.msg_data(&r->part);
    const uint8_t first = bytes[0];
    const int map = (first & 0xf0) == 0x80 || first == 0xde || first == 0xdf; /* msgpack: fixmap, map 16, map 32 */
    keep(r, bytes, len, source, user, map ? LL_GATEWAY : LL_FRAME);
    r->messages++;
    r->bytes += len;
    r->holding = 0;
    return 1;
}

/* Swallows the rest of a message that is none of ours and keeps its first bytes. */
static void rubbish(ll_receiver *r, uint32_t source, uint32_t user) {
    uint8_t kept[LL_RUBBISH_KEPT];
    size_t have = 0;
    for (;;) {
        size_t len = r->zmq.msg_size(&r->part), room = sizeof kept - have;
        if (len > room) len = room;
        if (len) memcpy(kept + have, r->zmq.msg_data(&r->part), len);
        have += len;
        if (!r->zmq.msg_more(&r->part)) break;
        if (r->zmq.msg_recv(&r->part, r->socket, DONTWAIT) < 0) break; /* parts of one message arrive together */
    }
    if (have > r->arena_cap - r->used) have = r->arena_cap - r->used;
    r->rubbish++;
    keep(r, kept, have, source, user, LL_RUBBISH);
}

/* One message; 1 taken, 0 the arena is full, -1 nothing there or an error (r->error). */
static int one(ll_receiver *r) {
    if (r->zmq.msg_recv(&r->id, r->socket, DONTWAIT) < 0) return -1;
    ll_peer *peer = peer_of(r, r->zmq.msg_data(&r->id), r->zmq.msg_size(&r->id));
    if (!r->zmq.msg_more(&r->id)) return 1; /* a ROUTER never gives an identity alone */
    if (r->zmq.msg_recv(&r->part, r->socket, DONTWAIT) < 0) return -1;
    uint8_t delimited = 0;
    if (r->zmq.msg_size(&r->part) == 0 && r->zmq.msg_more(&r->part)) {
        if (r->zmq.msg_recv(&r->part, r->socket, DONTWAIT) < 0) return -1;
        delimited = 1;
    }
    const uint32_t user = user_of(r, peer);
    if (r->zmq.msg_more(&r->part) || r->zmq.msg_size(&r->part) == 0) {
        rubbish(r, peer->number, user);
        return 1;
    }
    peer->delimited = delimited;
    return take(r, peer->number, user);
}

static long drain(ll_receiver *r, long wait_ms, long gather_us) {
    int waited = wait_ms == 0, gathered = gather_us <= 0;
    r->n = 0;
    r->used = 0;
    r->error = 0;
    if (r->holding && !take(r, r->held_source, r->held_user)) return LL_FULL; /* larger than the whole arena: the caller's limits are wrong */
    while (r->n < r->cap) {
        const int got = one(r);
        if (got == 1) continue;
        if (got == 0) break;
        const int e = r->zmq.err();
        if (e == EINTR) continue;
        if (e != EAGAIN) {
            r->error = e;
            return r->n ? r->n : LL_IO; /* what was taken is not thrown away; the next call meets the error again */
        }
        if (r->n) {
            if (gathered) break;
            gathered = 1;
            const struct timespec nap = {.tv_sec = 0, .tv_nsec = gather_us * 1000};
            nanosleep(&nap, NULL);
            continue;
        }
        if (waited) break;
        waited = 1;
        r->waits++;
        ll_zmq_item items[2] = {{r->socket, 0, POLLIN_, 0}, {NULL, r->wake_fd, POLLIN_, 0}};
        const int ready = r->zmq.poll(items, r->wake_fd >= 0 ? 2 : 1, wait_ms);
        if (ready < 0 && r->zmq.err() != EINTR) {
            r->error = r->zmq.err();
            return LL_IO;
        }
        if (ready <= 0 || !(items[0].revents & POLLIN_)) break;
    }
    return r->n;
}

static void forget_users(ll_receiver *r) {
    for (uint32_t i = 0; i <= r->mask; i++) r->peers[i].user = 0;
    r->held_user = 0;
}

static int identity(const ll_receiver *r, uint32_t number, uint8_t out[256], int *delimited) {
    const ll_peer *p = &r->peers[number & r->mask];
    if (number == 0 || p->number != number) return LL_RANGE;
    memcpy(out, p->id, p->len);
    *delimited = p->delimited;
    return p->len;
}

static int send_part(ll_receiver *r, const uint8_t *bytes, size_t len, int flags) {
    ll_zmq_msg m;
    if (r->zmq.msg_init_size(&m, len)) return -1;
    if (len) memcpy(r->zmq.msg_data(&m), bytes, len);
    int sent;
    do sent = r->zmq.msg_send(&m, r->socket, flags | DONTWAIT);
    while (sent < 0 && r->zmq.err() == EINTR);
    if (sent < 0) {
        const int e = r->zmq.err();
        r->zmq.msg_close(&m);
        errno = e;
        return -1;
    }
    return 0;
}

static int reply(ll_receiver *r, const uint32_t *numbers, const uint8_t *bodies, const int64_t *offsets, const int64_t *lengths,
                 long n, uint8_t *status) {
    for (long k = 0; k < n; k++) {
        const ll_peer *p = &r->peers[numbers[k] & r->mask];
        status[k] = LL_GONE;
        if (numbers[k] == 0 || p->number != numbers[k]) continue;
        if (send_part(r, p->id, p->len, SNDMORE)) { /* mandatory: only the first part can be refused */
            if (errno == EHOSTUNREACH) continue;
            status[k] = LL_AGAIN;
            if (errno == EAGAIN) continue;
            r->error = errno;
            for (; k < n; k++) status[k] = LL_AGAIN;
            return LL_IO;
        }
        if (p->delimited) send_part(r, NULL, 0, SNDMORE);
        send_part(r, bodies + offsets[k], (size_t)lengths[k], 0);
        status[k] = LL_SENT;
    }
    return LL_OK;
}

const ll_receive_api LL_FN(ll_receive_api) = {
    .open = open_, .close = close_, .drain = drain, .reply = reply, .forget_users = forget_users, .identity = identity};
