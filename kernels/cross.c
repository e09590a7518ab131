/* Running sums of two channels, segment by segment: cross.h says what is averaged, bins.c makes the bins.
 *
 *     buffer, per channel     [ ..... | start ==== fill ==== | room ]      doubles; a segment needs span = n + |shift| of them
 *
 * A segment's sums depend on its samples only, never on where the stream was cut. A first long push is read where it lies;
 * only what is left of it goes through the buffer. */
#include "cross.h"

#include "bands.h"
#include "bins.h"
#include "lines.h"
#include "radix.h"

#define VERSION 1u
#define MOST_BYTES (UINT64_C(1) << 26) /* of parts; what comes later is added to the last */
#define MOST_SEEN (UINT64_C(1) << 62)  /* segments of a saved state */
#define FARTHEST (INT64_C(1) << 40)
static const char TAG[4] = {'L', 'L', 'X', 'S'};

struct ll_cross_sums {
    ll_bins *c;
    size_t hop, span, skip_a, skip_b; /* samples of either channel before the segment's own */
    int64_t shift;
    uint64_t per_part;
    ll_cross_count count;
    size_t room;            /* parts there is memory for */
    double *power, *parts;  /* [3][n_f]; [part][n_f] of {re, im}, not turned back */
    double *buffer;         /* [2][cap] */
    size_t cap, start;
};

static void end(ll_cross_sums *s) {
    if (!s) return;
    ll_bins_close(s->c);
    free(s->power), free(s->parts), free(s->buffer), free(s);
}

static ll_cross_sums *begin(size_t n, int64_t shift, uint64_t per_part) {
    if (shift > FARTHEST || shift < -FARTHEST || !per_part) return NULL;
    ll_cross_sums *s = calloc(1, sizeof *s);
    if (!s || !(s->c = ll_bins_open(n))) {
        free(s);
        return NULL;
    }
    s->hop = n / 2, s->span = n + (size_t)(shift < 0 ? -shift : shift);
    s->skip_a = shift < 0 ? (size_t)-shift : 0, s->skip_b = shift > 0 ? (size_t)shift : 0;
    s->shift = shift, s->per_part = per_part;
    s->cap = s->span + 4 * s->hop;
    s->power = calloc(3 * s->c->n_f, sizeof(double));
    s->buffer = malloc(2 * s->cap * sizeof(double));
    if (s->power && s->buffer) return s;
    end(s);
    return NULL;
}

/* The part of a segment. */
static uint64_t part_of(const ll_cross_sums *s, uint64_t segment) {
    const uint64_t last = MOST_BYTES / (2 * s->c->n_f * sizeof(double)) - 1, part = segment / s->per_part;
    return part < last ? part : last;
}

/* Room for n_parts, the new ones 0. */
static int make_parts(ll_cross_sums *s, uint64_t n_parts) {
    const size_t part = 2 * s->c->n_f * sizeof(double);
    if (n_parts > s->room) {
        const size_t more = n_parts + n_parts / 2 + 4;
        double *parts = realloc(s->parts, more * part);
        if (!parts) return LL_NOMEM;
        s->parts = parts, s->room = more;
    }
    for (; s->count.n_parts < n_parts; s->count.n_parts++) memset((char *)s->parts + s->count.n_parts * part, 0, part);
    return LL_OK;
}

/* LL_D bins from k on: half is the part of the unit that the transform of two leaves. */
LL_INLINE void add_bins(const ll_bins *c, size_t k, const float of[4][LL_F], size_t h, double ua, double ub, double *power,
                        double *part) {
    const ll_vd ar = ll_load(of[0], h, 0) * ua, ai = ll_load(of[1], h, 0) * ua;
    const ll_vd br = ll_load(of[2], h, 0) * ub, bi = ll_load(of[3], h, 0) * ub;
    const ll_vd aa = ll_fma(ar, ar, ai * ai), bb = ll_fma(br, br, bi * bi);
    const ll_vd re = ll_fma(ar, br, ai * bi), im = ll_fma(ar, bi, -(ai * br));
    ll_store(power, k, ll_load(power, k, 1) + aa, 1);
    ll_store(power, c->n_f + k, ll_load(power, c->n_f + k, 1) + bb, 1);
    ll_store(power, 2 * c->n_f + k, ll_fma(aa, bb, ll_load(power, 2 * c->n_f + k, 1)), 1);
    ll_bins_join(re, im, part + 2 * k);
}

static void add_products(const ll_bins *c, double ua, double ub, double *power, double *part) {
    const size_t n = c->n;
    ua *= 0.5, ub *= 0.5;
    for (size_t k = 0; k < n / 2; k += LL_F) {
        const ll_vf re = *(const ll_vf *)(c->re + k), im = *(const ll_vf *)(c->im + k);
        const ll_vf re2 = backwards(ll_loadf(c->re + n - k - (LL_F - 1))), im2 = backwards(ll_loadf(c->im + n - k - (LL_F - 1)));
        float of[4][LL_F];
        ll_storef(of[0], re + re2), ll_storef(of[1], im - im2), ll_storef(of[2], im + im2), ll_storef(of[3], re2 - re);
        for (size_t h = 0; h < LL_F; h += LL_D) add_bins(c, k + h, (const float(*)[LL_F])of, h, ua, ub, power, part);
    }
    const double a = 2.0 * (double)c->re[n / 2] * ua, b = 2.0 * (double)c->im[n / 2] * ub;
    power[n / 2] += a * a, power[c->n_f + n / 2] += b * b, power[2 * c->n_f + n / 2] += a * a * b * b;
    part[n] += a * b;
}

/* The segment whose span begins at a and b. */
static int add(ll_cross_sums *s, const void *a, const void *b, int kind) {
    static const size_t wide[3] = {sizeof(int16_t), sizeof(float), sizeof(double)};
    ll_bins *c = s->c;
    const uint64_t part = part_of(s, s->count.seen);
    const double ua = ll_bins_level((const char *)a + s->skip_a * wide[kind], kind, c->n, c->x);
    const double ub = ua > 0.0 ? ll_bins_level((const char *)b + s->skip_b * wide[kind], kind, c->n, c->x + c->n) : 0.0;
    if (ub > 0.0) {
        if (make_parts(s, part + 1) != LL_OK) return LL_NOMEM;
        const ll_segment two[2] = {{.x = c->x, .gain = 1.0f}, {.x = c->x + c->n, .gain = 1.0f}};
        ll_fft_bins(c->fft, two, c->re, c->im);
        add_products(c, ua, ub, s->power, s->parts + part * 2 * c->n_f);
        s->count.used++;
    }
    s->count.seen++;
    return LL_OK;
}

static void append(double *to, const void *x, int kind, size_t from, size_t n) {
    if (kind == LL_CROSS_F64) memcpy(to, (const double *)x + from, n * sizeof(double));
    else if (kind == LL_CROSS_F32)
        for (size_t i = 0; i < n; i++) to[i] = (double)((const float *)x)[from + i];
    else
        for (size_t i = 0; i < n; i++) to[i] = (double)((const int16_t *)x)[from + i];
}

static const void *on(const void *x, int kind, size_t i) {
    return (const char *)x + i * (kind == LL_CROSS_I16 ? sizeof(int16_t) : kind == LL_CROSS_F32 ? sizeof(float) : sizeof(double));
}

static int push(ll_cross_sums *s, const void *a, const void *b, int kind, size_t n) {
    size_t at = 0;
    for (; !s->count.fill && n - at >= s->span; at += s->hop) {
        const int status = add(s, on(a, kind, at), on(b, kind, at), kind);
        if (status) return status;
    }
    while (at < n) {
        if (s->start + s->count.fill == s->cap) {
            for (double *row = s->buffer; row < s->buffer + 2 * s->cap; row += s->cap)
                memmove(row, row + s->start, s->count.fill * sizeof(double));
            s->start = 0;
        }
        const size_t to = s->start + s->count.fill, room = s->cap - to, take = n - at < room ? n - at : room;
        append(s->buffer + to, a, kind, at, take), append(s->buffer + s->cap + to, b, kind, at, take);
        at += take, s->count.fill += take;
        for (; s->count.fill >= s->span; s->start += s->hop, s->count.fill -= s->hop) {
            const int status = add(s, s->buffer + s->start, s->buffer + s->cap + s->start, LL_CROSS_F64);
            if (status) return status;
        }
    }
    return LL_OK;
}

static void break_off(ll_cross_sums *s) { s->count.fill = s->start = 0; }

static ll_cross_count count(const ll_cross_sums *s) { return s->count; }

static int read(const ll_cross_sums *s, double *power, double *s12, double *parts) {
    const size_t n_f = s->c->n_f, step = (size_t)s->shift & (s->c->n - 1);
    const double share = s->count.used ? 1.0 / (double)s->count.used : 0.0;
    for (size_t k = 0; k < 3 * n_f; k++) power[k] = s->power[k] * share;
    memset(s12, 0, 2 * n_f * sizeof(double));
    for (size_t p = 0; p < s->count.n_parts; p++) {
        const double *from = s->parts + p * 2 * n_f;
        double *to = parts + p * 2 * n_f;
        for (size_t k = 0; k < n_f; k++) {
            double c, t;
            ll_bins_turned(s->c, step, k, &c, &t);
            const double re = (from[2 * k] * c - from[2 * k + 1] * t) * share, im = (from[2 * k] * t + from[2 * k + 1] * c) * share;
            to[2 * k] = re, to[2 * k + 1] = im;
            s12[2 * k] += re, s12[2 * k + 1] += im;
        }
    }
    return LL_OK;
}

/* ---- saved state: head | power | parts | samples that wait, a then b ----------------------------------------------- */

typedef struct {
    char tag[4];
    uint32_t version;
    uint64_t size, n, per_part;
    int64_t shift;
    ll_cross_count count;
} head;

static size_t bytes_with(const ll_cross_sums *s, uint64_t n_parts, uint64_t fill) {
    return sizeof(head) + ((3 + 2 * n_parts) * s->c->n_f + 2 * fill) * sizeof(double);
}

static size_t bytes(const ll_cross_sums *s) { return bytes_with(s, s->count.n_parts, s->count.fill); }

static int save(const ll_cross_sums *s, unsigned char *out) {
    head h = {.version = VERSION, .size = bytes(s), .n = s->c->n, .per_part = s->per_part, .shift = s->shift, .count = s->count};
    const size_t fill = s->count.fill * sizeof(double), power = 3 * s->c->n_f * sizeof(double);
    const size_t parts = 2 * s->c->n_f * s->count.n_parts * sizeof(double);
    memcpy(h.tag, TAG, 4);
    memcpy(out, &h, sizeof h), out += sizeof h;
    memcpy(out, s->power, power), out += power;
    if (parts) memcpy(out, s->parts, parts), out += parts;
    memcpy(out, s->buffer + s->start, fill), memcpy(out + fill, s->buffer + s->cap + s->start, fill);
    return LL_OK;
}

static int load(ll_cross_sums *s, const unsigned char *from, size_t len) {
    head h;
    if (len < sizeof h) return LL_STATE;
    memcpy(&h, from, sizeof h), from += sizeof h;
    const ll_cross_count *k = &h.count;
    if (memcmp(h.tag, TAG, 4) || h.version != VERSION || h.n != s->c->n || h.per_part != s->per_part || h.shift != s->shift)
        return LL_STATE;
    if (k->fill >= s->span || k->used > k->seen || k->seen >> 63 || !k->used != !k->n_parts ||
        (k->used && k->n_parts > part_of(s, k->seen - 1) + 1) || h.size != len || len != bytes_with(s, k->n_parts, k->fill))
        return LL_STATE;
    s->count = (ll_cross_count){0, 0, 0, 0};
    if (make_parts(s, k->n_parts) != LL_OK) return LL_NOMEM;
    const size_t fill = k->fill * sizeof(double), power = 3 * s->c->n_f * sizeof(double);
    const size_t parts = 2 * s->c->n_f * k->n_parts * sizeof(double);
    s->count = *k, s->start = 0;
    if (k->seen > MOST_SEEN) s->count.seen = MOST_SEEN; /* so that what is counted from here on still has room */
    if (k->used > MOST_SEEN) s->count.used = MOST_SEEN;
    memcpy(s->power, from, power), from += power;
    if (parts) memcpy(s->parts, from, parts), from += parts;
    memcpy(s->buffer, from, fill), memcpy(s->buffer + s->cap, from + fill, fill);
    return LL_OK;
}

const ll_cross_api LL_FN(ll_cross_api) = {
    .open = ll_bins_open, .close = ll_bins_close, .row = ll_bins_row, .clipped = ll_bins_clipped,
    .size = ll_bins_size, .planes = ll_bins_planes,
    .pair = ll_bins_pair, .begin = begin, .end = end, .push = push, .break_off = break_off, .count = count, .read = read,
    .bytes = bytes, .save = save, .load = load, .turned = ll_lines_turned, .newton = ll_lines_newton,
    .standing = ll_lines_standing, .coherency = ll_bands_coherency, .common = ll_bands_common, .closer = ll_bands_closer,
    .best = ll_bands_best, .open_lags = ll_lines_open, .close_lags = ll_lines_close, .lags = ll_lines_lags,
};
