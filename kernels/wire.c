/* LLF1 device frames: bytes to a checked header, samples to floats, and back.
 *
 * A frame is `header_len` bytes (64, or more with extensions), then the payload, little endian:
 *
 *     0    4  5  6  7  8      12  14  16     20          24   32            40     48        52        56         60
 *     LLF1 hl ty en fl device ch  nch epoch  clock_sd_us seq  sample_index  t0_ns  rate_num  rate_den  n_samples  crc32c
 *
 * Payload, channel-major: n_channels x n_samples x {2 int16 | 3 int24 | 4 int32 | 4 float32 | 8 float64 | 16 {t_ns, value}}, or
 * packed rows whose length only a walk over their blocks tells (packed.h).
 * Every length is counted in 64 bits: 65535 channels x 2^32 samples x 16 bytes is below 2^53 and cannot wrap. */
#include "wire.h"

#include "counts.h"
#include "crc32c.h"
#include "packed.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "LLF1 is little endian and this code reads it in place"
#endif

enum {
    AT_HEADER_LEN = 4, AT_TYPE = 5, AT_ENCODING = 6, AT_FLAGS = 7, AT_DEVICE = 8, AT_CHANNEL = 12, AT_N_CHANNELS = 14, AT_EPOCH = 16,
    AT_CLOCK_SD = 20, AT_SEQ = 24, AT_INDEX = 32, AT_T0 = 40, AT_RATE_NUM = 48, AT_RATE_DEN = 52, AT_N_SAMPLES = 56, AT_CRC = 60,
    HEADER = 64, KNOWN_FLAGS = 0x1f, TIMED = 6, LAST_TYPE = 3, SOH = 3
};

/* Bytes of one sample of one channel, by encoding; 0 where the encoding is unknown, or packed. */
static const uint8_t WIDTH[7] = {0, 2, 3, 4, 4, 8, 16};
static inline uint64_t width_of(uint8_t encoding) { return encoding < sizeof WIDTH ? WIDTH[encoding] : 0; }

#define STORE(type, p, value) do { type v_ = (value); memcpy((p), &v_, sizeof v_); } while (0)

/* The sum of a frame's first 64 bytes with the field itself taken as 0; the rest of the frame follows on from it. */
static inline uint32_t header_crc(const uint8_t *bytes) {
    uint8_t head[HEADER];
    memcpy(head, bytes, HEADER);
    memset(head + AT_CRC, 0, 4);
    return crc32c(0, head, HEADER);
}

/* ---- the header ---- */

static void read_header(const uint8_t *b, size_t len, ll_frame *f) {
    f->header_len = b[AT_HEADER_LEN];
    f->type = b[AT_TYPE];
    f->encoding = b[AT_ENCODING];
    f->flags = b[AT_FLAGS];
    f->device = LOAD(uint32_t, b + AT_DEVICE);
    f->channel = LOAD(uint16_t, b + AT_CHANNEL);
    f->n_channels = LOAD(uint16_t, b + AT_N_CHANNELS);
    f->epoch = LOAD(uint32_t, b + AT_EPOCH);
    f->clock_sd_us = LOAD(uint32_t, b + AT_CLOCK_SD);
    f->seq = LOAD(uint64_t, b + AT_SEQ);
    f->sample_index = LOAD(uint64_t, b + AT_INDEX);
    f->t0_ns = LOAD(int64_t, b + AT_T0);
    f->rate_num = LOAD(uint32_t, b + AT_RATE_NUM);
    f->rate_den = LOAD(uint32_t, b + AT_RATE_DEN);
    f->n_samples = LOAD(uint32_t, b + AT_N_SAMPLES);
    f->crc = LOAD(uint32_t, b + AT_CRC);
    f->payload = b + f->header_len;
    f->payload_len = len - f->header_len;
}

/* Magic and header_len: what must hold before anything else may be read; 0, or minus a refusal. */
static int framed(const uint8_t *bytes, size_t len) {
    if (len < HEADER) return -LL_REFUSED_SHORT;
    if (memcmp(bytes, "LLF1", 4)) return -LL_REFUSED_MAGIC;
    unsigned header_len = bytes[AT_HEADER_LEN];
    if (header_len < HEADER || header_len % 8 || header_len > len) return -LL_REFUSED_HEADER_LEN;
    return 0;
}

/* Timed samples increase strictly in every channel and begin at t0 in the first. */
static int timed_in_order(const ll_frame *f) {
    const uint8_t *p = f->payload;
    if (LOAD(int64_t, p) != f->t0_ns) return 0;
    for (uint32_t c = 0; c < f->n_channels; c++, p += 16 * (uint64_t)f->n_samples)
        for (uint64_t i = 1; i < f->n_samples; i++)
            if (LOAD(int64_t, p + 16 * i) <= LOAD(int64_t, p + 16 * (i - 1))) return 0;
    return 1;
}

/* Times from 1970 on, and neither time nor index nor seq passes 2^63 - 1, up to the sample after the last one. */
static int times_in_range(const ll_frame *f) {
    const uint64_t most = INT64_MAX;
    if (f->t0_ns < 0 || f->seq > most || f->sample_index > most - f->n_samples) return 0;
    if (f->type) return 1;
    if (f->encoding == TIMED) {
        for (uint32_t c = 0; c < f->n_channels; c++)
            if (LOAD(int64_t, f->payload + 16 * (uint64_t)f->n_samples * c) < 0) return 0;
        return 1;
    }
    /* n_samples rate_den / rate_num as whole seconds and the rest of one: each product stays below 2^64. */
    uint64_t ticks = (uint64_t)f->n_samples * f->rate_den, seconds = ticks / f->rate_num, rest = ticks % f->rate_num;
    if (seconds >= most / 1000000000u) return 0;
    return seconds * 1000000000u + rest * 1000000000u / f->rate_num <= most - (uint64_t)f->t0_ns;
}

/* Hello, bye and state of health: no samples; encoding and rate may be told or left 0. */
static int refuse_word(const ll_frame *f) {
    if (f->encoding && f->encoding != LL_PACKED && !width_of(f->encoding)) return LL_REFUSED_ENCODING;
    if (f->flags & ~KNOWN_FLAGS) return LL_REFUSED_FLAGS;
    if (f->n_samples || f->seq || (uint32_t)f->channel + f->n_channels > 65536) return LL_REFUSED_SHAPE;
    if (f->type == SOH && !f->payload_len) return LL_REFUSED_LENGTH;
    return times_in_range(f) ? 0 : LL_REFUSED_TIME_RANGE;
}

/* Length of the packed rows at the payload's beginning, or minus a refusal. */
static int64_t packed_len(const ll_frame *f) {
    const uint8_t *p = f->payload, *end = p + f->payload_len;
    if (f->n_channels * (uint64_t)f->n_samples > LL_PACKED_MOST) return -LL_REFUSED_PACKED;
    for (uint32_t r = 0; r < f->n_channels; r++) {
        int wrong;
        p = ll_packed_end(p, end, f->n_samples, &wrong);
        if (!p) return wrong ? -LL_REFUSED_PACKED : -LL_REFUSED_LENGTH;
    }
    return p - f->payload;
}

static int refuse_length(const ll_frame *f, uint64_t width) {
    if (width) return f->n_channels * (uint64_t)f->n_samples * width != f->payload_len ? LL_REFUSED_LENGTH : 0;
    int64_t len = packed_len(f);
    return len < 0 ? (int)-len : (uint64_t)len != f->payload_len ? LL_REFUSED_LENGTH : 0;
}

static int refuse_data(const ll_frame *f) {
    uint64_t width = width_of(f->encoding);
    if (!width && f->encoding != LL_PACKED) return LL_REFUSED_ENCODING;
    if (f->flags & ~KNOWN_FLAGS) return LL_REFUSED_FLAGS;
    if (!f->rate_den || !f->rate_num != (f->encoding == TIMED)) return LL_REFUSED_RATE;
    if (!f->n_channels || !f->n_samples || (uint32_t)f->channel + f->n_channels > 65536) return LL_REFUSED_SHAPE;
    int refused = refuse_length(f, width);
    if (refused) return refused;
    if (f->encoding == TIMED && !timed_in_order(f)) return LL_REFUSED_TIME_ORDER;
    return times_in_range(f) ? 0 : LL_REFUSED_TIME_RANGE;
}

static int parse(const uint8_t *bytes, size_t len, ll_frame *out) {
    int refused = framed(bytes, len);
    if (refused) return refused;
    read_header(bytes, len, out);
    if (crc32c(header_crc(bytes), bytes + HEADER, len - HEADER) != out->crc) return -LL_REFUSED_CRC;
    if (out->type > LAST_TYPE) return -LL_REFUSED_TYPE;
    return -(out->type ? refuse_word(out) : refuse_data(out));
}

static long pack(const ll_frame *f, uint8_t *out, size_t cap) {
    if (cap < HEADER || cap - HEADER < f->payload_len) return LL_FULL;
    if (f->payload_len) memmove(out + HEADER, f->payload, f->payload_len); /* first: it may lie where the header goes */
    memcpy(out, "LLF1", 4);
    out[AT_HEADER_LEN] = HEADER;
    out[AT_TYPE] = f->type;
    out[AT_ENCODING] = f->encoding;
    out[AT_FLAGS] = f->flags;
    STORE(uint32_t, out + AT_DEVICE, f->device);
    STORE(uint16_t, out + AT_CHANNEL, f->channel);
    STORE(uint16_t, out + AT_N_CHANNELS, f->n_channels);
    STORE(uint32_t, out + AT_EPOCH, f->epoch);
    STORE(uint32_t, out + AT_CLOCK_SD, f->clock_sd_us);
    STORE(uint64_t, out + AT_SEQ, f->seq);
    STORE(uint64_t, out + AT_INDEX, f->sample_index);
    STORE(int64_t, out + AT_T0, f->t0_ns);
    STORE(uint32_t, out + AT_RATE_NUM, f->rate_num);
    STORE(uint32_t, out + AT_RATE_DEN, f->rate_den);
    STORE(uint32_t, out + AT_N_SAMPLES, f->n_samples);
    STORE(uint32_t, out + AT_CRC, 0);
    STORE(uint32_t, out + AT_CRC, crc32c(0, out, HEADER + f->payload_len));
    return (long)(HEADER + f->payload_len);
}

/* ---- samples ---- */

/* Where row `row` begins, or NULL where the frame has no such row or its payload does not hold it. */
static const uint8_t *row_at(const ll_frame *f, uint32_t row) {
    uint64_t bytes = width_of(f->encoding) * f->n_samples;
    return bytes && row < f->n_channels && (row + (uint64_t)1) * bytes <= f->payload_len ? f->payload + row * bytes : NULL;
}

/* Rows begin anywhere: these types may be loaded from any address, and the loops below still vectorise. */
#define ANYWHERE __attribute__((aligned(1), may_alias))
typedef float ANYWHERE f32;
typedef double ANYWHERE f64;

#define AFFINE(name, type)                                                                                              \
    static void name(const type *restrict in, size_t n, double scale, double offset, float *restrict out) {             \
        for (size_t i = 0; i < n; i++) out[i] = (float)(scale * (double)in[i] + offset);                                \
    }
AFFINE(affine_f32, f32)
AFFINE(affine_f64, f64)

static int row(const ll_frame *f, uint32_t r, double scale, double offset, float *out) {
    const uint8_t *p = row_at(f, r);
    if (!p || f->encoding == TIMED) return LL_SHAPE;
    switch (f->encoding) {
    case LL_INT16:
    case LL_INT24:
    case LL_INT32: return LL_FN(ll_counts_api).row(f->encoding, p, f->n_samples, scale, offset, out);
    case 4: affine_f32((const f32 *)p, f->n_samples, scale, offset, out); break;
    default: affine_f64((const f64 *)p, f->n_samples, scale, offset, out);
    }
    return LL_OK;
}

static int timed_row(const ll_frame *f, uint32_t r, double scale, double offset, int64_t *t_ns, float *out) {
    const uint8_t *p = row_at(f, r);
    if (!p || f->encoding != TIMED) return LL_SHAPE;
    for (size_t i = 0; i < f->n_samples; i++) {
        t_ns[i] = LOAD(int64_t, p + 16 * i);
        out[i] = (float)(scale * LOAD(double, p + 16 * i + 8) + offset);
    }
    return LL_OK;
}

/* The rows of a packed frame that parse has let pass, one after the other. */
static const uint8_t *unpack(const ll_frame *f, const uint8_t *at, int32_t *out) {
    const uint8_t *end = f->payload + f->payload_len;
    int wrong;
    if (out) return ll_packed_read(at, end, f->n_samples, out);
    return ll_packed_end(at, end, f->n_samples, &wrong);
}

static size_t squeeze(const int32_t *x, uint32_t n, uint8_t *out) {
    return out ? (size_t)(ll_packed_write(x, n, out) - out) : ll_packed_room(n);
}

/* ---- captures ---- */

/* Bodies (types 1 to 3) and payloads of encodings yet unknown have no length in the header: such a frame ends with its
 * header, before one of the next magics, or where the bytes end, wherever its CRC is right first. It may hold the magic
 * itself, but only so often: without that bound, a file full of magics would be walked once for each of them. */
static size_t span_by_crc(const uint8_t *bytes, size_t len, uint32_t want) {
    const size_t most = (size_t)HEADER + (1u << 20);
    size_t header_len = bytes[AT_HEADER_LEN], done = header_len, reach = len < most ? len : most;
    uint32_t crc = crc32c(header_crc(bytes), bytes + HEADER, header_len - HEADER);
    if (crc == want) return header_len;
    size_t at = header_len;
    for (int magics = 0; magics < 16 && at <= reach; magics++, at++) {
        const uint8_t *next = memmem(bytes + at, reach - at, "LLF1", 4);
        if (!next && reach < len) return 0;
        at = next ? (size_t)(next - bytes) : reach;
        crc = crc32c(crc, bytes + done, at - done);
        if (crc == want) return at;
        done = at;
    }
    return 0;
}

static size_t span(const uint8_t *bytes, size_t len) {
    ll_frame f;
    if (framed(bytes, len)) return 0;
    read_header(bytes, len, &f);
    uint64_t width = width_of(f.encoding), payload = f.n_channels * (uint64_t)f.n_samples * width;
    int64_t packed = f.encoding == LL_PACKED && !f.type && f.n_samples ? packed_len(&f) : -1;
    if (packed >= 0) payload = (uint64_t)packed;
    else if (f.type || !width) return span_by_crc(bytes, len, f.crc);
    if (payload > f.payload_len) return 0;
    size_t total = f.header_len + (size_t)payload;
    return crc32c(header_crc(bytes), bytes + HEADER, total - HEADER) == f.crc ? total : 0;
}

const ll_wire_api LL_FN(ll_wire_api) = {.parse = parse, .row = row, .timed_row = timed_row, .crc32c = crc32c, .pack = pack, .span = span,
                                       .unpack = unpack, .squeeze = squeeze};
