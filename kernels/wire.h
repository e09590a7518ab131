/* LLF1 device frames (DESIGN 3.1): the one offset table, and samples out of them. */
#ifndef LL_WIRE_H
#define LL_WIRE_H

#include <stddef.h>
#include <stdint.h>

#include "isa.h"
#include "status.h"

typedef struct {
    uint8_t type, encoding, flags;
    uint16_t header_len, channel, n_channels;
    uint32_t device, epoch, clock_sd_us, rate_num, rate_den, n_samples, crc;
    uint64_t seq, sample_index;
    int64_t t0_ns;
    const uint8_t *payload;
    size_t payload_len;
} ll_frame;

/* Why bytes are not a frame; parse answers the negative of one of these. The names are the words of the counters. */
#define LL_REFUSALS(X)                                                                                                  \
    X(SHORT, "short")             /* fewer bytes than a header */                                                      \
    X(MAGIC, "magic")             /* not LLF1 */                                                                       \
    X(HEADER_LEN, "header-len")   /* below 64, no multiple of 8, or beyond the bytes */                                \
    X(CRC, "crc")                 /* the bytes are not what was sent */                                                \
    X(TYPE, "type")               /* unknown frame type */                                                             \
    X(ENCODING, "encoding")       /* unknown encoding */                                                               \
    X(FLAGS, "flags")             /* unknown flag bit */                                                               \
    X(RATE, "rate")               /* rate 0 or denominator 0, or a rate on a timed frame */                            \
    X(SHAPE, "shape")             /* no channels, no samples, channel number past 65535, or samples in a hello */      \
    X(LENGTH, "length")           /* payload is not what encoding, channels and samples say */                         \
    X(PACKED, "packed")           /* a packed block wider than 32 bits, padding that is not zero, or above 2^24 samples */ \
    X(TIME_ORDER, "time-order")   /* timed samples do not increase, or t0 is not the first */                          \
    X(TIME_RANGE, "time-range")   /* t0 before 1970, or time or index would overflow 63 bits within the frame */       \
    X(EXTENSION, "extension")     /* header extensions are not a msgpack map (found by Python, not by parse) */        \
    X(UNKNOWN_DEVICE, "unknown-device")   /* the rest is found by assemble */                                          \
    X(UNKNOWN_CHANNEL, "unknown-channel")                                                                               \
    X(WRONG_RATE, "wrong-rate")                                                                                         \
    X(WRONG_ENCODING, "wrong-encoding")                                                                                 \
    X(STREAM_OVERLAP, "stream-overlap")                                                                                 \
    X(TOO_LARGE, "too-large")                                                                                           \
    X(GATEWAY, "gateway")         /* a msgpack frame of a gateway that lacks a field or has a wrong one */

enum {
    LL_REFUSED_NONE = 0,
#define X(name, word) LL_REFUSED_##name,
    LL_REFUSALS(X)
#undef X
    LL_REFUSED_COUNT
};

typedef struct {
    /* Header and CRC checked; 0, or minus a refusal. `out` points into `bytes`. Order of checks: as LL_REFUSALS, but CRC
     * is checked as soon as header_len is known to fit, so that everything after it is the sender's fault, not the line's. */
    int (*parse)(const uint8_t *bytes, size_t len, ll_frame *out);
    /* Row `row` of a regular frame (encodings 1-5) as n_samples floats: (float)(scale * count + offset), in double. */
    int (*row)(const ll_frame *f, uint32_t row, double scale, double offset, float *out);
    /* Row `row` of a timed frame (encoding 6). */
    int (*timed_row)(const ll_frame *f, uint32_t row, double scale, double offset, int64_t *t_ns, float *out);
    /* CRC-32C (Castagnoli) of bytes, going on from `crc` (0 to begin); check("123456789") == 0xE3069283. */
    uint32_t (*crc32c)(uint32_t crc, const void *bytes, size_t len);
    /* Writes header + payload of f into out and sets the CRC; the length written, or LL_FULL. header_len is 64. */
    long (*pack)(const ll_frame *f, uint8_t *out, size_t cap);
    /* Length of the frame that begins at bytes[0], where frames stand back to back; 0 where none does whose CRC is right. */
    size_t (*span)(const uint8_t *bytes, size_t len);
    /* The packed row (encoding 16) at `at` as n_samples counts; where the next one begins. The first is at f->payload. `out` NULL only
     * walks. For frames that parse has let pass; `row` and `timed_row` do not know them. */
    const uint8_t *(*unpack)(const ll_frame *f, const uint8_t *at, int32_t *out);
    /* n counts as a packed row, its length; with `out` NULL the most it can take. */
    size_t (*squeeze)(const int32_t *x, uint32_t n, uint8_t *out);
} ll_wire_api;

LL_API(wire)

#endif
