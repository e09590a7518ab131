/* Mutated frames into the decoder and the assembler, at full speed: what the parts of this driver know of each other.
 *
 * The kernels are compiled as they are, under ASan and UBSan, and every frame lies in heap memory of its own length. Beside
 * what the sanitizers see, each frame is judged a second time by a plain reading of the format (naive.c), and what the decoder
 * and the assembler promise is asked after each one. Everything follows from the seed and the number of an episode. */
#ifndef FUZZ_H
#define FUZZ_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "assemble.h"
#include "llf1.h"
#include "wire.h"

enum { HEADER = 64, LARGEST = 1 << 18 /* bytes of one input */ };

/* ---- chance ---- */

typedef struct {
    uint64_t state;
} chance;

uint64_t draw(chance *c);                       /* splitmix64: any 64 bits */
static inline uint64_t below(chance *c, uint64_t n) { return draw(c) % n; }
static inline int one_in(chance *c, uint64_t n) { return below(c, n) == 0; }

/* ---- promises ---- */

extern const char *stage; /* what was being done when a promise broke */
void broken(const char *file, int line, const char *promise) __attribute__((noreturn));
#define PROMISE(x) ((x) ? (void)0 : broken(__FILE__, __LINE__, #x))

/* Bytes that the product holds and held at most, the largest it asked for at once, how often: memory.c counts every malloc. */
typedef struct {
    int64_t held, most_held, largest, calls;
} memory;
extern memory allocated;

/* ---- one frame ---- */

typedef struct {
    size_t len;
    uint8_t bytes[LARGEST];
} input;

typedef struct {
    uint64_t n, offsets[512], lengths[512];
    uint8_t *bytes;
} pool; /* sound frames of every kind, from a file */

/* A header as the table of the format says it. */
typedef struct {
    uint64_t header_len, type, encoding, flags, device, channel, n_channels, epoch, clock_sd_us, seq, index, t0, num, den, n, crc;
    const uint8_t *payload;
    uint64_t payload_len;
} told;

uint32_t naive_crc(const uint8_t *bytes, size_t len);
int naive_judgement(const uint8_t *bytes, size_t len, told *t); /* 0, or one of LL_REFUSED_... */
/* Sample i of row r as a number; of packed rows naive_unpack first makes counts. */
double naive_value(const told *t, uint64_t r, uint64_t i);
int64_t naive_time(const told *t, uint64_t r, uint64_t i);
void naive_unpack(const told *t, int32_t *out);

void seal(uint8_t *bytes, size_t len); /* the CRC it should have */
uint64_t field_of(const uint8_t *bytes, int at, int width);

void mutate(chance *c, input *in, const input *other);

/* ---- devices that send sound frames ---- */

enum { SETS = 8 };
typedef struct {
    uint32_t device, num, den;
    uint16_t channel, n_channels;
    uint64_t seq, index;
    int64_t t0;
    uint32_t epoch;
    uint8_t timed, brief; /* brief: frames so short that very many are less than what a hole is waited for */
    uint32_t wrong; /* so many frames at a rate that is refused */
    input late;     /* len 0: none is held back */
} sender;

void senders_begin(chance *c, sender *s);
void boot(chance *c, sender *s);
void next_frame(chance *c, sender *s, input *out);
void still_frame(sender *s, uint32_t n, input *out); /* n samples a channel that do not change, packed */

/* ---- what is done with a frame ---- */

typedef struct {
    uint64_t fed, accepted, refused[LL_REFUSED_COUNT], compared, values, captures; /* decoder */
    uint64_t records, turned_away, samples, pieces, rows, breaks, assemblers; /* assembler */
    uint64_t room, states, states_refused, segments, records_read, replies;
} tally;
extern tally count;

void examine(chance *c, const uint8_t *bytes, size_t len);
void examine_capture(chance *c, const input *a, const input *b);
void examine_reply(chance *c, const input *in);
void examine_segment(chance *c, const input *a, const input *b);

typedef struct {
    ll_assembler *a;
    int kind;
} city;

ll_assembler *assembler(int kind);
void sound_stream(const ll_stream *s);
void take_all(city *t); /* what all joins have to read */
void change_over(city *t);
void damaged(chance *c, city *t);
void city_begin(chance *c, city *t);
void city_feed(chance *c, city *t, const uint8_t *bytes, size_t len);
void city_flood(chance *c, city *t);
void city_turn(chance *c, city *t); /* now and then: blocks taken, ticks, splits, states */
void city_end(chance *c, city *t);

#endif
