/* A device in C without libzmq: samples every second (or as fast as it may), packed frames, resending after a lost connection.
 *
 *     cc -std=c99 -Iinclude examples/device.c -o device && ./device 127.0.0.1 5550 60 1000
 *
 * host, port, how many frames, milliseconds between them. It ends when all of them are acknowledged, and says so. What a
 * microcontroller replaces: `now_ms`, `utc_ns`, `sample`, and the five socket calls of `Line`. All memory is static. */
#define _POSIX_C_SOURCE 200112L
#include <arpa/inet.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

#include "llf1_zmtp.h"

enum { DEVICE = 17, CHANNELS = 2, RATE = 200, DEPTH = 32, RESEND_MS = 5000, FRAME = LLF1_HEADER + CHANNELS * LLF1_PACKED_ROOM(RATE) };

/* ---- the board ---- */

static int64_t clock_ns(clockid_t which) {
    struct timespec now;
    clock_gettime(which, &now);
    return (int64_t)now.tv_sec * 1000000000 + now.tv_nsec;
}
static int64_t now_ms(void) { return clock_ns(CLOCK_MONOTONIC) / 1000000; }
static int64_t utc_ns(void) { return clock_ns(CLOCK_REALTIME); }

/* A triangle of 2 Hz with a little noise, without floating point. */
static void sample(int32_t x[CHANNELS][RATE]) {
    static uint32_t noise = 1;
    for (int c = 0; c < CHANNELS; c++)
        for (int i = 0; i < RATE; i++) {
            int32_t phase = (i + 25 * c) % 100;
            noise = noise * 1664525u + 1013904223u;
            x[c][i] = 200 * (phase < 50 ? phase : 100 - phase) + (int32_t)(noise >> 28);
        }
}

/* ---- what is kept until it is acknowledged ---- */

static uint8_t kept[DEPTH][FRAME]; /* frame number seq lies at seq % DEPTH */
static size_t lengths[DEPTH];
static uint64_t made, sent, acked; /* next seq to be made, to be sent, to be acknowledged: acked <= sent <= made */
static uint64_t taken;             /* samples since the epoch began, kept or not */
static int64_t credit = 1 << 20, refusals;
static uint32_t epoch;

static void make_frame(void) {
    static int32_t x[CHANNELS][RATE];
    static int64_t begin_ns;
    if (!begin_ns) begin_ns = utc_ns();
    sample(x);
    llf1_frame f = {.encoding = LLF1_PACKED, .flags = LLF1_LOCKED, .device = DEVICE, .n_channels = CHANNELS, .epoch = epoch,
                    .seq = made, .sample_index = taken, .t0_ns = begin_ns + (int64_t)(taken / RATE) * 1000000000, .rate_num = RATE,
                    .rate_den = 1, .n_samples = RATE};
    if (made == 0) f.flags |= LLF1_FIRST;
    lengths[made % DEPTH] = llf1_pack(&f, x, kept[made % DEPTH], FRAME);
    made++, taken += RATE;
}

static int64_t flying(void) {
    int64_t bytes = 0;
    for (uint64_t k = acked; k < sent; k++) bytes += (int64_t)lengths[k % DEPTH];
    return bytes;
}

static void hear(const uint8_t *body, size_t n) {
    llf1_said said;
    if (!llf1_reply(body, n, &said)) return;
    if (said.credit >= 0) credit = said.credit;
    if (said.device != DEVICE || said.epoch != epoch) return;
    if (said.refused[0]) {
        refusals++; /* counts as acknowledged: the same bytes would be refused again */
        fprintf(stderr, "refused: %s, seq %lld\n", said.refused, (long long)said.seq);
        if ((uint64_t)said.seq == acked && acked < sent) acked++;
    } else if (said.ack >= 0 && (uint64_t)said.ack < made && (uint64_t)said.ack + 1 > acked) {
        acked = (uint64_t)said.ack + 1;
        if (sent < acked) sent = acked;
    }
}

/* ---- the line ---- */

typedef struct {
    int fd; /* -1: none */
    llf1_zmtp zmtp;
} Line;

static void hang_up(Line *line) {
    if (line->fd >= 0) close(line->fd);
    line->fd = -1;
    sent = acked; /* what was under way is gone: from ack+1 on, and before anything newer */
}

static int put(Line *line, const uint8_t *bytes, size_t n) {
    while (n) {
        ssize_t some = send(line->fd, bytes, n, 0);
        if (some <= 0) return 0;
        bytes += some, n -= (size_t)some;
    }
    return 1;
}

static int call(Line *line, const char *host, int port) {
    uint8_t hello[LLF1_ZMTP_HELLO];
    struct sockaddr_in to = {.sin_family = AF_INET, .sin_port = htons((uint16_t)port)};
    struct timeval patience = {5, 0};
    inet_pton(AF_INET, host, &to.sin_addr);
    line->fd = socket(AF_INET, SOCK_STREAM, 0);
    line->zmtp = (llf1_zmtp){0};
    setsockopt(line->fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof patience);
    return !connect(line->fd, (struct sockaddr *)&to, sizeof to) && put(line, hello, llf1_zmtp_hello(NULL, 0, hello));
}

/* What came; 0 when the line is dead. */
static int listen_to(Line *line) {
    static uint8_t came[1024], body[512];
    ssize_t n = recv(line->fd, came, sizeof came, MSG_DONTWAIT);
    if (n < 0 && (errno == EAGAIN || errno == EWOULDBLOCK)) return 1;
    if (n <= 0) return 0;
    const uint8_t *p = came;
    size_t left = (size_t)n;
    for (int event; (event = llf1_zmtp_take(&line->zmtp, &p, &left, body, sizeof body)) != LLF1_ZMTP_NOTHING;) {
        if (event == LLF1_ZMTP_BAD) return 0;
        if (event == LLF1_ZMTP_MESSAGE) hear(body, line->zmtp.len);
        if (event == LLF1_ZMTP_ANSWER && !put(line, body, line->zmtp.len)) return 0;
    }
    return 1;
}

static int send_next(Line *line) {
    uint8_t front[9];
    size_t n = lengths[sent % DEPTH];
    if (!put(line, front, llf1_zmtp_head(n, front)) || !put(line, kept[sent % DEPTH], n)) return 0;
    sent++;
    return 1;
}

int main(int argc, char **argv) {
    if (argc < 5) return fprintf(stderr, "device HOST PORT FRAMES MILLISECONDS\n"), 2;
    uint64_t wanted = strtoull(argv[3], NULL, 10), dropped = 0, before = 0;
    int64_t every = atoi(argv[4]), next = now_ms(), progress = next, retry = 0;
    Line line = {.fd = -1};
    signal(SIGPIPE, SIG_IGN);
    epoch = (uint32_t)(utc_ns() / 1000000000); /* another one at every boot */
    while (acked < wanted) {
        int64_t now = now_ms();
        if (made < wanted && now >= next && made - acked < DEPTH) make_frame(), next += every;
        else if (made < wanted && now >= next && every) dropped++, taken += RATE, next += every; /* no room: a gap, and no hole in seq */
        if (line.fd < 0 && now >= retry && !call(&line, argv[1], atoi(argv[2]))) hang_up(&line), retry = now + 200;
        if (line.fd >= 0) {
            int sound = listen_to(&line);
            while (sound && line.zmtp.ready && sent < made && (sent == acked || flying() + (int64_t)lengths[sent % DEPTH] <= credit))
                sound = send_next(&line);
            if (acked != before || sent == acked) before = acked, progress = now;
            if (!sound || now - progress > RESEND_MS) hang_up(&line), progress = now, retry = now + 200;
        }
        struct pollfd wait = {line.fd, POLLIN, 0};
        int64_t idle = next > now ? next - now : 0;
        if (made == wanted || made - acked == DEPTH || line.fd < 0 || idle > 20) idle = 20;
        poll(&wait, 1, (int)idle);
    }
    printf("acked %llu refused %lld dropped %llu\n", (unsigned long long)acked, (long long)refusals, (unsigned long long)dropped);
    if (line.fd >= 0) close(line.fd);
    return refusals != 0;
}
