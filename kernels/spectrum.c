/* A stream of rows: samples that wait for their group, sums by parts, what is told of them, and their saved form.
 *
 *     fft.c      two segments of one row through one transform
 *     trend.c    means, slopes and peaks of samples
 *     sums.c     groups of eight segments: powers and products
 *
 *     total      whole parts, added in order          all three hold a sum of doubles, a weight and a count per row,
 *     part       groups since the last whole part     or per pair of rows
 *     seen       total + (part + the group that waits), when somebody looks
 *
 * A part is added up from zero by itself, so threads may each add up whole parts, and `merge` puts them together in order to
 * the very bits that one thread would have found. */
#include "spectrum.h"

#include <math.h>

#include "sums.h"
#include "taker.h"

#define VERSION 2u
static const char TAG[4] = {'L', 'L', 'S', 'P'};

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static size_t whole_lines(size_t bytes) { return (bytes + 127) / 64 * 64; }

/* What is written before it is read is left as it comes: much of the buffer may never be touched. */
static void *space(size_t bytes) { return aligned_alloc(64, whole_lines(bytes)); }

static void *room(size_t bytes) {
    void *p = space(bytes);
    return p ? memset(p, 0, whole_lines(bytes)) : NULL;
}

static uint64_t fnv1a(const void *bytes, size_t n) {
    const unsigned char *b = bytes;
    uint64_t h = 1469598103934665603u;
    for (size_t i = 0; i < n; i++) h = (h ^ b[i]) * 1099511628211u;
    return h;
}

static int make(const ll_spectrum_sums *s, ll_sums *z, void *(*get)(size_t)) {
    z->acc = get(s->n_acc * sizeof(double)), z->weight = get(s->n_pair * sizeof(double));
    z->used = get(s->n_pair * sizeof(int64_t));
    return z->acc && z->weight && z->used;
}

static void drop(ll_sums *z) { free(z->acc), free(z->weight), free(z->used); }

static void close_(ll_spectrum_sums *s) {
    if (!s) return;
    ll_fft_close(s->fft);
    drop(&s->total), drop(&s->part), drop(&s->seen);
    free(s->buffer), free(s->rows), free(s->re), free(s->im), free(s->planes), free(s->unit), free(s->sound), free(s);
}

static ll_spectrum_sums *open_(const ll_spectrum_plan *p, const float *window) {
    if (p->n < 16 || p->n > 65536 || (p->n & (p->n - 1)) || !p->hop || p->hop > p->n || !p->n_ch || p->detrend > 2 || !p->part ||
        !(p->keep > 0.0 && p->keep <= 1.0))
        return NULL;
    ll_spectrum_sums *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    const size_t n_ch = p->n_ch;
    s->p = *p;
    s->n_f = p->n / 2 + 1;
    s->n_f8 = (s->n_f + 7) / 8;
    s->n_pair = p->cross ? n_ch * (n_ch + 1) / 2 : n_ch;
    s->n_acc = p->cross ? s->n_f8 * s->n_pair * 16 : s->n_pair * s->n_f;
    s->cap = p->n + (LL_GROUP - 1) * (size_t)p->hop;
    s->window_hash = fnv1a(window, p->n * sizeof(float));
    for (int k = 0; k <= LL_GROUP; k++) s->keep[k] = pow(p->keep, k);
    for (int k = 0; k < LL_GROUP; k++) s->root[k] = (float)sqrt(s->keep[k]);
    s->fft = ll_fft_open(p->n, window);
    s->buffer = space(n_ch * s->cap * sizeof(float));
    s->rows = space(n_ch * sizeof *s->rows);
    s->re = room((p->n + 8) * sizeof(float));
    for (size_t c = 0; c < n_ch && s->buffer && s->rows; c++) s->rows[c] = s->buffer + c * s->cap;
    int good = s->fft && s->buffer && s->rows && s->re && make(s, &s->total, room) && make(s, &s->part, room);
    if (p->cross) {
        s->im = room((p->n + 8) * sizeof(float));
        s->plane = (LL_GROUP * n_ch + 1) * 16;
        s->planes = room(s->n_f8 * s->plane * sizeof(float));
        s->unit = room(n_ch * sizeof(double));
        s->sound = room(LL_GROUP * n_ch);
        good = good && s->im && s->planes && s->unit && s->sound;
    }
    if (good) return s;
    close_(s);
    return NULL;
}

/* ---- parts ------------------------------------------------------------------------------------------------------- */

static double kept(const ll_spectrum_sums *s, uint64_t segments) {
    return s->p.keep == 1.0 ? 1.0 : pow(s->p.keep, (double)segments);
}

/* to = older * keep^segments + newer; to may be either. */
static void join(const ll_spectrum_sums *s, const ll_sums *older, const ll_sums *newer, uint64_t segments, const ll_sums *to) {
    const double keep = kept(s, segments);
    for (size_t i = 0; i < s->n_acc; i++) to->acc[i] = older->acc[i] * keep + newer->acc[i];
    for (size_t i = 0; i < s->n_pair; i++) {
        to->weight[i] = older->weight[i] * keep + newer->weight[i];
        to->used[i] = older->used[i] + newer->used[i];
    }
}

static void copy(const ll_spectrum_sums *s, const ll_sums *to, const ll_sums *from) {
    memcpy(to->acc, from->acc, s->n_acc * sizeof(double));
    memcpy(to->weight, from->weight, s->n_pair * sizeof(double));
    memcpy(to->used, from->used, s->n_pair * sizeof(int64_t));
}

static void clear(const ll_spectrum_sums *s, const ll_sums *z) {
    memset(z->acc, 0, s->n_acc * sizeof(double));
    memset(z->weight, 0, s->n_pair * sizeof(double));
    memset(z->used, 0, s->n_pair * sizeof(int64_t));
}

/* The part under way, `tail` segments of it beyond whole groups, goes to the totals. */
static void close_part(ll_spectrum_sums *s, uint64_t tail) {
    if (s->filled) {
        join(s, &s->total, &s->part, s->groups * LL_GROUP + tail, &s->total);
        clear(s, &s->part);
    } else { /* 0 + part: the sums of many pairs are large, so they change places */
        ll_sums part = s->part;
        s->part = s->total, s->total = part;
        s->filled = 1;
    }
    s->groups = 0;
}

/* Whole groups of rows from sample `at` on, part by part. */
static void take(ll_spectrum_sums *s, const float *const *x, size_t at, size_t n_seg) {
    while (n_seg) {
        size_t open = (s->p.part - s->groups) * LL_GROUP, now = n_seg < open ? n_seg : open;
        ll_sums_add(s, x, at, now, &s->part);
        at += now * s->p.hop, n_seg -= now;
        s->groups += now / LL_GROUP, s->segments += now;
        if (s->groups == s->p.part) close_part(s, 0);
    }
}

/* ---- stream ------------------------------------------------------------------------------------------------------ */

static size_t whole_segments(const ll_spectrum_sums *s, size_t n) { return n < s->p.n ? 0 : 1 + (n - s->p.n) / s->p.hop; }

/* n samples of rows x from `at` on. */
static void append(ll_spectrum_sums *s, const float *const *x, size_t at, size_t n) {
    for (size_t c = 0; c < s->p.n_ch; c++) memcpy(s->buffer + c * s->cap + s->fill, x[c] + at, n * sizeof(float));
    s->fill += n;
}

/* The buffer holds less than one group between calls. Samples that wait there are topped up to a group; as soon as the
 * next segment begins inside the caller's rows, whole groups are taken from there without a copy. */
static int push(ll_spectrum_sums *s, const float *const *x, size_t n) {
    const size_t group = s->cap, forward = LL_GROUP * (size_t)s->p.hop;
    size_t at = 0;
    while (s->fill + n >= group) {
        if (!s->fill) {
            size_t n_seg = whole_segments(s, n) / LL_GROUP * LL_GROUP, done = n_seg * s->p.hop;
            take(s, x, at, n_seg);
            at += done, n -= done;
            continue;
        }
        size_t had = s->fill;
        append(s, x, at, group - had);
        take(s, s->rows, 0, LL_GROUP);
        if (forward >= had) {
            at += forward - had, n -= forward - had;
            s->fill = 0;
        } else {
            for (size_t c = 0; c < s->p.n_ch; c++) {
                float *row = s->buffer + c * s->cap;
                memmove(row, row + forward, (had - forward) * sizeof(float));
            }
            s->fill = had - forward;
        }
    }
    append(s, x, at, n);
    return LL_OK;
}

static void fetch(const ll_spectrum_sums *s, size_t n) {
    if (n > s->cap - s->fill) n = s->cap - s->fill;
    for (size_t c = 0; c < s->p.n_ch; c++) ll_fetch(s->buffer + c * s->cap + s->fill, n);
}

static void reset(ll_spectrum_sums *s) {
    if (s->filled) clear(s, &s->total);
    if (s->groups) clear(s, &s->part);
    s->fill = s->groups = s->segments = 0;
    s->filled = 0;
}

static void restart(ll_spectrum_sums *s) {
    size_t tail = whole_segments(s, s->fill);
    if (tail) ll_sums_add(s, s->rows, 0, tail, &s->part);
    if (tail || s->groups) close_part(s, tail);
    s->segments += tail;
    s->fill = 0;
}

/* ---- what is told ------------------------------------------------------------------------------------------------ */

/* total + (part + tail): the order in which they would come to the totals. NULL: no memory. */
static const ll_sums *look(ll_spectrum_sums *s) {
    size_t tail = whole_segments(s, s->fill);
    if (!tail && !s->groups) return &s->total;
    if (!s->seen.used && !make(s, &s->seen, space)) {
        drop(&s->seen);
        s->seen = (ll_sums){0};
        return NULL;
    }
    const ll_sums *newer = &s->part;
    if (tail) {
        copy(s, &s->seen, &s->part);
        ll_sums_add(s, s->rows, 0, tail, &s->seen);
        newer = &s->seen;
    }
    join(s, &s->total, newer, s->groups * LL_GROUP + tail, &s->seen);
    return &s->seen;
}

static int merge(ll_spectrum_sums *s, ll_spectrum_sums *other) {
    if (s == other || memcmp(&s->p, &other->p, sizeof s->p) || s->window_hash != other->window_hash) return LL_SHAPE;
    const ll_sums *more = look(other);
    if (!more) return LL_NOMEM;
    restart(s);
    uint64_t segments = other->segments + whole_segments(other, other->fill);
    if (s->filled) join(s, &s->total, more, segments, &s->total);
    else copy(s, &s->total, more);
    s->segments += segments, s->filled = 1;
    return LL_OK;
}

static int power(ll_spectrum_sums *s, double *out, int64_t *used) {
    const ll_sums *z = look(s);
    if (!z) return LL_NOMEM;
    for (size_t i = 0, pair = 0; i < s->p.n_ch; pair += s->p.cross ? s->p.n_ch - i : 1, i++) {
        used[i] = z->used[pair];
        if (!s->p.cross) memcpy(out + i * s->n_f, z->acc + i * s->n_f, s->n_f * sizeof(double));
        else
            for (size_t f = 0; f < s->n_f; f++) out[i * s->n_f + f] = z->acc[(f / 8 * s->n_pair + pair) * 16 + f % 8];
    }
    return LL_OK;
}

static int matrix(ll_spectrum_sums *s, double *out, int64_t *used) {
    const size_t n_ch = s->p.n_ch;
    if (!s->p.cross) return LL_SHAPE;
    const ll_sums *seen = look(s);
    if (!seen) return LL_NOMEM;
    for (size_t f = 0; f < s->n_f; f++)
        for (size_t i = 0, pair = 0; i < n_ch; i++)
            for (size_t j = i; j < n_ch; j++, pair++) {
                const double *z = seen->acc + (f / 8 * s->n_pair + pair) * 16 + f % 8;
                double *ij = out + ((f * n_ch + i) * n_ch + j) * 2, *ji = out + ((f * n_ch + j) * n_ch + i) * 2;
                ij[0] = z[0], ij[1] = z[8];
                ji[0] = z[0], ji[1] = i == j ? z[8] : -z[8];
            }
    for (size_t i = 0, pair = 0; i < n_ch; i++)
        for (size_t j = i; j < n_ch; j++, pair++) used[i * n_ch + j] = used[j * n_ch + i] = seen->used[pair];
    return LL_OK;
}

static int average(ll_spectrum_sums *s, const double *scale, float *out) {
    const size_t n_ch = s->p.n_ch;
    if (!s->p.cross) return LL_SHAPE;
    const ll_sums *seen = look(s);
    if (!seen) return LL_NOMEM;
    for (size_t block = 0; block < s->n_f; block += 8) {
        const size_t m = s->n_f - block < 8 ? s->n_f - block : 8;
        const double *z = seen->acc + block * s->n_pair * 2;
        for (size_t i = 0, pair = 0; i < n_ch; i++)
            for (size_t j = i; j < n_ch; j++, pair++, z += 16) {
                const double weight = seen->weight[pair];
                float *ij = out + ((block * n_ch + i) * n_ch + j) * 2, *ji = out + ((block * n_ch + j) * n_ch + i) * 2;
                for (size_t f = 0; f < m; f++, ij += 2 * n_ch * n_ch, ji += 2 * n_ch * n_ch) {
                    const double by = scale[block + f] / weight;
                    const float re = (float)(z[f] * by), im = (float)(z[f + 8] * by);
                    ij[0] = re, ij[1] = im;
                    ji[0] = re, ji[1] = i == j ? im : -im;
                }
            }
    }
    return LL_OK;
}

static int weights(ll_spectrum_sums *s, double *out) {
    const size_t n_ch = s->p.n_ch;
    const ll_sums *z = look(s);
    if (!z) return LL_NOMEM;
    if (!s->p.cross) memcpy(out, z->weight, n_ch * sizeof(double));
    else
        for (size_t i = 0, pair = 0; i < n_ch; i++)
            for (size_t j = i; j < n_ch; j++, pair++) out[i * n_ch + j] = out[j * n_ch + i] = z->weight[pair];
    return LL_OK;
}

/* ---- saved state: tag, version, size | plan, window's hash, counters | total, part | waiting samples ---------------- */

typedef struct {
    char tag[4];
    uint32_t version;
    uint64_t size;
    ll_spectrum_plan plan;
    uint64_t window_hash, fill, groups, segments;
} head;

static size_t size_with(const ll_spectrum_sums *s, uint64_t fill) {
    return sizeof(head) + 2 * (s->n_acc + 2 * s->n_pair) * sizeof(double) + s->p.n_ch * (size_t)fill * sizeof(float);
}

static size_t size(const ll_spectrum_sums *s) { return size_with(s, s->fill); }

static unsigned char *put(unsigned char *to, const void *from, size_t n) { return (unsigned char *)memcpy(to, from, n) + n; }

static const unsigned char *get(const unsigned char *from, void *to, size_t n) {
    memcpy(to, from, n);
    return from + n;
}

static int save(const ll_spectrum_sums *s, unsigned char *out) {
    head h = {.version = VERSION, .size = size(s), .plan = s->p, .window_hash = s->window_hash, .fill = s->fill,
              .groups = s->groups, .segments = s->segments};
    memcpy(h.tag, TAG, 4);
    out = put(out, &h, sizeof h);
    for (int i = 0; i < 2; i++) {
        const ll_sums *z = i ? &s->part : &s->total;
        out = put(out, z->acc, s->n_acc * sizeof(double));
        out = put(out, z->weight, s->n_pair * sizeof(double));
        out = put(out, z->used, s->n_pair * sizeof(int64_t));
    }
    for (size_t c = 0; c < s->p.n_ch; c++) out = put(out, s->buffer + c * s->cap, s->fill * sizeof(float));
    return LL_OK;
}

static int load(ll_spectrum_sums *s, const unsigned char *bytes, size_t len) {
    head h;
    if (len < sizeof h) return LL_STATE;
    bytes = get(bytes, &h, sizeof h);
    if (memcmp(h.tag, TAG, 4) || h.version != VERSION || memcmp(&h.plan, &s->p, sizeof h.plan) || h.window_hash != s->window_hash ||
        h.fill >= s->cap || h.groups >= s->p.part || h.size != len || len != size_with(s, h.fill))
        return LL_STATE;
    s->fill = h.fill, s->groups = h.groups, s->segments = h.segments;
    for (int i = 0; i < 2; i++) {
        const ll_sums *z = i ? &s->part : &s->total;
        bytes = get(bytes, z->acc, s->n_acc * sizeof(double));
        bytes = get(bytes, z->weight, s->n_pair * sizeof(double));
        bytes = get(bytes, z->used, s->n_pair * sizeof(int64_t));
    }
    s->filled = 1;
    if (!s->groups) clear(s, &s->part);
    for (size_t c = 0; c < s->p.n_ch; c++) bytes = get(bytes, s->buffer + c * s->cap, s->fill * sizeof(float));
    return LL_OK;
}

const ll_spectrum_api LL_FN(ll_spectrum_api) = {
    .open = open_, .close = close_, .push = push, .fetch = fetch, .reset = reset, .restart = restart, .power = power, .matrix = matrix,
    .average = average, .merge = merge, .weights = weights, .each = ll_sums_each, .size = size, .save = save, .load = load,
};
