/* LLF1 frames from a microcontroller: one header, C99, no allocation, no library, any byte order.
 *
 *     llf1_frame f = {.device = 17, .n_channels = 1, .rate_num = 200, .rate_den = 1, .n_samples = 200, .encoding = LLF1_INT16};
 *     size_t n = llf1_pack(&f, samples, out, sizeof out);      // 0: out is too small, or a field makes no frame
 *     // send out[0 .. n) as one ZeroMQ part, then f.seq++, f.sample_index += f.n_samples, f.t0_ns += ...
 *
 * `samples` are int16_t, int32_t (also for int24), float or double, all of channel 0 first, then all of channel 1, and so on;
 * for LLF1_TIMED they are llf1_timed. LLF1_PACKED takes int32_t and sends only how they change: LLF1_PACKED_ROOM(n) bytes a channel at
 * most, mostly less than LLF1_INT16. There is no floating-point arithmetic here. */
#ifndef LLF1_H
#define LLF1_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum { LLF1_INT16 = 1, LLF1_INT24 = 2, LLF1_INT32 = 3, LLF1_FLOAT32 = 4, LLF1_FLOAT64 = 5, LLF1_TIMED = 6, LLF1_PACKED = 16 };
enum { LLF1_LOCKED = 1, LLF1_QUESTIONABLE = 2, LLF1_CLIPPED = 4, LLF1_HISTORICAL = 8, LLF1_FIRST = 16 };
enum { LLF1_HEADER = 64 };
#define LLF1_PACKED_ROOM(n) (4 + ((size_t)(n) + 126) / 128 * 513) /* bytes of one channel of n samples at most */

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

/* The change from sample i - 1 to sample i, small for a small one of either sign: 0, -1, 1, -2 ... are 0, 1, 2, 3 ... */
static inline uint32_t llf1_code(const void *samples, size_t i) {
    uint32_t d = (uint32_t)llf1_bits(samples, LLF1_INT32, i) - (uint32_t)llf1_bits(samples, LLF1_INT32, i - 1);
    return (d << 1) ^ (d >> 31 ? 0xffffffffu : 0);
}

/* One channel of n samples, from number `first` on: the first one, then blocks of a width and 128 codes of so many bits.
 * Where it ends; NULL where that is beyond `end`. */
static inline uint8_t *llf1_pack_row(const void *samples, size_t first, uint32_t n, uint8_t *to, const uint8_t *end) {
    if (end - to < 4) return NULL;
    to = llf1_put(to, llf1_bits(samples, LLF1_INT32, first), 4);
    for (size_t at = first + 1, left = n - 1; left;) {
        size_t m = left < 128 ? left : 128;
        uint32_t all = 0;
        for (size_t j = 0; j < m; j++) all |= llf1_code(samples, at + j);
        int w = 0, bits = 0;
        while (w < 32 && all >> w) w++;
        if (end - to < 1 + 16 * w) return NULL;
        *to++ = (uint8_t)w;
        uint8_t *block = to;
        uint64_t word = 0;
        memset(block, 0, (size_t)(16 * w));
        for (size_t j = 0; j < m && w; j++) {
            word |= (uint64_t)llf1_code(samples, at + j) << bits;
            for (bits += w; bits >= 8; bits -= 8, word >>= 8) *block++ = (uint8_t)word;
        }
        if (bits) *block = (uint8_t)word;
        to += 16 * w, at += m, left -= m;
    }
    return to;
}

/* Header and samples into out; the length, or 0 where out is too small or the frame would be refused for its counts. */
static inline size_t llf1_pack(const llf1_frame *f, const void *samples, uint8_t *out, size_t room) {
    static const uint8_t width[7] = {0, 2, 3, 4, 4, 8, 16};
    uint64_t count = (uint64_t)f->n_channels * f->n_samples;
    int packed = f->encoding == LLF1_PACKED;
    if ((!packed && (f->encoding < LLF1_INT16 || f->encoding > LLF1_TIMED)) || !count || !f->rate_den) return 0;
    if ((f->rate_num == 0) != (f->encoding == LLF1_TIMED) || room < LLF1_HEADER) return 0;
    if (packed ? count > (uint64_t)1 << 24 : count > (room - LLF1_HEADER) / width[f->encoding]) return 0;
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
    for (size_t c = 0; packed && c < f->n_channels; c++)
        if (!(to = llf1_pack_row(samples, c * f->n_samples, f->n_samples, to, out + room))) return 0;
    for (size_t i = 0; !packed && i < count; i++) {
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

/* What the service says to a device; -1 where it says nothing of it. */
typedef struct {
    int64_t ack, credit, seq, device, channel, epoch;
    char refused[24]; /* "" or the reason, cut to fit */
} llf1_said;

/* One integer or text of msgpack at *p: 1 an integer, 2 a text of *value bytes that *p stands at, 0 neither, or beyond `end`. */
static inline int llf1_value(const uint8_t **p, const uint8_t *end, int64_t *value) {
    if (*p == end) return 0;
    uint8_t b = *(*p)++;
    int text = (b & 0xe0) == 0xa0 || b == 0xd9, wide = b == 0xd9 ? 1 : b >= 0xcc && b <= 0xd3 ? 1 << (b & 3) : 0;
    if (!wide && !text && b >= 0x80 && b < 0xe0) return 0;
    uint64_t v = text ? b & 0x1f : b < 0x80 ? b : (uint64_t)(b - 256);
    if (end - *p < wide) return 0;
    if (wide) v = b >= 0xd0 && b <= 0xd3 && **p >> 7 ? ~(uint64_t)0 : 0;
    for (int i = 0; i < wide; i++) v = v << 8 | *(*p)++;
    *value = (int64_t)v;
    if (!text) return 1;
    return (uint64_t)(end - *p) >= v ? 2 : 0;
}

/* A reply of the service: 1, or 0 for bytes that are none. Keys of later versions are passed over. */
static inline int llf1_reply(const uint8_t *p, size_t n, llf1_said *said) {
    static const char *const names[6] = {"ack", "credit", "seq", "device", "channel", "epoch"};
    const uint8_t *end = p + n;
    int64_t *const fields[6] = {&said->ack, &said->credit, &said->seq, &said->device, &said->channel, &said->epoch};
    for (int k = 0; k < 6; k++) *fields[k] = -1;
    memset(said->refused, 0, sizeof said->refused);
    if (!n || (*p & 0xf0) != 0x80) return 0;
    for (int pairs = *p++ & 15; pairs; pairs--) {
        int64_t key_len, value;
        if (llf1_value(&p, end, &key_len) != 2) return 0;
        const uint8_t *key = p;
        p += key_len;
        int kind = llf1_value(&p, end, &value);
        if (!kind) return 0;
        for (int k = 0; k < 6 && kind == 1; k++)
            if ((size_t)key_len == strlen(names[k]) && !memcmp(key, names[k], (size_t)key_len)) *fields[k] = value;
        if (kind == 2 && key_len == 7 && !memcmp(key, "refused", 7))
            memcpy(said->refused, p, (size_t)(value < 23 ? value : 23));
        if (kind == 2) p += value;
    }
    return p == end;
}

#endif
