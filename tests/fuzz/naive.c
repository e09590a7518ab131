/* LLF1 by its table, slowly: every number byte by byte, every packed code bit by bit, every time in 128 bits. */
#include <math.h>

#include "fuzz.h"

static uint64_t number(const uint8_t *p, int bytes) {
    uint64_t v = 0;
    for (int i = bytes; i-- > 0;) v = v << 8 | p[i];
    return v;
}

uint64_t field_of(const uint8_t *bytes, int at, int width) { return number(bytes + at, width); }

uint32_t naive_crc(const uint8_t *bytes, size_t len) {
    static const uint8_t zeros[4];
    return llf1_crc32c(llf1_crc32c(llf1_crc32c(0, bytes, 60), zeros, 4), bytes + HEADER, len - HEADER);
}

void seal(uint8_t *bytes, size_t len) {
    if (len < HEADER) return;
    uint32_t crc = naive_crc(bytes, len);
    for (int i = 0; i < 4; i++) bytes[60 + i] = (uint8_t)(crc >> 8 * i);
}

static int bytes_each(uint64_t encoding) {
    switch (encoding) {
    case LLF1_INT16: return 2;
    case LLF1_INT24: return 3;
    case LLF1_INT32: case LLF1_FLOAT32: return 4;
    case LLF1_FLOAT64: return 8;
    case LLF1_TIMED: return 16;
    default: return 0;
    }
}

static int bit(const uint8_t *p, uint64_t k) { return p[k / 8] >> (k % 8) & 1; }

/* Bytes of the packed rows, or minus a refusal. */
static int64_t packed_bytes(const told *t) {
    uint64_t at = 0, end = t->payload_len;
    if (t->n_channels * t->n > 1u << 24) return -LL_REFUSED_PACKED;
    for (uint64_t r = 0; r < t->n_channels; r++) {
        if (at + 4 > end) return -LL_REFUSED_LENGTH;
        at += 4;
        for (uint64_t done = 1; done < t->n; done += 128) {
            if (at >= end) return -LL_REFUSED_LENGTH;
            uint64_t w = t->payload[at++], codes = t->n - done;
            if (w > 32) return -LL_REFUSED_PACKED;
            if (at + 16 * w > end) return -LL_REFUSED_LENGTH;
            for (uint64_t k = codes * w; codes < 128 && k < 128 * w; k++)
                if (bit(t->payload + at, k)) return -LL_REFUSED_PACKED;
            at += 16 * w;
        }
    }
    return (int64_t)at;
}

void naive_unpack(const told *t, int32_t *out) {
    const uint8_t *p = t->payload;
    for (uint64_t r = 0; r < t->n_channels; r++) {
        uint32_t x = (uint32_t)number(p, 4);
        *out++ = (int32_t)x;
        p += 4;
        for (uint64_t done = 1; done < t->n; done += 128) {
            uint64_t w = *p++;
            for (uint64_t j = 0; j < 128 && done + j < t->n; j++) {
                uint64_t z = 0;
                for (uint64_t k = 0; k < w; k++) z |= (uint64_t)bit(p, j * w + k) << k;
                x += z % 2 ? ~(uint32_t)(z / 2) : (uint32_t)(z / 2);
                *out++ = (int32_t)x;
            }
            p += 16 * w;
        }
    }
}

/* From 1970 on, and neither time nor index nor number passes 2^63 - 1 up to the sample after the last one; a frame that alone
 * spans the 292 years is too long wherever it begins. */
static int in_range(const told *t) {
    const uint64_t most = INT64_MAX;
    if (t->t0 > most || t->seq > most || t->index > most || t->index + t->n > most) return 0;
    if (t->type) return 1;
    if (t->encoding == LLF1_TIMED) {
        for (uint64_t r = 0; r < t->n_channels; r++)
            for (uint64_t i = 0; i < t->n; i++)
                if (naive_time(t, r, i) < 0) return 0;
        return 1;
    }
    unsigned __int128 ns = (unsigned __int128)t->n * t->den * 1000000000u / t->num;
    return ns < most / 1000000000u * (unsigned __int128)1000000000u && ns + t->t0 <= most;
}

static int in_order(const told *t) {
    for (uint64_t r = 0; r < t->n_channels; r++)
        for (uint64_t i = 1; i < t->n; i++)
            if (naive_time(t, r, i) <= naive_time(t, r, i - 1)) return 0;
    return naive_time(t, 0, 0) == (int64_t)t->t0;
}

static int word_judgement(const told *t) {
    if (t->encoding && t->encoding != LLF1_PACKED && !bytes_each(t->encoding)) return LL_REFUSED_ENCODING;
    if (t->flags > 31) return LL_REFUSED_FLAGS;
    if (t->n || t->seq || t->channel + t->n_channels > 65536) return LL_REFUSED_SHAPE;
    if (t->type == 3 && !t->payload_len) return LL_REFUSED_LENGTH;
    return in_range(t) ? 0 : LL_REFUSED_TIME_RANGE;
}

static int data_judgement(const told *t) {
    int each = bytes_each(t->encoding);
    if (!each && t->encoding != LLF1_PACKED) return LL_REFUSED_ENCODING;
    if (t->flags > 31) return LL_REFUSED_FLAGS;
    if (!t->den || (t->encoding == LLF1_TIMED) != (t->num == 0)) return LL_REFUSED_RATE;
    if (!t->n_channels || !t->n || t->channel + t->n_channels > 65536) return LL_REFUSED_SHAPE;
    int64_t needed = each ? (int64_t)(t->n_channels * t->n * (uint64_t)each) : packed_bytes(t);
    if (needed < 0) return (int)-needed;
    if ((uint64_t)needed != t->payload_len) return LL_REFUSED_LENGTH;
    if (t->encoding == LLF1_TIMED && !in_order(t)) return LL_REFUSED_TIME_ORDER;
    return in_range(t) ? 0 : LL_REFUSED_TIME_RANGE;
}

int naive_judgement(const uint8_t *b, size_t len, told *t) {
    if (len < HEADER) return LL_REFUSED_SHORT;
    if (b[0] != 'L' || b[1] != 'L' || b[2] != 'F' || b[3] != '1') return LL_REFUSED_MAGIC;
    *t = (told){.header_len = b[4], .type = b[5], .encoding = b[6], .flags = b[7], .device = number(b + 8, 4),
                .channel = number(b + 12, 2), .n_channels = number(b + 14, 2), .epoch = number(b + 16, 4),
                .clock_sd_us = number(b + 20, 4), .seq = number(b + 24, 8), .index = number(b + 32, 8), .t0 = number(b + 40, 8),
                .num = number(b + 48, 4), .den = number(b + 52, 4), .n = number(b + 56, 4), .crc = number(b + 60, 4)};
    if (t->header_len < HEADER || t->header_len % 8 || t->header_len > len) return LL_REFUSED_HEADER_LEN;
    t->payload = b + t->header_len, t->payload_len = len - t->header_len;
    if (naive_crc(b, len) != t->crc) return LL_REFUSED_CRC;
    if (t->type > 3) return LL_REFUSED_TYPE;
    return t->type ? word_judgement(t) : data_judgement(t);
}

int64_t naive_time(const told *t, uint64_t r, uint64_t i) { return (int64_t)number(t->payload + 16 * (r * t->n + i), 8); }

double naive_value(const told *t, uint64_t r, uint64_t i) {
    int each = bytes_each(t->encoding);
    const uint8_t *p = t->payload + (uint64_t)each * (r * t->n + i);
    uint64_t v = number(t->encoding == LLF1_TIMED ? p + 8 : p, each == 16 ? 8 : each);
    float single;
    double value;
    switch (t->encoding) {
    case LLF1_INT16: return (int16_t)v;
    case LLF1_INT24: return (double)(int64_t)(v << 40) / (double)(1ll << 40);
    case LLF1_INT32: return (int32_t)v;
    case LLF1_FLOAT32: memcpy(&single, &(uint32_t){(uint32_t)v}, 4); return single;
    default: memcpy(&value, &v, 8); return value;
    }
}
