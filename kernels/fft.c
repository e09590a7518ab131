/* One complex transform for two real rows, inside the first cache.
 *
 *     z[t] = a[t] + i b[t],   Z[k] = sum_t z[t] exp(-2 pi i k t / n)
 *     |A[k]|^2 + |B[k]|^2 = (|Z[k]|^2 + |Z[n-k]|^2) / 2,   A[k] = (Z[k] + conj Z[n-k]) / 2,   B[k] = (Z[k] - conj Z[n-k]) / 2i
 *
 * so two rows cost no separate real-to-complex step. n = first * middle * last, decimation in frequency, vectors along time:
 *
 *     first     rows a and b are read once (window and trend on the way), radix 8 or 16 over points n/first apart, twiddles
 *     middle    inside each of the `first` blocks of n/first points: radix 4, 8 or 16, twiddles; up to two such passes
 *     last      vectors out of LL_F neighbouring blocks are turned over, so that lanes are the blocks; radix 8 or 16 without
 *               twiddles; block r1, middle index q, last index k is bin r1 + first (q + middle k): lanes are neighbours
 *
 * What each pass leaves lies in cells {re[LL_F], im[LL_F]} of LL_F points; a block is one cell longer than its points, or the
 * blocks of a long transform would share a few sets of the cache. n below 64 is a product with the matrix of the transform. */
#include "fft.h"

#include <math.h>

#include "radix.h"

struct ll_fft {
    size_t n;
    size_t first, middle[2], last, n_middle; /* n_middle: how many; an unused middle is 1 */
    size_t block;                            /* cells from one block to the next */
    float *window, *nothing;
    cell *z, *twiddle[3]; /* [0] of the first pass, [1], [2] of the middle ones; below 64: [0] the matrix */
};

static void *room(size_t bytes) { return aligned_alloc(64, (bytes + 127) / 64 * 64); }

/* w_len^(j k), k = 1 .. radix-1, for each cell of points j = 0 .. len/radix - 1. root[i] is w_n^i. */
static cell *twiddles(size_t len, size_t radix, const float *root, size_t n) {
    cell *whole = room((len / radix) * (radix - 1) * 2 * sizeof(float)), *w = whole;
    for (size_t j = 0; w && j < len / radix; j += LL_F)
        for (size_t k = 1; k < radix; k++, w++)
            for (size_t l = 0; l < LL_F; l++) {
                size_t i = (j + l) * k * (n / len) & (n - 1);
                w->re[l] = root[2 * i], w->im[l] = root[2 * i + 1];
            }
    return whole;
}

/* Cells [t][k] of the matrix. */
static cell *matrix(const float *root, size_t n) {
    cell *whole = room(n * n * 2 * sizeof(float)), *w = whole;
    for (size_t t = 0; w && t < n; t++)
        for (size_t k = 0; k < n; k += LL_F, w++)
            for (size_t l = 0; l < LL_F; l++) {
                size_t i = t * (k + l) & (n - 1);
                w->re[l] = root[2 * i], w->im[l] = root[2 * i + 1];
            }
    return whole;
}

void ll_fft_close(ll_fft *f) {
    if (!f) return;
    for (int i = 0; i < 3; i++) free(f->twiddle[i]);
    free(f->window), free(f->nothing), free(f->z), free(f);
}

/* Radices first, middle, middle, last for n = 64 << i, as they were found to be fastest. */
static const unsigned char RADICES[][4] = {{8, 1, 1, 8},    {16, 1, 1, 8},  {8, 4, 1, 8},   {16, 4, 1, 8},
                                           {16, 8, 1, 8},   {16, 16, 1, 8}, {16, 16, 1, 16}, {8, 8, 8, 16},
                                           {8, 16, 16, 8},  {8, 16, 16, 16}, {16, 16, 16, 16}};

/* w_n^i as {cos, sin}, i < n: an eighth of them is computed, the others are these turned and mirrored. */
static float *roots(size_t n) {
    float *root = room(2 * n * sizeof(float));
    for (size_t i = 0; root && i <= n / 8; i++) {
        const double angle = 2.0 * M_PI * (double)i / (double)n;
        const float c = (float)cos(angle), s = (float)sin(angle);
        const size_t at[8] = {i, n / 4 - i, n / 4 + i, n / 2 - i, n / 2 + i, 3 * n / 4 - i, 3 * n / 4 + i, n - i};
        const float re[8] = {c, s, -s, -c, -c, -s, s, c}, im[8] = {-s, -c, -c, -s, s, c, c, s};
        for (int q = 0; q < 8; q++) root[2 * (at[q] & (n - 1))] = re[q], root[2 * (at[q] & (n - 1)) + 1] = im[q];
    }
    return root;
}

static int make_tables(ll_fft *f, const float *root) {
    if (f->n < 64) return (f->twiddle[0] = matrix(root, f->n)) != NULL;
    const unsigned char *r = RADICES[__builtin_ctzl(f->n) - 6];
    f->first = r[0], f->middle[0] = r[1], f->middle[1] = r[2], f->last = r[3];
    f->n_middle = (r[1] > 1) + (r[2] > 1);
    f->block = f->n / f->first / LL_F + 1;
    f->z = room(f->first * f->block * sizeof(cell));
    f->twiddle[0] = twiddles(f->n, r[0], root, f->n);
    int good = f->z && f->twiddle[0];
    for (size_t i = 0, len = f->n / r[0]; i < f->n_middle; len /= r[1 + i], i++)
        good &= (f->twiddle[1 + i] = twiddles(len, r[1 + i], root, f->n)) != NULL;
    return good;
}

ll_fft *ll_fft_open(size_t n, const float *window) {
    ll_fft *f = calloc(1, sizeof *f);
    float *root = roots(n);
    int good = f && root;
    if (good) {
        f->n = n;
        f->window = room(n * sizeof(float)), f->nothing = room(n * sizeof(float));
        good = f->window && f->nothing && make_tables(f, root);
    }
    if (good) memcpy(f->window, window, n * sizeof(float)), memset(f->nothing, 0, n * sizeof(float));
    free(root);
    if (good) return f;
    ll_fft_close(f);
    return NULL;
}

/* ---- passes ------------------------------------------------------------------------------------------------------ */

enum { PLAIN, LEVEL, ANY };

/* Rows of many samples come from far away: while these are transformed, the next ones can be on their way to the second
 * cache. Longer transforms need the room in the caches for themselves. */
#define MOST_AHEAD 2048

LL_INLINE ll_vf sample(const ll_segment *s, const float *x, ll_vf w, ll_vf time, int trend) {
    ll_vf v = ll_loadf(x);
    if (trend == PLAIN) return v * w;
    if (trend == ANY) w *= s->gain;
    ll_vf fine = EACH(s->fine);
    if (trend == ANY) fine = MUL_ADD(EACH(s->slope), time, fine);
    return SUB_MUL(fine, w, (v - s->coarse) * w);
}

LL_INLINE void first_pass(const ll_fft *f, const ll_segment two[2], int radix, int trend, size_t n, int ahead) {
    const size_t apart = n / (size_t)radix, block = apart / LL_F + 1;
    const ll_segment a = two[0], b = two[1];
    const float *xa = a.x ? a.x : f->nothing, *xb = b.x ? b.x : f->nothing;
    const cell *w = f->twiddle[0];
    ll_vf time;
    for (int l = 0; l < LL_F; l++) time[l] = (float)l - 0.5f * (float)(n - 1);
    for (size_t j = 0; j < apart; j += LL_F, w += radix - 1) {
        cell x[16], *to = f->z + j / LL_F;
        if (ahead)
            for (size_t i = 0; i < (size_t)radix * LL_F; i += 16) __builtin_prefetch(xb + n + j * (size_t)radix + i, 0, 2);
#pragma GCC unroll 16
        for (int i = 0; i < radix; i++) {
            const size_t t = j + (size_t)i * apart;
            const ll_vf window = *(const ll_vf *)(f->window + t), when = time + (float)t;
            x[i].re = sample(&a, xa + t, window, when, trend);
            x[i].im = sample(&b, xb + t, window, when, trend);
        }
        butterfly(x, radix);
        to[0] = x[0];
#pragma GCC unroll 16
        for (int k = 1; k < radix; k++) to[(size_t)k * block] = TURN(x[PLACE(radix, k)], w[k - 1].re, w[k - 1].im);
    }
}

/* One block of len points, in place. */
LL_INLINE void middle_pass(cell *z, size_t len, const cell *twiddle, int radix) {
    const size_t apart = len / (size_t)radix / LL_F;
    for (size_t j = 0; j < apart; j++, z++, twiddle += radix - 1) {
        cell x[16];
#pragma GCC unroll 16
        for (int i = 0; i < radix; i++) x[i] = z[(size_t)i * apart];
        butterfly(x, radix);
        z[0] = x[0];
#pragma GCC unroll 16
        for (int k = 1; k < radix; k++) z[(size_t)k * apart] = TURN(x[PLACE(radix, k)], twiddle[k - 1].re, twiddle[k - 1].im);
    }
}

static void middle4(cell *z, size_t len, const cell *w) { middle_pass(z, len, w, 4); }
static void middle8(cell *z, size_t len, const cell *w) { middle_pass(z, len, w, 8); }
static void middle16(cell *z, size_t len, const cell *w) { middle_pass(z, len, w, 16); }

static void middle(cell *z, size_t len, const cell *w, size_t radix) {
    if (radix == 4) middle4(z, len, w);
    else if (radix == 8) middle8(z, len, w);
    else middle16(z, len, w);
}

enum { POWER, MORE_POWER, BINS };

LL_INLINE void put(cell z, size_t k, int what, float *re, float *im) {
    if (what == BINS) {
        *(ll_vf *)(re + k) = z.re, *(ll_vf *)(im + k) = z.im;
        return;
    }
    ll_vf p = MUL_ADD(z.re, z.re, z.im * z.im);
    if (what == MORE_POWER) p += *(const ll_vf *)(re + k);
    *(ll_vf *)(re + k) = p;
}

LL_INLINE void last_pass(const ll_fft *f, int radix, int what, float *re, float *im) {
    const size_t first = f->first, m1 = f->middle[0], m2 = f->middle[1], stride = first * m1 * m2;
    for (size_t q = 0; q < m1 * m2; q++) { /* place q1 m2 + q2 of a block is for bins q1 + m1 q2 */
        const size_t bin = first * (q / m2 + m1 * (q % m2));
        for (size_t r = 0; r < first; r += LL_F) {
            const cell *from = f->z + r * f->block + q * (size_t)radix / LL_F;
            cell x[16];
#pragma GCC unroll 4
            for (int c = 0; c < radix / LL_F; c++) {
                ll_vf a[LL_F], b[LL_F];
#pragma GCC unroll 8
                for (int i = 0; i < LL_F; i++) a[i] = from[(size_t)i * f->block + c].re, b[i] = from[(size_t)i * f->block + c].im;
                turn_over(a), turn_over(b);
#pragma GCC unroll 8
                for (int i = 0; i < LL_F; i++) x[c * LL_F + i] = (cell){a[i], b[i]};
            }
            butterfly(x, radix);
#pragma GCC unroll 16
            for (int k = 0; k < radix; k++) put(x[PLACE(radix, k)], bin + r + stride * (size_t)k, what, re, im);
        }
    }
}

LL_INLINE void small(const ll_fft *f, const ll_segment two[2], int what, float *re, float *im) {
    const size_t n = f->n;
    float a[32], b[32];
    for (size_t t = 0; t < n; t += LL_F) {
        ll_vf window = *(const ll_vf *)(f->window + t), time;
        for (int l = 0; l < LL_F; l++) time[l] = (float)(t + (size_t)l) - 0.5f * (float)(n - 1);
        ll_storef(a + t, sample(two, two[0].x ? two[0].x + t : f->nothing, window, time, ANY));
        ll_storef(b + t, sample(two + 1, two[1].x ? two[1].x + t : f->nothing, window, time, ANY));
    }
    for (size_t k = 0; k < n; k += LL_F) {
        const cell *w = f->twiddle[0] + k / LL_F;
        cell z[4] = {{{0}, {0}}, {{0}, {0}}, {{0}, {0}}, {{0}, {0}}}; /* of every fourth sample */
        for (size_t t = 0; t < n; t += 4)
#pragma GCC unroll 4
            for (size_t i = 0; i < 4; i++, w += n / LL_F) {
                z[i].re = SUB_MUL(EACH(b[t + i]), w->im, MUL_ADD(EACH(a[t + i]), w->re, z[i].re));
                z[i].im = MUL_ADD(EACH(b[t + i]), w->re, MUL_ADD(EACH(a[t + i]), w->im, z[i].im));
            }
        put((cell){(z[0].re + z[1].re) + (z[2].re + z[3].re), (z[0].im + z[1].im) + (z[2].im + z[3].im)}, k, what, re, im);
    }
}

/* With the length known to the compiler, addresses cost nothing. */
#define FIRST(radix, trend, n)                                                      \
    case n:                                                                         \
        first_pass(f, two, radix, trend, n, ahead && n <= MOST_AHEAD);              \
        return;

LL_INLINE void first_of(const ll_fft *f, const ll_segment two[2], int trend, int ahead) {
    switch (f->n) {
        FIRST(8, trend, 64)
        FIRST(16, trend, 128)
        FIRST(8, trend, 256)
        FIRST(16, trend, 512)
        FIRST(16, trend, 1024)
        FIRST(16, trend, 2048)
        FIRST(16, trend, 4096)
        FIRST(8, trend, 8192)
        FIRST(8, trend, 16384)
        FIRST(8, trend, 32768)
        FIRST(16, trend, 65536)
    }
}

static void first_plain(const ll_fft *f, const ll_segment two[2], int ahead) { first_of(f, two, PLAIN, ahead); }
static void first_level(const ll_fft *f, const ll_segment two[2], int ahead) { first_of(f, two, LEVEL, ahead); }
static void first_any(const ll_fft *f, const ll_segment two[2]) {
    if (f->first == 8) first_pass(f, two, 8, ANY, f->n, 0);
    else first_pass(f, two, 16, ANY, f->n, 0);
}

LL_INLINE void transform(ll_fft *f, const ll_segment two[2], int what, float *re, float *im) {
    if (f->n < 64) {
        small(f, two, what, re, im);
        return;
    }
    int trend = PLAIN;
    for (int i = 0; i < 2; i++) {
        const ll_segment *s = two + i;
        if (!s->x) continue;
        if (s->slope != 0.0f || s->gain != 1.0f) trend = ANY;
        else if (trend == PLAIN && (s->coarse != 0.0f || s->fine != 0.0f)) trend = LEVEL;
    }
    if (trend == PLAIN) first_plain(f, two, what != BINS);
    else if (trend == LEVEL) first_level(f, two, what != BINS);
    else first_any(f, two);
    for (size_t b = 0; f->n_middle && b < f->first; b++) {
        cell *z = f->z + b * f->block;
        size_t len = f->n / f->first;
        middle(z, len, f->twiddle[1], f->middle[0]);
        len /= f->middle[0];
        if (f->n_middle == 2)
            for (size_t i = 0; i < f->middle[0]; i++) middle(z + i * len / LL_F, len, f->twiddle[2], f->middle[1]);
    }
    if (f->last == 8) last_pass(f, 8, what, re, im);
    else last_pass(f, 16, what, re, im);
}

void ll_fft_powers(ll_fft *f, const ll_segment two[2], int add, float *sum) {
    if (add) transform(f, two, MORE_POWER, sum, NULL);
    else transform(f, two, POWER, sum, NULL);
}

void ll_fft_bins(ll_fft *f, const ll_segment two[2], float *re, float *im) {
    transform(f, two, BINS, re, im);
    re[f->n] = re[0], im[f->n] = im[0];
}
