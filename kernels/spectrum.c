/* Lane-batched real FFT and the sums over it; spectrum.h says what is summed.
 *
 * One batch, eight rows of n samples side by side:
 *
 *     load     trend and window along time, then 8x8 transposes: y[t][lane]. Sample pairs (y[2j], y[2j+1]) are read as
 *              one complex z[j], so n real samples become m = n/2 complex ones.
 *     fft      Stockham, radix 4, one radix-2 stage at the end if log2 m is odd. Stage with length l, stride s (l*s = m):
 *              out[q + s(4p+r)] = w_l^(rp) * sum_k (-i)^(rk) in[q + s(p + k l/4)]    p < l/4, q < s, r < 4
 *     split    X[k] = E + w_n^k O,  X[m-k] = conj(E - w_n^k O),
 *              E = (z[k] + conj z[m-k]) / 2,  O = -i (z[k] - conj z[m-k]) / 2;  X[0], X[m] = re z[0] +- im z[0]
 *
 * An element of lanes is {re[8], im[8]}: 64 bytes, one cache line. Means, sums and products over segments are double.
 */
#include "spectrum.h"

#include <math.h>

#define GROUP 8
#define VERSION 1u
static const char TAG[4] = {'L', 'L', 'S', 'P'};

typedef float v8 __attribute__((vector_size(32)));
typedef float v8u __attribute__((vector_size(32), aligned(4), may_alias));
typedef int v8i __attribute__((vector_size(32)));
typedef double v8d __attribute__((vector_size(64)));
typedef struct { v8 re, im; } lanes;

#define INLINE static inline __attribute__((always_inline))
#define DOUBLE(v) __builtin_convertvector(v, v8d)

struct ll_spectrum_sums {
    ll_spectrum_plan p;
    size_t m, n_f, n_f8, n_pair, n_acc; /* complex length, bins, groups of 8 bins, pairs of rows, doubles of the sums */
    size_t cap, fill;                   /* of the buffer, in samples per row */
    uint64_t window_hash;
    float *window, *twiddle, *split, *buffer, *planes;
    lanes *a, *b;
    double *acc;
    int64_t *used;
    unsigned char *sound; /* [GROUP][n_ch] of the group in the planes: 0 where the row was left out */
};

/* ---- memory ------------------------------------------------------------------------------------------------------ */

static void *room(size_t bytes) {
    size_t whole = (bytes + 63) / 64 * 64;
    void *p = aligned_alloc(64, whole ? whole : 64);
    if (p) memset(p, 0, whole ? whole : 64);
    return p;
}

static uint64_t fnv1a(const void *bytes, size_t n) {
    const unsigned char *b = bytes;
    uint64_t h = 1469598103934665603u;
    for (size_t i = 0; i < n; i++) h = (h ^ b[i]) * 1099511628211u;
    return h;
}

static void close_(ll_spectrum_sums *s) {
    if (!s) return;
    free(s->window), free(s->twiddle), free(s->split), free(s->buffer), free(s->planes);
    free(s->a), free(s->b), free(s->acc), free(s->used), free(s->sound), free(s);
}

/* Twiddles in the order the stages read them: per stage and p, w^p w^2p w^3p as {re, im}. */
static void fill_twiddles(ll_spectrum_sums *s) {
    float *t = s->twiddle;
    for (size_t l = s->m; l >= 4; l /= 4)
        for (size_t p = 0; p < l / 4; p++)
            for (size_t r = 1; r < 4; r++) {
                double angle = -2.0 * M_PI * (double)(p * r) / (double)l;
                *t++ = (float)cos(angle), *t++ = (float)sin(angle);
            }
    for (size_t k = 0; k <= s->m / 2; k++) {
        double angle = -2.0 * M_PI * (double)k / (double)s->p.n;
        s->split[2 * k] = (float)cos(angle), s->split[2 * k + 1] = (float)sin(angle);
    }
}

static ll_spectrum_sums *open_(const ll_spectrum_plan *p, const float *window) {
    if (p->n < 16 || p->n > 65536 || (p->n & (p->n - 1)) || !p->hop || p->hop > p->n || !p->n_ch || p->detrend > 2) return NULL;
    ll_spectrum_sums *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    size_t n_ch = p->n_ch;
    s->p = *p;
    s->m = p->n / 2;
    s->n_f = s->m + 1;
    s->n_f8 = (s->n_f + 7) / 8;
    s->n_pair = p->cross ? n_ch * (n_ch + 1) / 2 : n_ch;
    s->n_acc = p->cross ? s->n_f8 * s->n_pair * 16 : s->n_pair * s->n_f;
    s->cap = p->n + (GROUP - 1) * (size_t)p->hop;
    s->window = room(p->n * sizeof(float));
    s->twiddle = room(2 * s->m * sizeof(float) + 64);
    s->split = room((s->m + 2) * sizeof(float));
    s->buffer = room(n_ch * s->cap * sizeof(float));
    s->planes = room(p->cross ? GROUP * n_ch * s->n_f8 * 16 * sizeof(float) : 0);
    s->a = room((s->n_f8 * 8 + 1) * sizeof(lanes));
    s->b = room((s->n_f8 * 8 + 1) * sizeof(lanes));
    s->acc = room(s->n_acc * sizeof(double));
    s->used = room(s->n_pair * sizeof(int64_t));
    s->sound = room(GROUP * n_ch);
    if (!s->window || !s->twiddle || !s->split || !s->buffer || !s->planes || !s->a || !s->b || !s->acc || !s->used ||
        !s->sound) {
        close_(s);
        return NULL;
    }
    memcpy(s->window, window, p->n * sizeof(float));
    s->window_hash = fnv1a(window, p->n * sizeof(float));
    fill_twiddles(s);
    return s;
}

/* ---- load: trend, window, transpose ------------------------------------------------------------------------------ */

INLINE double sum8(const v8d *p) {
    v8d v = *p;
    return ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7]));
}

/* Mean and slope per sample, by least squares about the middle of the segment. A sum of floats cannot overflow a double,
 * so the sum is finite exactly where every sample is. */
static int trend(const float *x, size_t n, uint32_t detrend, double *mean, double *slope) {
    const double centre = 0.5 * (double)(n - 1);
    v8d at = {0, 1, 2, 3, 4, 5, 6, 7}, sum = {0}, moment = {0};
    at -= centre;
    if (detrend == LL_DETREND_LINEAR)
        for (size_t t = 0; t < n; t += 8, at += 8.0) {
            v8d v = DOUBLE(*(const v8u *)(x + t));
            sum += v;
            moment += at * v;
        }
    else
        for (size_t t = 0; t < n; t += 8) sum += DOUBLE(*(const v8u *)(x + t));
    double total = sum8(&sum), nn = (double)n;
    *mean = detrend == LL_DETREND_NONE ? 0.0 : total / nn;
    *slope = detrend == LL_DETREND_LINEAR ? sum8(&moment) * 12.0 / (nn * (nn * nn - 1.0)) : 0.0;
    return isfinite(total);
}

INLINE void transpose8(v8 r[8]) {
    static const v8i lo = {0, 8, 1, 9, 4, 12, 5, 13}, hi = {2, 10, 3, 11, 6, 14, 7, 15};
    static const v8i lo2 = {0, 1, 8, 9, 4, 5, 12, 13}, hi2 = {2, 3, 10, 11, 6, 7, 14, 15};
    static const v8i lo4 = {0, 1, 2, 3, 8, 9, 10, 11}, hi4 = {4, 5, 6, 7, 12, 13, 14, 15};
    v8 a[8], b[8];
    for (int i = 0; i < 8; i += 2) {
        a[i] = __builtin_shuffle(r[i], r[i + 1], lo);
        a[i + 1] = __builtin_shuffle(r[i], r[i + 1], hi);
    }
    for (int i = 0; i < 8; i += 4) {
        b[i] = __builtin_shuffle(a[i], a[i + 2], lo2);
        b[i + 1] = __builtin_shuffle(a[i], a[i + 2], hi2);
        b[i + 2] = __builtin_shuffle(a[i + 1], a[i + 3], lo2);
        b[i + 3] = __builtin_shuffle(a[i + 1], a[i + 3], hi2);
    }
    for (int i = 0; i < 4; i++) {
        r[i] = __builtin_shuffle(b[i], b[i + 4], lo4);
        r[i + 4] = __builtin_shuffle(b[i], b[i + 4], hi4);
    }
}

/* Rows into s->a as y[t][lane]; a NULL row and a row left out are zeros. `sound[lane]` is 1 where the row counts.
 * The trend is taken off in two steps, x - (float)mean and then the rest: the first is exact for samples near the mean,
 * so a large offset costs no digits. */
static void load8(ll_spectrum_sums *s, const float *const row[8], int sound[8]) {
    const size_t n = s->p.n;
    static const float nothing[8] = {0};
    float *y = (float *)s->a;
    const float *at[8];
    size_t step[8];
    float coarse[8], fine[8], slope[8];
    const float centre = 0.5f * (float)(n - 1);
    for (int l = 0; l < 8; l++) {
        double mean = 0.0, b = 0.0;
        sound[l] = row[l] != NULL;
        if (row[l] && (s->p.detrend || s->p.skip)) sound[l] = trend(row[l], n, s->p.detrend, &mean, &b) || !s->p.skip;
        coarse[l] = sound[l] ? (float)mean : 0.0f;
        fine[l] = sound[l] ? (float)(mean - coarse[l]) : 0.0f;
        slope[l] = sound[l] ? (float)b : 0.0f;
        at[l] = sound[l] ? row[l] : nothing;
        step[l] = sound[l] ? 8 : 0;
    }
    v8 time = {0, 1, 2, 3, 4, 5, 6, 7};
    time -= centre;
    for (size_t t = 0; t < n; t += 8, time += 8.0f) {
        v8 r[8], w = *(const v8 *)(s->window + t);
        for (int l = 0; l < 8; l++) {
            v8 v = *(const v8u *)at[l] - coarse[l];
            at[l] += step[l];
            if (s->p.detrend == LL_DETREND_LINEAR) v -= fine[l] + slope[l] * time;
            else v -= fine[l];
            r[l] = v * w;
        }
        transpose8(r);
        for (int i = 0; i < 8; i++) *(v8 *)(y + (t + i) * 8) = r[i];
    }
}

/* ---- transform --------------------------------------------------------------------------------------------------- */

/* Macros, because what a function that takes vectors looks like from outside differs between instruction sets. */
#define ADD(x, y) ((lanes){(x).re + (y).re, (x).im + (y).im})
#define SUB(x, y) ((lanes){(x).re - (y).re, (x).im - (y).im})
#define TURN(z, cos, sin) ((lanes){(z).re * (cos) - (z).im * (sin), (z).re * (sin) + (z).im * (cos)})

/* The four sums of a radix-4 butterfly, before the twiddles. */
INLINE void four(const lanes *x, size_t apart, lanes out[4]) {
    lanes a = x[0], b = x[apart], c = x[2 * apart], d = x[3 * apart];
    lanes even = ADD(a, c), odd = SUB(a, c), sum = ADD(b, d), diff = SUB(b, d);
    out[0] = ADD(even, sum);
    out[1] = (lanes){odd.re + diff.im, odd.im - diff.re};
    out[2] = SUB(even, sum);
    out[3] = (lanes){odd.re - diff.im, odd.im + diff.re};
}

static const float *stage4(const lanes *x, lanes *y, size_t l, size_t s, const float *w) {
    for (size_t p = 0; p < l / 4; p++, w += 6)
        for (size_t q = 0; q < s; q++) {
            lanes f[4], *to = y + q + 4 * s * p;
            four(x + q + s * p, s * (l / 4), f);
            to[0] = f[0];
            to[s] = TURN(f[1], w[0], w[1]);
            to[2 * s] = TURN(f[2], w[2], w[3]);
            to[3 * s] = TURN(f[3], w[4], w[5]);
        }
    return w;
}

/* l = 4: every twiddle is 1. */
static void stage4_last(const lanes *x, lanes *y, size_t s) {
    for (size_t q = 0; q < s; q++) {
        lanes f[4];
        four(x + q, s, f);
        for (size_t r = 0; r < 4; r++) y[q + r * s] = f[r];
    }
}

static void stage2_last(const lanes *x, lanes *y, size_t s) {
    for (size_t q = 0; q < s; q++) {
        lanes a = x[q], b = x[q + s];
        y[q] = ADD(a, b);
        y[q + s] = SUB(a, b);
    }
}

/* The n/2+1 bins of the real transform out of the m complex ones. */
static void split_real(const lanes *z, lanes *x, size_t m, const float *w) {
    x[0] = (lanes){z[0].re + z[0].im, z[0].re * 0.0f};
    x[m] = (lanes){z[0].re - z[0].im, z[0].re * 0.0f};
    for (size_t k = 1; k <= m / 2; k++) {
        lanes a = z[k], b = z[m - k];
        lanes even = {(a.re + b.re) * 0.5f, (a.im - b.im) * 0.5f};
        lanes half = {(a.im + b.im) * 0.5f, (b.re - a.re) * 0.5f}, odd = TURN(half, w[2 * k], w[2 * k + 1]);
        x[m - k] = (lanes){even.re - odd.re, odd.im - even.im};
        x[k] = ADD(even, odd);
    }
}

/* Eight rows; the bins end in the array that is answered. */
static const lanes *transform8(ll_spectrum_sums *s, const float *const row[8], int sound[8]) {
    load8(s, row, sound);
    lanes *from = s->a, *to = s->b, *swap;
    const float *w = s->twiddle;
    size_t l = s->m, stride = 1;
    for (; l > 4; l /= 4, stride *= 4) {
        w = stage4(from, to, l, stride, w);
        swap = from, from = to, to = swap;
    }
    if (l == 4) stage4_last(from, to, stride);
    else stage2_last(from, to, stride);
    split_real(to, from, s->m, s->split);
    return from;
}

/* ---- sums -------------------------------------------------------------------------------------------------------- */

INLINE void squared(const lanes *x, v8d *p) {
    v8d re = DOUBLE(x->re), im = DOUBLE(x->im);
    *p = re * re + im * im;
}

/* Adds k <= GROUP segments of one row, which lie in lanes at .. at+k-1, in the tree of a whole group. */
static void add_row(const lanes *x, size_t n_f, int at, int k, double *acc) {
    if (k == GROUP) {
        for (size_t f = 0; f < n_f; f++) {
            v8d p;
            squared(x + f, &p);
            acc[f] += sum8(&p);
        }
        return;
    }
    for (size_t f = 0; f < n_f; f++) {
        v8d p, own = {0};
        squared(x + f, &p);
        for (int i = 0; i < k; i++) own[i] = p[at + i];
        acc[f] += sum8(&own);
    }
}

static void add_powers(ll_spectrum_sums *s, const float *x, ptrdiff_t stride, size_t n_seg, double *acc, int64_t *used) {
    const float *row[8];
    int sound[8];
    size_t hop = s->p.hop;
    for (size_t c = 0; c < s->p.n_ch && n_seg >= GROUP; c++)
        for (size_t g = 0; g + GROUP <= n_seg; g += GROUP) {
            for (int l = 0; l < 8; l++) row[l] = x + (ptrdiff_t)c * stride + (g + l) * hop;
            add_row(transform8(s, row, sound), s->n_f, 0, GROUP, acc + c * s->n_f);
            for (int l = 0; l < 8; l++) used[c] += sound[l];
        }
    size_t k = n_seg % GROUP;
    if (!k) return;
    x += (n_seg - k) * hop;
    for (size_t c = 0, rows; c < s->p.n_ch; c += rows) { /* a short group leaves lanes for further rows */
        rows = 8 / k < s->p.n_ch - c ? 8 / k : s->p.n_ch - c;
        for (size_t l = 0; l < 8; l++) row[l] = l < rows * k ? x + (ptrdiff_t)(c + l / k) * stride + (l % k) * hop : NULL;
        const lanes *bins = transform8(s, row, sound);
        for (size_t r = 0; r < rows; r++) add_row(bins, s->n_f, (int)(r * k), (int)k, acc + (c + r) * s->n_f);
        for (size_t l = 0; l < rows * k; l++) used[c + l / k] += sound[l];
    }
}

/* Bins of lane l of a batch as planes [8 bins][segment][row]{re[8], im[8]}: place[l] is segment * n_ch + row. */
static void lay_out(const ll_spectrum_sums *s, const lanes *x, const size_t place[8], int n_lanes, float *planes) {
    size_t block = (size_t)GROUP * s->p.n_ch * 16;
    for (size_t b = 0; b < s->n_f8; b++) {
        v8 re[8], im[8];
        for (int i = 0; i < 8; i++) re[i] = x[b * 8 + i].re, im[i] = x[b * 8 + i].im;
        transpose8(re), transpose8(im);
        for (int l = 0; l < n_lanes; l++) {
            v8 *to = (v8 *)(planes + b * block + place[l] * 16);
            to[0] = re[l], to[1] = im[l];
        }
    }
}

/* acc [8 bins][pair]{re[8], im[8]}, pairs (i, j >= i) row by row; one segment after the other, so the order is the stream's. */
static void add_products(const ll_spectrum_sums *s, int k, double *acc) {
    size_t n_ch = s->p.n_ch;
    for (size_t b = 0; b < s->n_f8; b++) {
        const float *z = s->planes + b * GROUP * n_ch * 16;
        v8d *to = (v8d *)(acc + b * s->n_pair * 16);
        for (size_t i = 0; i < n_ch; i++)
            for (size_t j = i; j < n_ch; j++, to += 2) {
                v8d re = to[0], im = to[1];
                for (int g = 0; g < k; g++) {
                    const v8 *zi = (const v8 *)(z + (g * n_ch + i) * 16), *zj = (const v8 *)(z + (g * n_ch + j) * 16);
                    v8d ri = DOUBLE(zi[0]), ii = DOUBLE(zi[1]), rj = DOUBLE(zj[0]), ij = DOUBLE(zj[1]);
                    re += ri * rj + ii * ij;
                    im += ri * ij - ii * rj;
                }
                to[0] = re, to[1] = im;
            }
    }
}

static void add_matrix(ll_spectrum_sums *s, const float *x, ptrdiff_t stride, size_t n_seg, double *acc, int64_t *used) {
    const size_t n_ch = s->p.n_ch, hop = s->p.hop;
    for (size_t g = 0; g < n_seg; g += GROUP) {
        size_t k = n_seg - g < GROUP ? n_seg - g : GROUP, jobs = k * n_ch;
        for (size_t job = 0; job < jobs; job += 8) {
            const float *row[8];
            size_t place[8];
            int sound[8], n_lanes = jobs - job < 8 ? (int)(jobs - job) : 8;
            for (int l = 0; l < 8; l++) {
                place[l] = job + l;
                row[l] = l < n_lanes ? x + (ptrdiff_t)(place[l] % n_ch) * stride + (g + place[l] / n_ch) * hop : NULL;
            }
            lay_out(s, transform8(s, row, sound), place, n_lanes, s->planes);
            for (int l = 0; l < n_lanes; l++) s->sound[place[l]] = (unsigned char)sound[l];
        }
        add_products(s, (int)k, acc);
        for (size_t q = 0; q < k; q++) {
            const unsigned char *sound = s->sound + q * n_ch;
            for (size_t i = 0, pair = 0; i < n_ch; i++)
                for (size_t j = i; j < n_ch; j++) used[pair++] += sound[i] & sound[j];
        }
    }
}

/* ---- stream ------------------------------------------------------------------------------------------------------ */

static void add(ll_spectrum_sums *s, const float *x, ptrdiff_t stride, size_t n_seg, double *acc, int64_t *used) {
    if (s->p.cross) add_matrix(s, x, stride, n_seg, acc, used);
    else add_powers(s, x, stride, n_seg, acc, used);
}

static size_t whole_segments(const ll_spectrum_sums *s, size_t n) { return n < s->p.n ? 0 : 1 + (n - s->p.n) / s->p.hop; }

static void append(ll_spectrum_sums *s, const float *x, ptrdiff_t stride, size_t n) {
    for (size_t c = 0; c < s->p.n_ch; c++) memcpy(s->buffer + c * s->cap + s->fill, x + (ptrdiff_t)c * stride, n * sizeof(float));
    s->fill += n;
}

/* The buffer holds less than one group between calls. Samples that wait there are topped up to a group; as soon as the
 * next segment begins inside the caller's rows, whole groups are taken from there without a copy. */
static int push(ll_spectrum_sums *s, const float *x, ptrdiff_t stride, size_t n) {
    const size_t group = s->cap, forward = GROUP * (size_t)s->p.hop;
    while (s->fill + n >= group) {
        if (!s->fill) {
            size_t n_seg = whole_segments(s, n) / GROUP * GROUP, done = n_seg * s->p.hop;
            add(s, x, stride, n_seg, s->acc, s->used);
            x += done, n -= done;
            continue;
        }
        size_t had = s->fill;
        append(s, x, stride, group - had);
        add(s, s->buffer, (ptrdiff_t)s->cap, GROUP, s->acc, s->used);
        if (forward >= had) {
            x += forward - had, n -= forward - had;
            s->fill = 0;
        } else {
            for (size_t c = 0; c < s->p.n_ch; c++) {
                float *row = s->buffer + c * s->cap;
                memmove(row, row + forward, (had - forward) * sizeof(float));
            }
            s->fill = had - forward;
        }
    }
    append(s, x, stride, n);
    return LL_OK;
}

static void reset(ll_spectrum_sums *s) {
    s->fill = 0;
    memset(s->acc, 0, s->n_acc * sizeof(double));
    memset(s->used, 0, s->n_pair * sizeof(int64_t));
}

static void restart(ll_spectrum_sums *s) {
    add(s, s->buffer, (ptrdiff_t)s->cap, whole_segments(s, s->fill), s->acc, s->used);
    s->fill = 0;
}

/* The sums with the group that waits counted in, laid out as s->acc. */
static void look(ll_spectrum_sums *s, double *acc, int64_t *used) {
    memcpy(acc, s->acc, s->n_acc * sizeof(double));
    memcpy(used, s->used, s->n_pair * sizeof(int64_t));
    add(s, s->buffer, (ptrdiff_t)s->cap, whole_segments(s, s->fill), acc, used);
}

static int power(ll_spectrum_sums *s, double *out, int64_t *used) {
    if (!s->p.cross) {
        look(s, out, used);
        return LL_OK;
    }
    double *acc = room(s->n_acc * sizeof(double));
    int64_t *pairs = room(s->n_pair * sizeof(int64_t));
    if (acc && pairs) {
        look(s, acc, pairs);
        for (size_t i = 0, pair = 0; i < s->p.n_ch; pair += s->p.n_ch - i, i++) {
            used[i] = pairs[pair];
            for (size_t f = 0; f < s->n_f; f++) out[i * s->n_f + f] = acc[(f / 8 * s->n_pair + pair) * 16 + f % 8];
        }
    }
    int status = acc && pairs ? LL_OK : LL_NOMEM;
    free(acc), free(pairs);
    return status;
}

static int matrix(ll_spectrum_sums *s, double *out, int64_t *used) {
    const size_t n_ch = s->p.n_ch;
    if (!s->p.cross) return LL_SHAPE;
    double *acc = room(s->n_acc * sizeof(double));
    int64_t *pairs = room(s->n_pair * sizeof(int64_t));
    if (acc && pairs) {
        look(s, acc, pairs);
        for (size_t f = 0; f < s->n_f; f++)
            for (size_t i = 0, pair = 0; i < n_ch; i++)
                for (size_t j = i; j < n_ch; j++, pair++) {
                    const double *z = acc + (f / 8 * s->n_pair + pair) * 16 + f % 8;
                    double *ij = out + ((f * n_ch + i) * n_ch + j) * 2, *ji = out + ((f * n_ch + j) * n_ch + i) * 2;
                    ij[0] = z[0], ij[1] = z[8];
                    ji[0] = z[0], ji[1] = i == j ? z[8] : -z[8];
                    used[i * n_ch + j] = used[j * n_ch + i] = pairs[pair];
                }
    }
    int status = acc && pairs ? LL_OK : LL_NOMEM;
    free(acc), free(pairs);
    return status;
}

static int each(ll_spectrum_sums *s, const float *x, ptrdiff_t stride, size_t n_seg, const double *scale, float *out) {
    const size_t jobs = n_seg * s->p.n_ch;
    for (size_t job = 0; job < jobs; job += 8) {
        const float *row[8];
        int sound[8], n_lanes = jobs - job < 8 ? (int)(jobs - job) : 8;
        for (int l = 0; l < 8; l++)
            row[l] = l < n_lanes ? x + (ptrdiff_t)((job + l) / n_seg) * stride + (job + l) % n_seg * s->p.hop : NULL;
        const lanes *bins = transform8(s, row, sound);
        for (size_t f = 0; f < s->n_f; f += 8) {
            v8 p[8];
            size_t n = s->n_f - f < 8 ? s->n_f - f : 8;
            for (size_t i = 0; i < 8; i++) {
                v8d power;
                squared(bins + f + i, &power); /* beyond the last bin there are zeros */
                p[i] = __builtin_convertvector(power * (i < n ? scale[f + i] : 0.0), v8);
            }
            transpose8(p);
            for (int l = 0; l < n_lanes; l++) memcpy(out + (job + l) * s->n_f + f, &p[l], n * sizeof(float));
        }
    }
    return LL_OK;
}

/* ---- saved state: tag, version, size | plan, window's hash, fill | sums, counts, waiting samples ----------------- */

typedef struct {
    char tag[4];
    uint32_t version, size, reserved;
    ll_spectrum_plan plan;
    uint64_t window_hash, fill;
} head;

static size_t size(const ll_spectrum_sums *s) {
    return sizeof(head) + s->n_acc * sizeof(double) + s->n_pair * sizeof(int64_t) + s->p.n_ch * s->fill * sizeof(float);
}

static int save(const ll_spectrum_sums *s, unsigned char *out) {
    head h = {.version = VERSION, .size = (uint32_t)size(s), .plan = s->p, .window_hash = s->window_hash, .fill = s->fill};
    memcpy(h.tag, TAG, 4);
    memcpy(out, &h, sizeof h), out += sizeof h;
    memcpy(out, s->acc, s->n_acc * sizeof(double)), out += s->n_acc * sizeof(double);
    memcpy(out, s->used, s->n_pair * sizeof(int64_t)), out += s->n_pair * sizeof(int64_t);
    for (size_t c = 0; c < s->p.n_ch; c++, out += s->fill * sizeof(float))
        memcpy(out, s->buffer + c * s->cap, s->fill * sizeof(float));
    return LL_OK;
}

static int load(ll_spectrum_sums *s, const unsigned char *bytes, size_t len) {
    head h;
    if (len < sizeof h) return LL_STATE;
    memcpy(&h, bytes, sizeof h), bytes += sizeof h;
    if (memcmp(h.tag, TAG, 4) || h.version != VERSION || memcmp(&h.plan, &s->p, sizeof h.plan) || h.window_hash != s->window_hash ||
        h.fill >= s->cap)
        return LL_STATE;
    size_t had = s->fill;
    s->fill = h.fill;
    if (len != size(s) || h.size != (uint32_t)len) {
        s->fill = had;
        return LL_STATE;
    }
    memcpy(s->acc, bytes, s->n_acc * sizeof(double)), bytes += s->n_acc * sizeof(double);
    memcpy(s->used, bytes, s->n_pair * sizeof(int64_t)), bytes += s->n_pair * sizeof(int64_t);
    for (size_t c = 0; c < s->p.n_ch; c++, bytes += s->fill * sizeof(float))
        memcpy(s->buffer + c * s->cap, bytes, s->fill * sizeof(float));
    return LL_OK;
}

const ll_spectrum_api LL_FN(ll_spectrum_api) = {
    .open = open_, .close = close_, .push = push, .reset = reset, .restart = restart, .power = power, .matrix = matrix,
    .each = each, .size = size, .save = save, .load = load,
};
