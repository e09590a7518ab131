/* ZMTP 3.0 for a device without libzmq: one DEALER, mechanism NULL, over any stream of bytes. C99, no allocation, no input or output.
 *
 *     llf1_zmtp z = {0};
 *     send(out, llf1_zmtp_hello(NULL, 0, out))               // first of all; `out` of LLF1_ZMTP_HELLO bytes
 *     ... bytes p[0 .. n) came: while ((event = llf1_zmtp_take(&z, &p, &n, body, sizeof body)) != LLF1_ZMTP_NOTHING) ...
 *     LLF1_ZMTP_READY    the handshake is done: frames may go, each as llf1_zmtp_head(len, head) bytes and then itself
 *     LLF1_ZMTP_MESSAGE  body[0 .. z.len) is what the service says: see llf1_reply
 *     LLF1_ZMTP_ANSWER   body[0 .. z.len) has to be sent as it is (the answer to a heartbeat), between frames
 *     LLF1_ZMTP_BAD      the other end speaks otherwise, or refuses: close, and begin anew with z = {0}
 *
 * `body` of 512 bytes is enough: what is longer is passed over as LLF1_ZMTP_NOTHING, never cut. */
#ifndef LLF1_ZMTP_H
#define LLF1_ZMTP_H

#include "llf1.h"

enum { LLF1_ZMTP_NOTHING, LLF1_ZMTP_READY, LLF1_ZMTP_MESSAGE, LLF1_ZMTP_ANSWER, LLF1_ZMTP_BAD };
enum { LLF1_ZMTP_GREETING = 64, LLF1_ZMTP_HELLO = 64 + 30 + 13 + 200, LLF1_ZMTP_MORE = 1, LLF1_ZMTP_LONG = 2, LLF1_ZMTP_COMMAND = 4 };

typedef struct {
    uint64_t left;    /* bytes of the body still to come */
    size_t len;       /* bytes of it in `body` */
    uint8_t head[9];  /* flags and size, as far as they came */
    uint8_t n_head, greeted, in_body, ready, too_long;
} llf1_zmtp;

/* Greeting and READY, with an identity of at most 200 bytes (the same at every connection) or none; the length, 0: too long. */
static inline size_t llf1_zmtp_hello(const char *identity, uint8_t n_identity, uint8_t *out) {
    static const uint8_t ready[] = "\4\34\5READY\13Socket-Type\0\0\0\6DEALER";
    uint8_t *to = out + LLF1_ZMTP_GREETING;
    if (n_identity > 200) return 0;
    memset(out, 0, LLF1_ZMTP_GREETING);
    out[0] = 0xff, out[9] = 0x7f, out[10] = 3;
    memcpy(out + 12, "NULL", 4);
    memcpy(to, ready, sizeof ready - 1);
    if (!n_identity) return LLF1_ZMTP_GREETING + sizeof ready - 1;
    to[1] = (uint8_t)(to[1] + 13 + n_identity);
    to += sizeof ready - 1;
    memcpy(to, "\10Identity\0\0\0", 12);
    to[12] = n_identity;
    memcpy(to + 13, identity, n_identity);
    return LLF1_ZMTP_GREETING + sizeof ready - 1 + 13 + n_identity;
}

/* What goes before a frame of n bytes; its length (2 or 9). */
static inline size_t llf1_zmtp_head(uint64_t n, uint8_t *head) {
    if (n < 256) {
        head[0] = 0, head[1] = (uint8_t)n;
        return 2;
    }
    head[0] = LLF1_ZMTP_LONG;
    for (int i = 0; i < 8; i++) head[1 + i] = (uint8_t)(n >> (56 - 8 * i));
    return 9;
}

/* A whole command or message is in body[0 .. len). */
static inline int llf1_zmtp_whole(llf1_zmtp *z, uint8_t *body) {
    int command = z->head[0] & LLF1_ZMTP_COMMAND;
    z->n_head = z->in_body = 0;
    if (z->too_long) return LLF1_ZMTP_NOTHING;
    if (!command) return z->ready ? z->head[0] & LLF1_ZMTP_MORE ? LLF1_ZMTP_NOTHING : LLF1_ZMTP_MESSAGE : LLF1_ZMTP_BAD;
    if (z->len >= 6 && !memcmp(body, "\5READY", 6)) {
        z->ready = 1;
        return LLF1_ZMTP_READY;
    }
    if (z->len >= 6 && !memcmp(body, "\5ERROR", 6)) return LLF1_ZMTP_BAD;
    if (z->len < 7 || z->len > 7 + 16 || memcmp(body, "\4PING", 5)) return LLF1_ZMTP_NOTHING;
    memcpy(body + 2, "\4PONG", 5); /* over the name and the time to live; the context behind them goes back as it came */
    body[0] = LLF1_ZMTP_COMMAND, body[1] = (uint8_t)(z->len - 2);
    return LLF1_ZMTP_ANSWER;
}

/* Takes bytes from *p until something is whole or none is left. */
static inline int llf1_zmtp_take(llf1_zmtp *z, const uint8_t **p, size_t *n, uint8_t *body, size_t room) {
    for (; *n; ) {
        if (!z->in_body) {
            uint8_t b = *(*p)++;
            --*n;
            if (z->greeted < LLF1_ZMTP_GREETING) {
                static const char mechanism[20] = "NULL";
                uint8_t at = z->greeted++;
                if ((at == 0 && b != 0xff) || (at == 9 && b != 0x7f) || (at == 10 && b < 3)) return LLF1_ZMTP_BAD;
                if (at >= 12 && at < 32 && b != (uint8_t)mechanism[at - 12]) return LLF1_ZMTP_BAD;
                continue;
            }
            z->head[z->n_head++] = b;
            int wide = z->head[0] & LLF1_ZMTP_LONG;
            if (z->head[0] > 7) return LLF1_ZMTP_BAD;
            if (z->n_head < (wide ? 9 : 2)) continue;
            for (z->left = 0, b = 1; b < z->n_head; b++) z->left = z->left << 8 | z->head[b];
            z->in_body = 1, z->len = 0, z->too_long = z->left > room;
        } else {
            size_t some = *n < z->left ? *n : (size_t)z->left;
            if (!z->too_long) memcpy(body + z->len, *p, some), z->len += some;
            *p += some, *n -= some, z->left -= some;
        }
        if (z->in_body && !z->left) {
            int event = llf1_zmtp_whole(z, body);
            if (event) return event;
        }
    }
    return LLF1_ZMTP_NOTHING;
}

#endif
