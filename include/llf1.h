/* LLF1 frames from a microcontroller: one header, C99, no allocation, no library, any byte order.
 *
 *     llf1_frame f = {.device = 17, .n_channels = 1, .rate_num = 200, .rate_den = 1, .n_samples = 200, .encoding = LLF1_INT16};
 *     size_t n = llf1_pack(&f, samples, out, sizeof out);      // 0: out is too small, or a field makes no frame
 *     // send out[0 .. n) as one ZeroMQ part, then f.seq++, f.sample_index += f.n_samples, f.t0_ns += ...
 *
 * `samples` are int16_t, int32_t (also for int24), float or double, all of channel 0 first, then all of channel 1, and so on;
 * for LLF1_TIMED they are llf1_timed. */
#ifndef LLF1_H
#define LLF1_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { LLF1_INT16 = 1, LLF1_INT24 = 2, LLF1_INT32 = 3, LLF1_FLOAT32 = 4, LLF1_FLOAT64 = 5, LLF1_TIMED = 6 };
enum { LLF1_LOCKED = 1, LLF1_QUESTIONABLE = 2, LLF1_CLIPPED = 4, LLF1_HISTORICAL = 8, LLF1_FIRST = 16 };
enum { LLF1_HEADER = 64 };

typedef struct {
    int64_t t_ns;
    double value;
} llf1_timed;

typedef struct {
    uint8_t encoding, flags;
    uint16_t channel, n_channels;           /* first channel, and how many */
    uint32_t device, epoch, clock_sd_us;    /* epoch: another one at every boot; clock_sd_us: 0 = unknown */
    uint64_t seq, sample_index;             /* both from 0 in every epoch */
    int64_t t0_ns;                          /* UTC nanoseconds since 1970 of the first sample */
    uint32_t rate_num, rate_den, n_samples; /* samples per second, 0/1 when timed; n_samples per channel */
} llf1_frame;

/* CRC-32C (Castagnoli), going on from crc (0 to begin). Half a byte at a time: a table of 16 words. */
static inline uint32_t llf1_crc32c(uint32_t crc, const void *bytes, size_t n) {
    static const uint32_t half[16] = {0x00000000, 0x105ec76f, 0x20bd8ede, 0x30e349b1, 0x417b1dbc, 0x5125dad3, 0x61c69362, 0x7198540d,
                                      0x82f63b78, 0x92a8fc17, 0xa24bb5a6, 0xb21572c9, 0xc38d26c4, 0xd3d3e1ab, 0xe330a81a, 0xf36e6f75};
    const uint8_t *p = (const uint8_t *)bytes;
    for (crc = ~crc; n; n--, p++) {
        crc = (crc >> 4) ^ half[(crc ^ *p) & 15];
        crc = (crc >> 4) ^ half[(crc ^ (*p >> 4)) & 15];
    }
    return ~crc;
}

static inline uint8_t *llf1_put(uint8_t *to, uint64_t value, int bytes) {
    for (int i = 0; i < bytes; i++, value >>= 8) *to++ = (uint8_t)value;
    return to;
}

/* One sample, as its bits, from the array the caller has. */
static inline uint64_t llf1_bits(const void *samples, uint8_t encoding, size_t i) {
    uint64_t bits = 0;
    uint32_t word;
    switch (encoding) {
    case LLF1_INT16: return (uint16_t)((const int16_t *)samples)[i];
    case LLF1_FLOAT64: memcpy(&bits, (const double *)samples + i, 8); return bits;
    default: memcpy(&word, (const uint8_t *)samples + 4 * i, 4); return word; /* int24, int32, float32 */
    }
}

/* Header and samples into out; the length, or 0 where out is too small or the frame would be refused for its counts. */
static inline size_t llf1_pack(const llf1_frame *f, const void *samples, uint8_t *out, size_t room) {
    static const uint8_t width[7] = {0, 2, 3, 4, 4, 8, 16};
    uint64_t count = (uint64_t)f->n_channels * f->n_samples;
    if (f->encoding < LLF1_INT16 || f->encoding > LLF1_TIMED || !count || !f->rate_den) return 0;
    if ((f->rate_num == 0) != (f->encoding == LLF1_TIMED) || room < LLF1_HEADER) return 0;
    if (count > (room - LLF1_HEADER) / width[f->encoding]) return 0;
    memcpy(out, "LLF1", 4);
    out[4] = LLF1_HEADER;
    out[5] = 0; /* data */
    out[6] = f->encoding;
    out[7] = f->flags;
    llf1_put(out + 8, f->device, 4);
    llf1_put(out + 12, f->channel, 2);
    llf1_put(out + 14, f->n_channels, 2);
    llf1_put(out + 16, f->epoch, 4);
    llf1_put(out + 20, f->clock_sd_us, 4);
    llf1_put(out + 24, f->seq, 8);
    llf1_put(out + 32, f->sample_index, 8);
    llf1_put(out + 40, (uint64_t)f->t0_ns, 8);
    llf1_put(out + 48, f->rate_num, 4);
    llf1_put(out + 52, f->rate_den, 4);
    llf1_put(out + 56, f->n_samples, 4);
    llf1_put(out + 60, 0, 4);
    uint8_t *to = out + LLF1_HEADER;
    for (size_t i = 0; i < count; i++) {
        if (f->encoding == LLF1_TIMED) {
            const llf1_timed *pair = (const llf1_timed *)samples + i;
            to = llf1_put(to, (uint64_t)pair->t_ns, 8);
            to = llf1_put(to, llf1_bits(&pair->value, LLF1_FLOAT64, 0), 8);
        } else {
            to = llf1_put(to, llf1_bits(samples, f->encoding, i), width[f->encoding]);
        }
    }
    llf1_put(out + 60, llf1_crc32c(0, out, (size_t)(to - out)), 4);
    return (size_t)(to - out);
}

#endif
