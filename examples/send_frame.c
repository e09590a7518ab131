/* One LLF1 frame from C: two channels of int16 at 200 Hz for one second, sent over a DEALER socket; prints the answer.
 *
 *     cc -std=c11 -Iinclude examples/send_frame.c -lzmq -lm -o send_frame && ./send_frame tcp://127.0.0.1:5550
 *     cc -std=c11 -Iinclude -DNO_ZMQ examples/send_frame.c -lm -o send_frame && ./send_frame > one.llf
 *
 * The answer is a msgpack map: {"ack": seq, "device": d, "channel": c, "epoch": e, "credit": bytes}. */
#define _POSIX_C_SOURCE 199309L
#include <math.h>
#include <stdio.h>
#include <time.h>

#include "llf1.h"

enum { CHANNELS = 2, RATE = 200 };

/* What the sensor would give: 7 Hz and 11 Hz, in counts. */
static void sample(int16_t x[CHANNELS][RATE]) {
    for (int c = 0; c < CHANNELS; c++)
        for (int i = 0; i < RATE; i++) x[c][i] = (int16_t)lround(1000.0 * sin(6.283185307179586 * (7 + 4 * c) * i / RATE));
}

static int64_t utc_ns(void) {
    struct timespec now;
    clock_gettime(CLOCK_REALTIME, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}

static size_t build(uint8_t *out, size_t room) {
    static int16_t x[CHANNELS][RATE];
    sample(x);
    llf1_frame frame = {
        .encoding = LLF1_INT16,
        .flags = LLF1_LOCKED | LLF1_FIRST,
        .device = 17,
        .channel = 0,
        .n_channels = CHANNELS,
        .epoch = (uint32_t)time(NULL), /* differs at every boot */
        .seq = 0,                      /* then 1, 2, 3: a number is used once, and a frame is kept until it is acknowledged */
        .sample_index = 0,             /* then 200, 400, ... */
        .t0_ns = utc_ns() - 1000000000,
        .rate_num = RATE,
        .rate_den = 1,
        .n_samples = RATE,
    };
    return llf1_pack(&frame, x, out, room);
}

#ifdef NO_ZMQ
int main(void) {
    uint8_t out[LLF1_HEADER + CHANNELS * RATE * 2];
    size_t n = build(out, sizeof out);
    return n && fwrite(out, 1, n, stdout) == n ? 0 : 1;
}
#else
#include <zmq.h>

int main(int argc, char **argv) {
    uint8_t out[LLF1_HEADER + CHANNELS * RATE * 2], answer[256];
    size_t n = build(out, sizeof out);
    int patience_ms = 5000, linger_ms = 1000, got = -1;
    void *context = zmq_ctx_new(), *socket = zmq_socket(context, ZMQ_DEALER);
    zmq_setsockopt(socket, ZMQ_RCVTIMEO, &patience_ms, sizeof patience_ms);
    zmq_setsockopt(socket, ZMQ_LINGER, &linger_ms, sizeof linger_ms);
    if (n && !zmq_connect(socket, argc > 1 ? argv[1] : "tcp://127.0.0.1:5550") && zmq_send(socket, out, n, 0) == (int)n)
        got = zmq_recv(socket, answer, sizeof answer, 0);
    if (got < 0) fprintf(stderr, "no answer: %s\n", zmq_strerror(zmq_errno()));
    else fwrite(answer, 1, (size_t)got < sizeof answer ? (size_t)got : sizeof answer, stdout);
    zmq_close(socket);
    zmq_ctx_term(context);
    return got < 0;
}
#endif
