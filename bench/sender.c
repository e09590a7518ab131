/* A gateway as fast as C can be: makes sound LLF1 frames of many devices, then sends them over DEALER or PUSH sockets.
 *
 *   frame k of all   device k mod D, second k div D:  seq = second, sample_index = rate * second, t0 = t0 + second
 *   payload          second (k div D + 11 * device) mod S of a pool of S seconds; of a second pool where plant[k] is set
 *   socket           k mod N
 *
 * Making (counts, CRC-32C) is done before the clock starts, so that both receivers are sent the same bytes at the same
 * cost. Sending copies nothing: the messages point at the frames, which stay until they have all arrived.
 *
 * Acknowledgements are read every 64 frames of a connection, or when its credit is spent, and then waited for:
 *
 *   sent    |==========================>|
 *   acked   |=============>|            |      (sent - acked) * length <= credit
 *
 * The pyzmq wheel has no zmq.h: functions come in as addresses, zmq_msg_t is 64 aligned bytes. */
#include <errno.h>
#include <time.h>

#include "llf1.h"

enum { DONTWAIT = 1, POLLIN_ = 1, READ_EVERY = 64, PATIENCE_MS = 30000, DEVICES = 4096 };

typedef struct {
    _Alignas(8) unsigned char opaque[64];
} zmq_msg;

typedef struct {
    void *socket;
    int fd;
    short events, revents;
} zmq_item;

typedef struct {
    int (*msg_init_data)(zmq_msg *, void *, size_t, void (*)(void *, void *), void *);
    int (*msg_send)(zmq_msg *, void *, int);
    int (*recv)(void *, void *, size_t, int);
    int (*poll)(zmq_item *, int, long);
    int (*err)(void);
} zmq_calls;

/* What is sent. `next` counts frames over the whole life of the streams. */
typedef struct {
    uint32_t devices, first_device, channels, rate, encoding, epoch;
    int64_t t0_ns;
    uint64_t next;
} fleet;

/* How one run went; times are CLOCK_MONOTONIC, which is one clock for all processes. */
typedef struct {
    int64_t first_ns, last_ns, acked_ns; /* first frame handed over, last one, last acknowledgement in */
    int64_t acks, refused, waits;        /* replies of each kind; times a connection's credit was spent */
} outcome;

typedef struct {
    int64_t sent, acked, credit; /* frames, frames, bytes */
} connection;

static int64_t now_ns(void) {
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (int64_t)t.tv_sec * 1000000000 + t.tv_nsec;
}

/* n frames, `stride` bytes each, back to back; the length of one, or 0 where stride is not what llf1_pack makes. */
size_t make_frames(fleet *s, const void *pool, const void *planted, long seconds, const uint8_t *plant, uint8_t *out, size_t stride,
                   long n) {
    const size_t width = s->encoding == LLF1_INT16 ? 2 : s->encoding == LLF1_FLOAT64 ? 8 : 4;
    const size_t second_bytes = width * s->channels * s->rate;
    for (long k = 0; k < n; k++, s->next++) {
        const uint64_t device = s->next % s->devices, second = s->next / s->devices;
        const llf1_frame f = {
            .encoding = (uint8_t)s->encoding,
            .flags = LLF1_LOCKED,
            .n_channels = (uint16_t)s->channels,
            .device = s->first_device + (uint32_t)device,
            .epoch = s->epoch,
            .seq = second,
            .sample_index = second * s->rate,
            .t0_ns = s->t0_ns + (int64_t)second * 1000000000,
            .rate_num = s->rate,
            .rate_den = 1,
            .n_samples = s->rate,
        };
        const uint8_t *from = plant[k] ? planted : pool;
        from += second_bytes * ((second + 11 * device) % (uint64_t)seconds);
        if (llf1_pack(&f, from, out + stride * (size_t)k, stride) != stride) return 0;
    }
    return stride;
}

/* A msgpack unsigned integer; -1 (and the rest of the message is given up) for anything else. */
static int64_t number(const uint8_t **p, const uint8_t *end) {
    if (*p >= end) return -1;
    const uint8_t first = *(*p)++;
    if (first < 0x80) return first;
    if (first < 0xcc || first > 0xcf || end - *p < 1 << (first - 0xcc)) return -1;
    uint64_t v = 0;
    for (int i = 0; i < 1 << (first - 0xcc); i++) v = v << 8 | *(*p)++;
    return (int64_t)v;
}

/* One reply of the service: a small map. */
static void hear(const uint8_t *p, long n, const fleet *s, int64_t *next_of, connection *c, outcome *o) {
    const uint8_t *end = p + n;
    int64_t ack = -1, device = -1;
    if (n < 1 || (*p & 0xf0) != 0x80) return;
    for (int pairs = *p++ & 15; pairs; pairs--) {
        if (p >= end || (*p & 0xe0) != 0xa0 || end - p < 1 + (*p & 31)) return;
        const size_t len = *p++ & 31;
        const char *key = (const char *)p;
        p += len;
        if (len == 7 && !memcmp(key, "refused", 7)) {
            o->refused++;
            return;
        }
        const int64_t value = number(&p, end);
        if (value < 0) return;
        if (len == 3 && !memcmp(key, "ack", 3)) ack = value;
        if (len == 6 && !memcmp(key, "device", 6)) device = value - s->first_device;
        if (len == 6 && !memcmp(key, "credit", 6)) c->credit = value;
    }
    if (ack < 0 || device < 0 || device >= s->devices) return;
    o->acks++;
    if (ack + 1 > next_of[device]) {
        c->acked += ack + 1 - next_of[device];
        next_of[device] = ack + 1;
    }
}

/* Every reply that is there. */
static void read_acks(const zmq_calls *z, void *socket, const fleet *s, int64_t *next_of, connection *c, outcome *o) {
    uint8_t body[512];
    for (;;) {
        const int n = z->recv(socket, body, sizeof body, DONTWAIT);
        if (n < 0) return;
        hear(body, n < (int)sizeof body ? n : (int)sizeof body, s, next_of, c, o);
    }
}

/* Until no more than `most` frames of a connection are unacknowledged; 0, or minus an errno. */
static int wait_acks(const zmq_calls *z, void *socket, const fleet *s, int64_t *next_of, connection *c, outcome *o, int64_t most) {
    for (;;) {
        read_acks(z, socket, s, next_of, c, o);
        if (c->sent - c->acked <= most) return 0;
        zmq_item item = {.socket = socket, .events = POLLIN_};
        o->waits++;
        if (z->poll(&item, 1, PATIENCE_MS) == 0) return -ETIMEDOUT;
    }
}

static void sleep_until(int64_t due_ns) {
    const struct timespec t = {due_ns / 1000000000, due_ns % 1000000000};
    if (due_ns - now_ns() > 50000) clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &t, NULL);
}

/* Sends n frames; `acks` 0 for sockets that hear nothing. `rate` frames per second, 0 as fast as it goes. `next_of[device]`
 * is the next seq not yet acknowledged and `sent_ns` (or NULL) takes the time of each frame. 0, or minus an errno. */
int send_frames(const zmq_calls *z, void **sockets, long n_sockets, const fleet *s, uint8_t *frames, size_t stride, long n,
                int acks, int64_t credit, double rate, int64_t *next_of, int64_t *sent_ns, outcome *o) {
    static connection connections[DEVICES];
    if (n_sockets > DEVICES || s->devices > DEVICES) return -EINVAL;
    for (long i = 0; i < n_sockets; i++) connections[i] = (connection){0, 0, credit};
    memset(o, 0, sizeof *o);
    o->first_ns = now_ns();
    for (long k = 0; k < n; k++) {
        connection *c = &connections[k % n_sockets];
        void *socket = sockets[k % n_sockets];
        if (acks) {
            const int64_t room = c->credit / (int64_t)stride;
            if (c->sent % READ_EVERY == 0 && c->sent) read_acks(z, socket, s, next_of, c, o);
            if (c->sent - c->acked >= room) {
                const int status = wait_acks(z, socket, s, next_of, c, o, room > 1 ? room - 1 : 0);
                if (status) return status;
            }
        }
        if (rate > 0) sleep_until(o->first_ns + (int64_t)((double)k * 1e9 / rate));
        if (sent_ns) sent_ns[k] = now_ns();
        zmq_msg m;
        z->msg_init_data(&m, frames + stride * (size_t)k, stride, NULL, NULL);
        if (z->msg_send(&m, socket, 0) < 0) return -z->err();
        c->sent++;
    }
    o->last_ns = now_ns();
    for (long i = 0; acks && i < n_sockets; i++) {
        const int status = wait_acks(z, sockets[i], s, next_of, &connections[i], o, 0);
        if (status) return status;
    }
    o->acked_ns = now_ns();
    return 0;
}
