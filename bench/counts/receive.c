/* 1,024 messages of 200 bytes from 16 peers, and a reply to each; the socket is an array here, so that only our own work counts. */
#include "receive.h"

#include <errno.h>

#include "count.h"

enum { N = 1024, LENGTH = 200, PEERS = 16 };

typedef struct {
    const void *data;
    size_t len;
    int more;
} stand_in; /* what libzmq keeps in its 64 bytes */

static uint8_t payload[LENGTH], names[PEERS][5], sent[256];
static long parts;   /* of the messages that came so far: identity, payload, identity ... */
static long replies; /* parts that went out */

static stand_in *of(const ll_zmq_msg *m) { return (stand_in *)(void *)(uintptr_t)m->opaque; }
static int init(ll_zmq_msg *m) { return memset(m, 0, sizeof *m), 0; }
static int init_size(ll_zmq_msg *m, size_t n) { return *of(m) = (stand_in){sent, n, 0}, 0; }
static void *data(ll_zmq_msg *m) { return (void *)(uintptr_t)of(m)->data; }
static size_t size(const ll_zmq_msg *m) { return of(m)->len; }
static int more(const ll_zmq_msg *m) { return of(m)->more; }
static int shut(ll_zmq_msg *m) { return init(m); }
static const char *gets_(const ll_zmq_msg *m, const char *property) { return (void)m, (void)property, NULL; }
static int err(void) { return EAGAIN; }
static int poll_(ll_zmq_item *items, int n, long ms) { return (void)items, (void)n, (void)ms, 0; }
static int send_(ll_zmq_msg *m, void *socket, int flags) { return (void)socket, (void)flags, replies++, (int)of(m)->len; }
static int recv_(ll_zmq_msg *m, void *socket, int flags) {
    (void)socket, (void)flags;
    if (parts == 2 * N) return -1;
    *of(m) = parts % 2 ? (stand_in){payload, LENGTH, 0} : (stand_in){names[parts / 2 % PEERS], sizeof *names, 1};
    parts++;
    return (int)of(m)->len;
}

void count_receive(void) {
    const ll_receive_api *k = ll_receive();
    memcpy(payload, "LLF1", 4);
    for (int i = 0; i < PEERS; i++) names[i][4] = (uint8_t)i;
    ll_receiver *r = count_memory(sizeof *r);
    r->zmq = (ll_zmq){init, init_size, recv_, send_, data, size, more, shut, gets_, poll_, err};
    r->wake_fd = -1, r->cap = N, r->limit = (size_t)N * LENGTH, r->heads = count_memory(N * LL_HEAD);
    r->lengths = count_memory(N * sizeof *r->lengths);
    r->sources = count_memory(N * sizeof *r->sources), r->users = count_memory(N * sizeof *r->users), r->kinds = count_memory(N);
    COUNT_IS(!k->open(r, 64, 1));

    count_begin();
    long n = k->drain(r, 0, 0);
    count_end("receive.drain");
    COUNT_IS(n == N && r->used == (size_t)N * LENGTH && r->kinds[N - 1] == LL_FRAME);

    uint8_t *status = count_memory(N);
    int64_t *offsets = count_memory(N * sizeof *offsets);
    count_begin();
    int rc = k->reply(r, r->sources, payload, offsets, r->lengths, N, status);
    count_end("receive.reply");
    COUNT_IS(!rc && replies == 2 * N && status[N - 1] == LL_SENT);
    k->close(r);
    free(r->heads), free(r->lengths), free(r->sources), free(r->users), free(r->kinds), free(offsets), free(status), free(r);
}
