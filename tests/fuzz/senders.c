/* Devices whose frames go on from each other, packed by include/llf1.h: they lose some, send some twice or late, boot, and their
 * clocks jump. Without them a mutated number would never find a stream that is in the middle of something. */
#include "fuzz.h"

static const int64_t T0 = 1790000000000000000, SECOND = 1000000000;

static void begin(chance *c, sender *s, uint32_t device, uint16_t channel, uint16_t n_channels, int timed) {
    *s = (sender){.device = device, .channel = channel, .n_channels = n_channels, .timed = (uint8_t)timed,
                  .epoch = 1 + (uint32_t)below(c, 3), .brief = one_in(c, 3), .seq = below(c, 3), .num = 20, .den = 1,
                  .t0 = T0 + (int64_t)below(c, 3) * 24999999};
    if (one_in(c, 3)) s->num = 200000 + (uint32_t)below(c, 19), s->den = 10000; /* within what a channel's rate may be off */
    if (timed) s->num = 0, s->den = 1;
}

void senders_begin(chance *c, sender *s) {
    begin(c, s, 1, 0, 2, 0);
    begin(c, s + 1, 2, 0, 2, 0);
    begin(c, s + 2, 1, 2, 2, 0);
    begin(c, s + 3, 1, 4, 4, 0);
    begin(c, s + 4, 2, 2, (uint16_t)(3 + below(c, 6)), 0); /* up to channels that nobody configured */
    begin(c, s + 5, 3, 0, 1, 1);
    begin(c, s + 6, 3, 1, 2, 1);
    begin(c, s + 7, 2, 1, (uint16_t)(1 + below(c, 3)), 0); /* overlaps another stream */
}

/* Samples a channel, mostly few; packed frames may hold very many in few bytes. */
static uint64_t length(chance *c, const sender *s) {
    if (s->timed) return 1 + below(c, 6);
    if (s->brief) return 1;
    if (one_in(c, 300000)) return (1u << 24) + below(c, 3) - 1;
    if (one_in(c, 20000)) return (one_in(c, 3) ? 1u << 20 : 1u << 19) + below(c, 3) - 1;
    if (one_in(c, 200)) return 1000 + below(c, 20000);
    return one_in(c, 10) ? 1 + below(c, 600) : 20;
}

/* Rows of a packed frame whose samples do not change: a byte for 128 of them. */
static size_t pack_still(const llf1_frame *f, uint8_t *out) {
    size_t row = 4 + (f->n_samples + 126) / 128, len = HEADER + f->n_channels * row;
    if (len > LARGEST) return 0;
    llf1_frame small = *f;
    int32_t none[16] = {0};
    small.n_samples = 1, small.n_channels = 1;
    if (!llf1_pack(&small, none, out, LARGEST)) return 0;
    memset(out + HEADER, 0, len - HEADER);
    llf1_put(out + 14, f->n_channels, 2);
    llf1_put(out + 56, f->n_samples, 4);
    seal(out, len);
    return len;
}

static size_t pack(chance *c, const llf1_frame *f, uint8_t *out) {
    static union {
        int16_t i16[1 << 16];
        int32_t i32[1 << 16];
        float f32[1 << 16];
        double f64[1 << 16];
        llf1_timed timed[1 << 16];
    } x;
    uint64_t count = (uint64_t)f->n_channels * f->n_samples, shift = below(c, 32);
    if (f->encoding == LLF1_PACKED && (count > 1 << 13 || one_in(c, 16))) return pack_still(f, out);
    for (uint64_t i = 0; i < count; i++) {
        int32_t v = (int32_t)draw(c) >> shift;
        switch (f->encoding) {
        case LLF1_INT16: x.i16[i] = (int16_t)v; break;
        case LLF1_FLOAT32: x.f32[i] = (float)v; break;
        case LLF1_FLOAT64: x.f64[i] = v; break;
        case LLF1_TIMED: x.timed[i] = (llf1_timed){f->t0_ns + (int64_t)(i % f->n_samples) * (1 + SECOND / 8), v}; break;
        default: x.i32[i] = v; break;
        }
    }
    return llf1_pack(f, &x, out, LARGEST);
}

/* Header extensions: a map, zeros behind it, and the header's length says so. */
static void extend(chance *c, input *in) {
    static const uint8_t map[] = {0x81, 0xa1, 'k', 1};
    size_t extra = 8 * (1 + below(c, one_in(c, 8) ? 23 : 3));
    if (in->len + extra > LARGEST) return;
    memmove(in->bytes + HEADER + extra, in->bytes + HEADER, in->len - HEADER);
    memset(in->bytes + HEADER, 0, extra);
    memcpy(in->bytes + HEADER, map, sizeof map);
    in->bytes[4] = (uint8_t)(HEADER + extra);
    in->len += extra;
    seal(in->bytes, in->len);
}

static void happen(chance *c, sender *s) {
    switch (below(c, 14)) {
    case 0: s->seq += below(c, 70), s->index += 20 * below(c, 70); break;
    case 1: s->index += below(c, 200); break;
    case 2: s->t0 += SECOND * (int64_t)below(c, 5) - 2 * SECOND; break;
    case 3: s->t0 += (int64_t)below(c, 50000001) - 25000000; break;
    case 4: if (one_in(c, 4)) boot(c, s); break;
    case 5: s->index -= s->index > 100 ? below(c, 100) : 0; break;
    case 6: s->wrong = 20 + (uint32_t)below(c, 100); break;
    default: break;
    }
}

void boot(chance *c, sender *s) {
    s->epoch++, s->seq = s->index = 0;
    s->brief = one_in(c, 2);
    s->wrong = one_in(c, 3) ? (uint32_t)below(c, 140) : 0;
    s->late.len = 0;
}

static llf1_frame header(const sender *s, uint32_t n) {
    return (llf1_frame){.encoding = LLF1_PACKED, .flags = 1, .device = s->device, .channel = s->channel, .n_channels = s->n_channels,
                        .epoch = s->epoch, .seq = s->seq, .sample_index = s->index, .t0_ns = s->t0, .rate_num = s->num,
                        .rate_den = s->den, .n_samples = n};
}

/* What the next frame begins with. */
static void go_on(sender *s, const llf1_frame *f) {
    s->seq++, s->index += f->n_samples;
    s->t0 += s->timed ? (int64_t)f->n_samples * (1 + SECOND / 8) : (int64_t)((__int128)f->n_samples * s->den * SECOND / s->num);
}

void still_frame(sender *s, uint32_t n, input *out) {
    llf1_frame f = header(s, n);
    out->len = pack_still(&f, out->bytes);
    go_on(s, &f);
}

void next_frame(chance *c, sender *s, input *out) {
    if (s->late.len && one_in(c, 4)) { /* one that was held back */
        memcpy(out->bytes, s->late.bytes, s->late.len);
        out->len = s->late.len, s->late.len = 0;
        return;
    }
    if (one_in(c, 10)) happen(c, s);
    llf1_frame f = header(s, (uint32_t)length(c, s));
    if (s->wrong && s->seq) s->wrong--, f.rate_num += s->timed ? 0 : f.rate_num; /* the first one begins the stream */
    if (one_in(c, 4)) f.flags = (uint8_t)below(c, 32);
    if (one_in(c, 4)) f.clock_sd_us = (uint32_t)below(c, 100000);
    f.encoding = s->timed ? LLF1_TIMED : (uint8_t)(one_in(c, 3) ? LLF1_PACKED : 1 + below(c, 5));
    if ((uint64_t)f.n_channels * f.n_samples > 1 << 13 && !s->timed) f.encoding = LLF1_PACKED;
    out->len = pack(c, &f, out->bytes);
    if (!out->len) f.n_samples = 20, out->len = pack(c, &f, out->bytes); /* that many rows have no room in an input */
    if (one_in(c, 30)) extend(c, out);
    go_on(s, &f);
    if (!s->late.len && one_in(c, 12)) memcpy(s->late.bytes, out->bytes, s->late.len = out->len);
    if (one_in(c, 40)) s->seq--; /* again, or another frame with its number */
}
