/* A segment on its way: level and unit, transform of two at once, bins apart again, products of two rows.
 *
 *     z = x + i y, Z its transform (fft.c):   2 X[k] = Z[k] + conj Z[n-k],   2 Y[k] = -i (Z[k] - conj Z[n-k])
 *
 * Planes hold twice the bins, eight of a segment in a cache line after eight of the one before, so that the sums of a pair read
 * both rows once from front to back, with every sum of eight bins in a register. */
#include "bins.h"

#include <math.h>

#include "radix.h"
#include "trend.h"

enum { FLUSH = 8 }; /* segments summed in float32 before doubles take over: off by a part in 1e7 */

static void *room(size_t bytes) {
    bytes = (bytes + 127) / 64 * 64;
    void *p = aligned_alloc(64, bytes);
    return p ? memset(p, 0, bytes) : NULL;
}

void ll_bins_close(ll_bins *c) {
    if (!c) return;
    ll_fft_close(c->fft);
    free(c->x), free(c->re), free(c->im), free(c->circle), free(c);
}

/* cos(2 pi i / n) exactly symmetric: an eighth is computed. */
static double cosine(size_t i, size_t n) {
    i &= n - 1;
    if (i > n / 2) i = n - i;
    if (i > n / 4) return -cosine(n / 2 - i, n);
    return i > n / 8 ? sin(2.0 * M_PI * (double)(n / 4 - i) / (double)n) : cos(2.0 * M_PI * (double)i / (double)n);
}

ll_bins *ll_bins_open(size_t n) {
    if (n < 16 || n > 65536 || (n & (n - 1))) return NULL;
    ll_bins *c = calloc(1, sizeof *c);
    float *window = room(n * sizeof(float));
    int good = c && window;
    if (good) {
        c->n = n, c->n_f = n / 2 + 1;
        c->x = room(2 * n * sizeof(float)), c->re = room((n + 8) * sizeof(float)), c->im = room((n + 8) * sizeof(float));
        c->circle = room((n + n / 4) * sizeof(double));
        good = c->x && c->re && c->im && c->circle;
    }
    if (good) {
        for (size_t i = 0; i < n + n / 4; i++) c->circle[i] = cosine(i, n);
        for (size_t i = 0; i < n; i++) window[i] = (float)(0.5 - 0.5 * c->circle[i]);
        good = (c->fft = ll_fft_open(n, window)) != NULL;
    }
    free(window);
    if (good) return c;
    ll_bins_close(c);
    return NULL;
}

/* ---- samples ------------------------------------------------------------------------------------------------------- */

LL_INLINE ll_vd load(const void *x, size_t i, int kind) {
    if (kind != LL_CROSS_I16) return ll_load(x, i, kind == LL_CROSS_F64);
    const int16_t *at = (const int16_t *)x + i;
#if defined(__AVX2__)
    return (ll_vd)_mm256_cvtepi32_pd(_mm_cvtepi16_epi32(_mm_loadl_epi64((const __m128i *)at)));
#elif defined(__SSE4_1__)
    int32_t two;
    memcpy(&two, at, sizeof two);
    return (ll_vd)_mm_cvtepi32_pd(_mm_cvtepi16_epi32(_mm_cvtsi32_si128(two)));
#else
    ll_vd d;
    for (int l = 0; l < LL_D; l++) d[l] = (double)at[l];
    return d;
#endif
}

LL_INLINE double one(const void *x, size_t i, int kind) {
    return kind == LL_CROSS_I16 ? (double)((const int16_t *)x)[i] : ll_get(x, i, kind == LL_CROSS_F64);
}

/* The power of two that brings a swing of this size to 1 .. 2; 1 for silence. */
static double gain_for(double swing) {
    if (!(swing > 0.0)) return 1.0;
    int e = -ilogb(swing);
    return ldexp(1.0, e > 1020 ? 1020 : e < -1020 ? -1020 : e);
}

/* Sum of part x (part a power of two small enough that nothing overflows), largest x and largest -x. With `skip` of the finite
 * samples, and how many they are; without, sum, high or low is not finite where a sample is not. */
typedef struct {
    double sum, high, low;
    size_t finite;
} extent;

LL_INLINE extent extent_of(const void *x, int kind, size_t n, double part, int skip) {
    ll_vd sum[2] = {{0}, {0}}, high[2] = {ll_all(-INFINITY), ll_all(-INFINITY)}, low[2] = {ll_all(-INFINITY), ll_all(-INFINITY)};
    ll_vi count[2] = {{0}, {0}};
    size_t t = 0;
    for (; t + 2 * LL_D <= n; t += 2 * LL_D)
        for (int h = 0; h < 2; h++) {
            ll_vd v = load(x, t + (size_t)h * LL_D, kind), up = v, down = -v;
            if (skip && kind != LL_CROSS_I16) {
                const ll_vi is = v - v == 0.0;
                count[h] -= is;
                up = ll_choose(is, v, high[h]), down = ll_choose(is, down, low[h]), v = (ll_vd)(is & (ll_vi)v);
            }
            sum[h] += v * part, high[h] = ll_above(up, high[h]), low[h] = ll_above(down, low[h]);
        }
    extent e = {0.0, -INFINITY, -INFINITY, skip && kind != LL_CROSS_I16 ? 0 : t};
    for (int h = 0; h < 2; h++)
        for (int l = 0; l < LL_D; l++) {
            e.sum += sum[h][l], e.finite += (size_t)count[h][l];
            e.high = high[h][l] > e.high ? high[h][l] : e.high, e.low = low[h][l] > e.low ? low[h][l] : e.low;
        }
    for (; t < n; t++) {
        const double v = one(x, t, kind);
        if (skip && !(v - v == 0.0)) continue;
        e.finite++, e.sum += v * part;
        e.high = v > e.high ? v : e.high, e.low = -v > e.low ? -v : e.low;
    }
    return e;
}

/* y = x gain - level; level is in the unit of y. */
LL_INLINE void put_off(const void *x, int kind, size_t n, double gain, double level, float *y) {
    size_t t = 0;
    for (; t + LL_D <= n; t += LL_D) ll_store(y, t, load(x, t, kind) * gain - level, 0);
    for (; t < n; t++) y[t] = (float)(one(x, t, kind) * gain - level);
}

LL_INLINE double level_of(const void *x, int kind, size_t n, float *y) {
    const double part = 1.0 / (double)n; /* exact: n is a power of two */
    const extent e = extent_of(x, kind, n, part, 0);
    if (!isfinite(e.sum) || isinf(e.high) || isinf(e.low)) return 0.0;
    const double high = e.high - e.sum, low = e.low + e.sum, gain = gain_for(0.5 * (high > low ? high : low));
    put_off(x, kind, n, gain, e.sum * gain, y);
    return 1.0 / gain;
}

double ll_bins_level(const void *x, int kind, size_t n, float *y) {
    return kind == LL_CROSS_I16 ? level_of(x, LL_CROSS_I16, n, y) : kind == LL_CROSS_F32 ? level_of(x, LL_CROSS_F32, n, y)
                                                                                       : level_of(x, LL_CROSS_F64, n, y);
}

/* Whole numbers stay exact: only their unit changes. */
LL_INLINE double row_of(const void *x, int kind, size_t n, float *out) {
    const double part = ldexp(1.0, -64);
    const extent e = extent_of(x, kind, n, part, 1);
    const double mean = e.finite ? e.sum / (double)e.finite / part : 0.0, level = kind == LL_CROSS_I16 ? 0.0 : mean;
    const double high = e.high - level, low = e.low + level, gain = gain_for(0.5 * (high > low ? high : low));
    put_off(x, kind, n, gain, level * gain, out);
    return 1.0 / gain;
}

double ll_bins_row(const void *x, int kind, size_t n, float *out) {
    return kind == LL_CROSS_I16 ? row_of(x, LL_CROSS_I16, n, out) : kind == LL_CROSS_F32 ? row_of(x, LL_CROSS_F32, n, out)
                                                                                       : row_of(x, LL_CROSS_F64, n, out);
}

/* Samples at the ends, and those within 2 % of the swing short of them. */
LL_INLINE double clipped_of(const void *x, int kind, size_t n) {
    const extent e = extent_of(x, kind, n, 0x1p-64, 1);
    const double high = e.high, low = -e.low, near = 0.02 * (high - low), below = low + near, above = high - near;
    if (!e.finite || high == low) return 0.0;
    ll_vi at = {0}, close = {0};
    size_t t = 0, ends = 0, shy = 0;
    for (; t + LL_D <= n; t += LL_D) {
        const ll_vd v = load(x, t, kind);
        const ll_vi end = (v == low) | (v == high);
        at -= end;
        close -= ((v <= below) | (v >= above)) & (v >= low) & (v <= high) & ~end;
    }
    for (int l = 0; l < LL_D; l++) ends += (size_t)at[l], shy += (size_t)close[l];
    for (; t < n; t++) {
        const double v = one(x, t, kind);
        if (v == low || v == high) ends++;
        else if ((v > low && v <= below) || (v < high && v >= above)) shy++;
    }
    return ends > shy ? (double)ends / (double)e.finite : 0.0;
}

double ll_bins_clipped(const void *x, int kind, size_t n) {
    return kind == LL_CROSS_I16 ? clipped_of(x, LL_CROSS_I16, n) : kind == LL_CROSS_F32 ? clipped_of(x, LL_CROSS_F32, n)
                                                                                      : clipped_of(x, LL_CROSS_F64, n);
}

/* ---- bins ---------------------------------------------------------------------------------------------------------- */

size_t ll_bins_size(size_t n, size_t n_seg) { return (n / 2 / 8 + 1) * n_seg * 16; }

/* Bins of both segments of a transform, at a and b (NULL: there is none), `step` floats on per 8. */
static void lay_out(const ll_bins *c, float *a, float *b, size_t step) {
    const size_t n = c->n;
    for (size_t f = 0; f < n / 2; f += 8, a += step, b += b ? step : 0)
        for (size_t h = 0; h < 8; h += LL_F) {
            const size_t k = f + h;
            ll_vf re = *(const ll_vf *)(c->re + k), im = *(const ll_vf *)(c->im + k);
            ll_vf re2 = backwards(ll_loadf(c->re + n - k - (LL_F - 1))), im2 = backwards(ll_loadf(c->im + n - k - (LL_F - 1)));
            *(ll_vf *)(a + h) = re + re2, *(ll_vf *)(a + 8 + h) = im - im2;
            if (b) *(ll_vf *)(b + h) = im + im2, *(ll_vf *)(b + 8 + h) = re2 - re;
        }
    memset(a, 0, 16 * sizeof(float));
    a[0] = 2.0f * c->re[n / 2];
    if (!b) return;
    memset(b, 0, 16 * sizeof(float));
    b[0] = 2.0f * c->im[n / 2];
}

int ll_bins_planes(ll_bins *c, const float *row, size_t n_row, size_t from, size_t n_seg, float *planes, unsigned char *sound) {
    const size_t n = c->n, hop = n / 2;
    if (!n_seg) return LL_OK;
    if (n_row < n || from > n_row - n || n_seg - 1 > (n_row - n - from) / hop) return LL_SHAPE;
    for (size_t g = 0; g < n_seg; g += 2) {
        ll_segment two[2] = {{.x = NULL}, {.x = NULL}};
        for (size_t i = 0; i < 2 && g + i < n_seg; i++) {
            const float *x = row + from + (g + i) * hop;
            const double mean = ll_trend_sum(x, n) / (double)n;
            if (!(sound[g + i] = isfinite(mean) != 0)) continue;
            const float coarse = (float)mean;
            two[i] = (ll_segment){.x = x, .coarse = coarse, .fine = (float)(mean - coarse), .gain = 1.0f};
        }
        ll_fft_bins(c->fft, two, c->re, c->im);
        lay_out(c, planes + g * 16, g + 1 < n_seg ? planes + (g + 1) * 16 : NULL, n_seg * 16);
    }
    return LL_OK;
}

/* ---- products ------------------------------------------------------------------------------------------------------ */

/* Sums of eight bins, in lanes: |A|^2, |B|^2, their product, conj(A) B. */
enum { AA, BB, QQ, RE, IM, SUMS };

typedef struct {
    double of[SUMS][8];
} eight;

/* to += what k segments of a part add, h of the eight bins; k <= FLUSH. a and b are {re[8], im[8]} a segment. */
LL_INLINE void add_few(const float *a, const float *b, const unsigned char *both, size_t k, size_t h, eight *to) {
    ll_vf sum[SUMS] = {{0}, {0}, {0}, {0}, {0}};
    for (size_t g = 0; g < k; g++, a += 16, b += 16) {
        if (!both[g]) continue;
        const ll_vf ar = *(const ll_vf *)(a + h), ai = *(const ll_vf *)(a + 8 + h);
        const ll_vf br = *(const ll_vf *)(b + h), bi = *(const ll_vf *)(b + 8 + h);
        const ll_vf aa = MUL_ADD(ar, ar, ai * ai), bb = MUL_ADD(br, br, bi * bi);
        sum[AA] += aa, sum[BB] += bb, sum[QQ] = MUL_ADD(aa, bb, sum[QQ]);
        sum[RE] = MUL_ADD(ai, bi, MUL_ADD(ar, br, sum[RE])), sum[IM] = SUB_MUL(ai, br, MUL_ADD(ar, bi, sum[IM]));
    }
#pragma GCC unroll 5
    for (int i = 0; i < SUMS; i++) {
        float part[LL_F];
        ll_storef(part, sum[i]);
        for (size_t d = 0; d < LL_F; d += LL_D) ll_store(to->of[i], h + d, ll_load(to->of[i], h + d, 1) + ll_load(part, d, 0), 1);
    }
}

/* out[k] = gain * turn[k] * (re + i im), m of 8 bins, and the same added to sum. */
LL_INLINE void put_part(const eight *e, const double *turn, double gain, size_t m, double *out, double *sum) {
    for (size_t l = 0; l < m; l++) {
        const double re = e->of[RE][l], im = e->of[IM][l], c = turn[2 * l] * gain, s = turn[2 * l + 1] * gain;
        const double x = re * c - im * s, y = re * s + im * c;
        out[2 * l] = x, out[2 * l + 1] = y;
        sum[2 * l] += x, sum[2 * l + 1] += y;
    }
}

int ll_bins_pair(ll_bins *c, ll_cross_rows *r, double *power, double *s12, double *parts) {
    const size_t n_f = c->n_f, n_part = (r->n_seg + r->per_part - 1) / r->per_part;
    if (r->n_seg > r->n_a || r->n_seg > r->n_b || !r->per_part) return LL_SHAPE;
    unsigned char *both = calloc(r->n_seg + 1, 1);
    if (!both) return LL_NOMEM;
    r->used = 0;
    for (size_t g = 0; g < r->n_seg; g++) r->used += both[g] = r->sound_a[g] & r->sound_b[g];
    const double share = r->used ? 1.0 / (double)r->used : 0.0;
    const double ua = 0.25 * r->unit_a * r->unit_a, ub = 0.25 * r->unit_b * r->unit_b;
    const double cross = 0.25 * r->unit_a * r->unit_b * share;
    const size_t step = (size_t)r->shift & (c->n - 1);
    for (size_t k = 0; k < n_f; k += 8) {
        const size_t m = n_f - k < 8 ? n_f - k : 8;
        const float *a = r->a + k / 8 * r->n_a * 16, *b = r->b + k / 8 * r->n_b * 16;
        double turn[16], whole[16] = {0};
        eight sum = {{{0}}};
        for (size_t l = 0; l < 8; l++) ll_bins_turned(c, step, k + l, turn + 2 * l, turn + 2 * l + 1);
        for (size_t p = 0; p < n_part; p++) {
            const size_t end = (p + 1) * r->per_part < r->n_seg ? (p + 1) * r->per_part : r->n_seg;
            memset(sum.of[RE], 0, sizeof sum.of[RE]), memset(sum.of[IM], 0, sizeof sum.of[IM]);
            for (size_t g = p * r->per_part; g < end; g += FLUSH)
                for (size_t h = 0; h < 8; h += LL_F)
                    add_few(a + g * 16, b + g * 16, both + g, end - g < FLUSH ? end - g : FLUSH, h, &sum);
            put_part(&sum, turn, cross, m, parts + 2 * (p * n_f + k), whole);
        }
        memcpy(s12 + 2 * k, whole, 2 * m * sizeof(double));
        for (size_t l = 0; l < m; l++) {
            power[k + l] = sum.of[AA][l] * share * ua, power[n_f + k + l] = sum.of[BB][l] * share * ub;
            power[2 * n_f + k + l] = sum.of[QQ][l] * share * ua * ub;
        }
    }
    free(both);
    return LL_OK;
}
