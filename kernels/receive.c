/* Receiving from a ROUTER socket (receive.h).
 *
 *   drain:  recv id, recv part  until EAGAIN, cap or limit
 *           EAGAIN with nothing yet  -> poll socket and wake_fd once
 *           EAGAIN with something    -> sleep gather_us once, so that a fast sender is taken in batches, not in ones; twice as
 *                                       long where the drain before brought LL_WORTH messages: a round has a price of its own,
 *                                       and every look that finds the queue empty makes libzmq's thread wake this one */
#include "receive.h"

#include <errno.h>
#include <time.h>
#ifdef __GLIBC__
#include <malloc.h>
#endif

enum { DONTWAIT = 1, SNDMORE = 2, POLLIN_ = 1 };

/* A drain gives back megabytes that libzmq's thread asks for again a moment later. By itself glibc gives such memory to the
 * system (madvise) and fetches it page by page: a seventh of that thread's time went into faults. So up to KEPT_FREE at the
 * top of an arena stay, and what is mapped by itself is as large as glibc would have come to by itself. */
static void keep_free_memory(void) {
#ifdef __GLIBC__
    enum { KEPT_FREE = 16 << 20, MAPPED = 4 << 20 };
    mallopt(M_TRIM_THRESHOLD, KEPT_FREE);
    mallopt(M_MMAP_THRESHOLD, MAPPED); /* the first fixes it at 128 KiB otherwise */
#endif
}

static void release(ll_receiver *r) {
    ll_peers_close(&r->peers);
    free(r->held);
    free(r->at);
    r->held = NULL;
    r->at = NULL;
}

/* Gives the messages of the last drain back to libzmq. */
static void let_go(ll_receiver *r) {
    for (long k = 0; k < r->n; k++) {
        r->zmq.msg_close(&r->held[k]);
        r->zmq.msg_init(&r->held[k]);
    }
    r->n = 0;
    r->used = 0;
}

static int open_(ll_receiver *r, uint32_t peers, uint32_t first_number) {
    const int status = ll_peers_open(&r->peers, peers, first_number);
    if (status != LL_OK) return status;
    r->held = aligned_alloc(64, (size_t)r->cap * sizeof *r->held);
    r->at = malloc((size_t)r->cap * sizeof *r->at);
    if (!r->held || !r->at) {
        release(r);
        return LL_NOMEM;
    }
    keep_free_memory();
    r->zmq.msg_init(&r->id);
    for (long k = 0; k < r->cap; k++) r->zmq.msg_init(&r->held[k]);
    return LL_OK;
}

static void close_(ll_receiver *r) {
    if (!r->held) return;
    let_go(r);
    r->zmq.msg_close(&r->id);
    for (long k = 0; k < r->cap; k++) r->zmq.msg_close(&r->held[k]);
    release(r);
}

/* What held[n] holds is one more of this drain. Its bytes are still in another core's cache: the first are asked for here and
 * looked at in `sort`, when they are there. */
static void keep(ll_receiver *r, const ll_peer *peer, uint32_t user, uint8_t kind, size_t len) {
    const uint8_t *bytes = r->zmq.msg_data(&r->held[r->n]);
    __builtin_prefetch(bytes);
    r->at[r->n] = bytes;
    r->lengths[r->n] = (int64_t)len;
    r->sources[r->n] = peer->number;
    r->users[r->n] = user;
    r->kinds[r->n] = kind;
    r->used += len;
    r->n++;
}

/* Heads, and which of the frames are maps. */
static void sort(ll_receiver *r) {
    r->plain = 1;
    for (long k = 0; k < r->n; k++) {
        uint8_t head[LL_HEAD] = {0};
        if (r->lengths[k] >= LL_HEAD) memcpy(head, r->at[k], LL_HEAD);
        else memcpy(head, r->at[k], (size_t)r->lengths[k]);
        memcpy(r->heads + LL_HEAD * k, head, LL_HEAD);
        const uint8_t first = head[0];
        const int map = (first & 0xf0) == 0x80 || first == 0xde || first == 0xdf; /* msgpack: fixmap, map 16, map 32 */
        if (map && r->kinds[k] == LL_FRAME) r->kinds[k] = LL_GATEWAY;
        if (r->kinds[k] != LL_FRAME) r->plain = 0;
    }
}

/* Swallows the rest of a message that is none of ours; its first bytes are held in its stead. */
static void rubbish(ll_receiver *r, const ll_peer *peer, uint32_t user) {
    uint8_t kept[LL_RUBBISH_KEPT];
    ll_zmq_msg *part = &r->held[r->n];
    size_t have = 0;
    for (;;) {
        size_t len = r->zmq.msg_size(part), room = sizeof kept - have;
        if (len > room) len = room;
        if (len) memcpy(kept + have, r->zmq.msg_data(part), len);
        have += len;
        if (!r->zmq.msg_more(part)) break;
        if (r->zmq.msg_recv(part, r->socket, DONTWAIT) < 0) break; /* parts of one message arrive together */
    }
    r->zmq.msg_close(part);
    if (r->zmq.msg_init_size(part, have)) { /* no memory: counted, with nothing to look at */
        r->zmq.msg_init(part);
        have = 0;
    }
    if (have) memcpy(r->zmq.msg_data(part), kept, have);
    r->rubbish++;
    keep(r, peer, user, LL_RUBBISH, have);
}

/* Whose key a message came under. A connection keeps its key, so mostly one comparison does. */
static uint32_t user_of(ll_receiver *r, ll_peer *peer, const ll_zmq_msg *part) {
    if (!r->n_keys) return 0;
    const char *key = r->zmq.msg_gets(part, "User-Id");
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

/* The connection in `id`, and whose key `part` came under. A name that comes under another key than before is another
 * connection: what is still to be said to the former one must not reach it. */
static ll_peer *sender(ll_receiver *r, const ll_zmq_msg *part, uint32_t *user) {
    const uint8_t *id = r->zmq.msg_data(&r->id);
    const size_t len = r->zmq.msg_size(&r->id);
    ll_peer *peer = ll_peers_of(&r->peers, id, len);
    const uint32_t before = peer->user;
    *user = user_of(r, peer, part);
    if (before && before != *user) {
        ll_peers_forget(&r->peers, peer);
        peer = ll_peers_of(&r->peers, id, len);
        peer->user = *user;
    }
    return peer;
}

/* One message; 0 taken, -1 nothing there or an error (errno). */
static int one(ll_receiver *r) {
    ll_zmq_msg *part = &r->held[r->n];
    if (r->zmq.msg_recv(&r->id, r->socket, DONTWAIT) < 0) return -1;
    if (!r->zmq.msg_more(&r->id)) return 0; /* a ROUTER never gives an identity alone */
    if (r->zmq.msg_recv(part, r->socket, DONTWAIT) < 0) return -1;
    if (r->zmq.msg_size(&r->id) > LL_LONGEST_ID) { /* libzmq does not look at what a peer made by hand calls itself */
        static const ll_peer nobody = {0};
        rubbish(r, &nobody, 0);
        return 0;
    }
    size_t len = r->zmq.msg_size(part);
    uint8_t delimited = 0;
    if (len == 0 && r->zmq.msg_more(part)) {
        if (r->zmq.msg_recv(part, r->socket, DONTWAIT) < 0) return -1;
        len = r->zmq.msg_size(part);
        delimited = 1;
    }
    uint32_t user;
    ll_peer *peer = sender(r, part, &user);
    if (len == 0 || r->zmq.msg_more(part)) {
        rubbish(r, peer, user);
        return 0;
    }
    peer->delimited = delimited;
    r->messages++;
    r->bytes += len;
    keep(r, peer, user, LL_FRAME, len);
    return 0;
}

/* Waits for a message or for wake_fd; 1 a message, 0 none, -1 an error (r->error). */
static int wait_for(ll_receiver *r, long wait_ms) {
    ll_zmq_item items[2] = {{r->socket, 0, POLLIN_, 0}, {NULL, r->wake_fd, POLLIN_, 0}};
    r->waits++;
    const int ready = r->zmq.poll(items, r->wake_fd >= 0 ? 2 : 1, wait_ms);
    if (ready < 0 && r->zmq.err() != EINTR) {
        r->error = r->zmq.err();
        return -1;
    }
    r->woken = ready > 0 && (items[1].revents & POLLIN_);
    return ready > 0 && (items[0].revents & POLLIN_);
}

/* Fills held[]; 0, or -1 with r->error. */
static int fill(ll_receiver *r, long wait_ms, long gather_us) {
    int waited = wait_ms == 0, gathered = gather_us <= 0;
    while (r->n < r->cap && r->used < r->limit) {
        if (!one(r)) continue;
        const int e = r->zmq.err();
        if (e == EINTR) continue;
        if (e != EAGAIN) {
            r->error = e;
            return -1;
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
        const int there = wait_for(r, wait_ms);
        if (there <= 0) return there;
    }
    return 0;
}

static long drain(ll_receiver *r, long wait_ms, long gather_us) {
    const long had = r->n;
    let_go(r);
    r->error = 0;
    r->woken = 0;
    const int failed = fill(r, wait_ms, had < LL_WORTH ? gather_us : 2 * gather_us);
    sort(r);
    return failed && !r->n ? LL_IO : r->n; /* what was taken is not thrown away; the next call meets the error again */
}

static void forget_users(ll_receiver *r) { ll_peers_forget_users(&r->peers); }

static int identity(const ll_receiver *r, uint32_t number, uint8_t out[256], int *delimited) {
    const ll_peer *p = ll_peers_at(&r->peers, number);
    if (!p) return LL_RANGE;
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
        const ll_peer *p = ll_peers_at(&r->peers, numbers[k]);
        status[k] = LL_GONE;
        if (!p) continue;
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
