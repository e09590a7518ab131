/* Messages of a ROUTER socket, held where libzmq put them, without the GIL.
 *
 * The pip wheel of pyzmq carries libzmq without its header and under a hashed name, so nothing is linked: the few
 * functions come in as addresses, and zmq_msg_t is what its header promises for ever, 64 aligned bytes.
 *
 * One drain:
 *
 *     socket  [identity][payload] ...            cases: [id][payload]      a device (DEALER)
 *        |                                              [id][][payload]    a device that uses REQ: replies get the empty part too
 *        v                                              anything else      rubbish: the first bytes are kept for the dead letters
 *     held    message message message ...      given back to libzmq at the next drain; nothing is copied but
 *     heads   the first LL_HEAD bytes of each, zeros behind a shorter one
 *     at[k], lengths[k], sources[k] (connection number), users[k], kinds[k]
 *
 * A connection number (peers.h) stands for an identity, and under CURVE for an identity and a key.
 *
 * A user is the owner of a CURVE key: its place, from 1, in the sorted list of keys; 0: no key, or none of the list. It
 * is asked of every message, because an identity is chosen by whoever connects and says nothing of the key. */
#ifndef LL_RECEIVE_H
#define LL_RECEIVE_H

#include <stddef.h>
#include <stdint.h>

#include "isa.h"
#include "peers.h"
#include "pieces.h"
#include "status.h"

typedef struct {
    _Alignas(8) unsigned char opaque[64];
} ll_zmq_msg;

/* zmq_pollitem_t of every platform but Windows. */
typedef struct {
    void *socket;
    int fd;
    short events, revents;
} ll_zmq_item;

typedef struct {
    int (*msg_init)(ll_zmq_msg *);
    int (*msg_init_size)(ll_zmq_msg *, size_t);
    int (*msg_recv)(ll_zmq_msg *, void *, int);
    int (*msg_send)(ll_zmq_msg *, void *, int);
    void *(*msg_data)(ll_zmq_msg *);
    size_t (*msg_size)(const ll_zmq_msg *);
    int (*msg_more)(const ll_zmq_msg *);
    int (*msg_close)(ll_zmq_msg *);
    const char *(*msg_gets)(const ll_zmq_msg *, const char *);
    int (*poll)(ll_zmq_item *, int, long);
    int (*err)(void);
} ll_zmq;

/* What a message is; FRAME and GATEWAY are the journal's numbers. */
enum { LL_RUBBISH = 0, LL_FRAME = 1, LL_GATEWAY = 4 };

/* What became of a reply. */
enum { LL_SENT = 0, LL_AGAIN = 1, LL_GONE = 2 };

enum { LL_RUBBISH_KEPT = 4096, LL_HEAD = 16 };

enum { LL_WORTH = 32 }; /* messages of a drain that make the next one gather for twice as long */

enum { LL_KEY = 41 }; /* of Z85, and its end */

typedef struct {
    ll_zmq zmq;
    void *socket;
    int wake_fd; /* readable: somebody has something for this thread; -1: none */

    ll_zmq_msg *held;   /* cap messages, of which n hold the payloads of this drain */
    const uint8_t **at; /* where these lie */
    uint8_t *heads;
    int64_t *lengths;
    uint32_t *sources, *users;
    uint8_t *kinds;
    long cap, n;
    size_t limit, used; /* bytes: a drain ends with the message that reaches the limit */
    int plain;          /* every message of this drain is an LL_FRAME */

    const char *keys; /* n_keys strings of LL_KEY bytes, in rising order */
    uint32_t n_keys;

    ll_peers peers;
    ll_zmq_msg id; /* reused: recv closes what a message held before */
    int woken;     /* the last drain found wake_fd readable */

    uint64_t messages, bytes, rubbish, waits;
    int error; /* errno of the call that ended a drain */
} ll_receiver;

typedef struct {
    /* `peers` is a power of two. The arrays stay the caller's, but for `held` and `at`. LL_NOMEM, LL_RANGE. */
    int (*open)(ll_receiver *r, uint32_t peers, uint32_t first_number);
    void (*close)(ll_receiver *r);
    /* Gives back what the last drain held, and drains until cap messages, `limit` bytes, or the queue was found empty twice with
     * gather_us between (once if it is 0), twice that where the last drain gave LL_WORTH. With nothing there it waits up to wait_ms
     * for a message or for wake_fd.
     * The count, or LL_IO (r->error: ETERM ...). */
    long (*drain)(ll_receiver *r, long wait_ms, long gather_us);
    /* Sends body k to connection numbers[k]; status[k] is LL_SENT, LL_AGAIN (its queue is full) or LL_GONE. LL_IO as above. */
    int (*reply)(ll_receiver *r, const uint32_t *numbers, const uint8_t *bodies, const int64_t *offsets,
                 const int64_t *lengths, long n, uint8_t *status);
    /* The list of keys is another one: whose message came last is asked again. */
    void (*forget_users)(ll_receiver *r);
    /* The identity behind a number; its length, or LL_RANGE when the number means nobody. */
    int (*identity)(const ll_receiver *r, uint32_t number, uint8_t out[256], int *delimited);
} ll_receive_api;

LL_API(receive)

#endif
