/* A sound frame made worse by one to four steps: blind ones that know nothing of the format, and ones that aim at a field, a
 * count that lies, a packed block, a time. */
#include "fuzz.h"

uint64_t draw(chance *c) {
    uint64_t z = c->state += 0x9e3779b97f4a7c15u;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9u;
    z = (z ^ z >> 27) * 0x94d049bb133111ebu;
    return z ^ z >> 31;
}

/* The header's fields; the widths say what fits. */
static const struct {
    uint8_t at, width;
} FIELDS[] = {{4, 1},  {5, 1},  {6, 1},  {7, 1},  {8, 4},  {12, 2}, {14, 2}, {16, 4},
              {20, 4}, {24, 8}, {32, 8}, {40, 8}, {48, 4}, {52, 4}, {56, 4}};
enum { N_FIELDS = sizeof FIELDS / sizeof *FIELDS, ENCODING_AT = 6, N_CHANNELS_AT = 14, SEQ_AT = 24, INDEX_AT = 32, T0_AT = 40, N_AT = 56 };

/* Where counting breaks: ends of the integer types and their neighbours, widths, the bounds of the decoder and the assembler. */
static const uint64_t EDGES[] = {
    0, 1, 2, 3, 7, 8, 15, 16, 17, 31, 32, 33, 63, 64, 65, 66, 96, 97, 98, 127, 128, 129, 184, 247, 248, 255, 256, 4095, 4096,
    32767, 32768, 65535, 65536, 65537, (1 << 20) - 1, 1 << 20, (1 << 20) + 1, 1 << 24, (1 << 24) + 1, INT32_MAX, 1ull << 31,
    UINT32_MAX, 1ull << 32, 999999999, 1000000000, 1000000001, 9223372036000000000ull, (1ull << 62) + 1, INT64_MAX - 1,
    INT64_MAX, 1ull << 63, UINT64_MAX - 1, UINT64_MAX,
};
enum { N_EDGES = sizeof EDGES / sizeof *EDGES };

static void put(input *in, size_t at, int width, uint64_t value) {
    for (int i = 0; i < width && at + (size_t)i < in->len; i++) in->bytes[at + (size_t)i] = (uint8_t)(value >> 8 * i);
}

static uint64_t get(const input *in, size_t at, int width) {
    return at + (size_t)width <= in->len ? field_of(in->bytes, (int)at, width) : 0;
}

/* Early bytes are headers and lengths: they are met more often. */
static size_t place(chance *c, const input *in) {
    if (!in->len) return 0;
    return below(c, below(c, 5) < 3 && in->len > 80 ? 80 : in->len);
}

/* ---- blind ---- */

static void flip(chance *c, input *in) {
    for (uint64_t k = 1 + below(c, 4); k && in->len; k--) in->bytes[place(c, in)] ^= (uint8_t)(1 << below(c, 8));
}

static void scribble(chance *c, input *in) {
    size_t at = place(c, in), n = 1 + below(c, 16);
    for (size_t i = at; i < at + n && i < in->len; i++) in->bytes[i] = (uint8_t)draw(c);
}

static void cut(chance *c, input *in) {
    in->len = one_in(c, 2) ? below(c, in->len + 1) : in->len - below(c, in->len < 9 ? in->len + 1 : 9);
}

static void grow(chance *c, input *in) {
    size_t n = one_in(c, 8) ? below(c, 9000) : 1 + below(c, 200);
    int zeros = one_in(c, 2);
    for (; n && in->len < LARGEST; n--) in->bytes[in->len++] = zeros ? 0 : (uint8_t)draw(c);
}

static void drop(chance *c, input *in) {
    size_t at = place(c, in), n = 1 + below(c, 32);
    if (n > in->len - at) n = in->len - at;
    memmove(in->bytes + at, in->bytes + at + n, in->len - at - n);
    in->len -= n;
}

static void twice(chance *c, input *in) {
    size_t at = place(c, in), n = 1 + below(c, 128);
    if (n > in->len - at) n = in->len - at;
    if (n > LARGEST - in->len) n = LARGEST - in->len;
    memmove(in->bytes + at + n, in->bytes + at, in->len - at);
    in->len += n;
}

static void splice(chance *c, input *in, const input *other) {
    size_t mine = one_in(c, 2) && in->len >= HEADER ? HEADER : below(c, in->len + 1), its = mine;
    if (its > other->len || one_in(c, 2)) its = below(c, other->len + 1);
    size_t n = other->len - its;
    if (n > LARGEST - mine) n = LARGEST - mine;
    memcpy(in->bytes + mine, other->bytes + its, n);
    in->len = mine + n;
}

/* ---- aimed ---- */

static void edge(chance *c, input *in) {
    uint64_t k = below(c, N_FIELDS);
    put(in, FIELDS[k].at, FIELDS[k].width, EDGES[below(c, N_EDGES)]);
}

/* A little more or less, or what the other frame says there. */
static void nudge(chance *c, input *in, const input *other) {
    uint64_t k = below(c, N_FIELDS);
    uint64_t value = get(in, FIELDS[k].at, FIELDS[k].width) + below(c, 9) - 4;
    put(in, FIELDS[k].at, FIELDS[k].width, one_in(c, 3) ? get(other, FIELDS[k].at, FIELDS[k].width) : value);
}

static void other_encoding(chance *c, input *in) {
    uint64_t encoding = 1 + below(c, 7);
    put(in, ENCODING_AT, 1, encoding == 7 ? 16 : encoding);
    if (one_in(c, 2)) put(in, 48, 4, encoding == 6 ? 0 : 20);
}

/* Counts that lie, or that are what the payload holds so that only other things are wrong. */
static void counts(chance *c, input *in) {
    static const uint8_t width[] = {0, 2, 3, 4, 4, 8, 16};
    if (in->len < HEADER) return;
    uint64_t n = get(in, N_AT, 4), channels = get(in, N_CHANNELS_AT, 2), encoding = get(in, ENCODING_AT, 1);
    uint64_t payload = in->len - HEADER, each = encoding < 7 ? width[encoding] : 0;
    switch (below(c, 5)) {
    case 0: put(in, N_AT, 4, n + 1); break;
    case 1: put(in, N_AT, 4, n * 2), put(in, N_CHANNELS_AT, 2, channels / 2); break;
    case 2: put(in, N_AT, 4, channels), put(in, N_CHANNELS_AT, 2, n); break;
    case 3: if (each && channels) put(in, N_AT, 4, payload / each / channels); break;
    default: if (payload > 4) put(in, N_CHANNELS_AT, 2, 1), put(in, N_AT, 4, 1 + 128 * (payload - 4) - below(c, 128)); break;
    }
}

/* Order: numbers, indices, times and epochs near what they were, across the bounds of what is held and given up. */
static void order(chance *c, input *in) {
    static const int64_t steps[] = {-1000, -66, -3, -2, -1, 1, 2, 3, 31, 32, 33, 63, 64, 65, 66, 1000};
    static const int64_t times[] = {-5000000000, -1000000001, -50000000, -25000000, -24999999, -1, 1,
                                    24999999, 25000000, 25000001, 999999999, 1000000001, 90000000000};
    uint64_t step = (uint64_t)steps[below(c, 16)];
    switch (below(c, 5)) {
    case 0: put(in, SEQ_AT, 8, get(in, SEQ_AT, 8) + step); break;
    case 1: put(in, INDEX_AT, 8, get(in, INDEX_AT, 8) + step * (one_in(c, 2) ? 1 : get(in, N_AT, 4))); break;
    case 2: put(in, T0_AT, 8, get(in, T0_AT, 8) + (uint64_t)times[below(c, 13)]); break;
    case 3: put(in, 16, 4, get(in, 16, 4) + below(c, 5) - 1), put(in, SEQ_AT, 8, below(c, 3)); break;
    default: put(in, 7, 1, below(c, 32)); break;
    }
}

/* The widths of packed blocks, the bits behind the last code, the times of timed samples. */
static void body(chance *c, input *in) {
    if (in->len <= HEADER + 4) return;
    size_t payload = in->len - HEADER, at = HEADER + 4;
    if (get(in, ENCODING_AT, 1) == LLF1_TIMED && payload >= 32) {
        size_t one = HEADER + 16 * below(c, payload / 16), other = HEADER + 16 * below(c, payload / 16);
        uint64_t t = get(in, one, 8);
        put(in, one, 8, one_in(c, 3) ? EDGES[below(c, N_EDGES)] : get(in, other, 8));
        if (one_in(c, 2)) put(in, other, 8, t);
        return;
    }
    for (uint64_t k = below(c, 3); k && at + 1 + 16 * (size_t)in->bytes[at] < in->len; k--) at += 1 + 16 * (size_t)in->bytes[at];
    if (one_in(c, 2)) in->bytes[at] = (uint8_t)(one_in(c, 2) ? below(c, 35) : in->bytes[at] + below(c, 3) - 1);
    else in->bytes[in->len - 1 - below(c, payload < 8 ? payload : 8)] ^= (uint8_t)(1 << below(c, 8));
}

void mutate(chance *c, input *in, const input *other) {
    for (uint64_t k = 1 + (one_in(c, 2) ? 0 : below(c, 4)); k; k--) {
        switch (below(c, 18)) {
        case 0: case 1: flip(c, in); break;
        case 2: scribble(c, in); break;
        case 3: cut(c, in); break;
        case 4: grow(c, in); break;
        case 5: drop(c, in); break;
        case 6: twice(c, in); break;
        case 7: splice(c, in, other); break;
        case 8: case 9: edge(c, in); break;
        case 10: case 11: nudge(c, in, other); break;
        case 12: other_encoding(c, in); break;
        case 13: case 14: counts(c, in); break;
        case 15: case 16: order(c, in); break;
        default: body(c, in); break;
        }
    }
}
