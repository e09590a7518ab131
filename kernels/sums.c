/* Sums of |X|^2 and conj(X_i) X_j over groups of eight segments.
 *
 *     two segments of one row make one transform; the four transforms of a group are summed in float32, always in this
 *     order, and the group is added to doubles:      acc = keep^8 acc + sum_g keep^(7-g) |X_g|^2
 *
 * A group of k < 8 segments is summed the same way with keep^k, keep^(k-1-g). Eight positive numbers in float32 are off by a
 * part in 1e7 or so; thousands of groups need the doubles. So that no square leaves float32, samples far from 1 are
 * multiplied by a power of two, which changes no digit, and the sum is divided by its square in double.
 *
 * Neighbours that overlap share the sums that their means need: where hop divides n, sums of hop samples are kept. */
#include "sums.h"

#include <math.h>

#include "radix.h"
#include "trend.h"

#define MOST_SHARES 8 /* of n / hop, for the sums of hop samples */
#define LEAST_HOP 64

/* Sums of the stretches of hop samples that begin at a group's segments. */
typedef struct {
    size_t have;
    double sum[LL_GROUP + MOST_SHARES];
} stretches;

static void next_group(stretches *m) {
    m->have = m->have > LL_GROUP ? m->have - LL_GROUP : 0;
    memmove(m->sum, m->sum + LL_GROUP, m->have * sizeof(double));
}

static double segment_sum(const ll_spectrum_sums *s, const float *x, size_t g, stretches *m) {
    const size_t hop = s->p.hop, shares = s->p.n / hop;
    if (shares * hop != s->p.n || shares > MOST_SHARES || hop < LEAST_HOP) return ll_trend_sum(x + g * hop, s->p.n);
    for (; m->have < g + shares; m->have++) m->sum[m->have] = ll_trend_sum(x + m->have * hop, hop);
    double sum = m->sum[g];
    for (size_t i = 1; i < shares; i++) sum += m->sum[g + i];
    return sum;
}

/* Segment g of the group that begins at x. The trend is taken off in two steps, x - (float)mean and then the rest: the
 * first is exact for samples near the mean, so a large offset costs no digits. Answers whether it counts. */
static int look_at(const ll_spectrum_sums *s, const float *x, size_t g, float gain, stretches *m, ll_segment *out) {
    double mean = 0.0, slope = 0.0;
    *out = (ll_segment){.x = x + g * s->p.hop, .gain = gain};
    if (s->p.detrend == LL_DETREND_NONE && !s->p.skip) return 1;
    if (s->p.detrend == LL_DETREND_LINEAR) mean = ll_trend_line(out->x, s->p.n, &slope) / s->p.n;
    else mean = segment_sum(s, x, g, m) / s->p.n;
    if (s->p.skip && !isfinite(mean)) {
        *out = (ll_segment){.x = NULL};
        return 0;
    }
    if (s->p.detrend == LL_DETREND_NONE) return 1;
    out->coarse = (float)mean;
    out->fine = (float)(mean - out->coarse);
    out->slope = (float)slope;
    return 1;
}

/* The power of two that brings samples of this size to about 1; 1 where squares stay far inside float32 anyway. */
static float scale_for(float peak) {
    if (!(peak > 0.0f && peak <= 3.4e38f) || (peak > 0x1p-30f && peak < 0x1p30f)) return 1.0f;
    int e = -ilogbf(peak);
    return ldexpf(1.0f, e > 126 ? 126 : e < -126 ? -126 : e);
}

/* ---- powers of one row ------------------------------------------------------------------------------------------- */

/* sum_g |Z|^2 of k segments into s->re[n + 1], samples multiplied by scale. */
static void transform_group(ll_spectrum_sums *s, const float *x, size_t k, float scale, stretches *m, int sound[LL_GROUP]) {
    for (size_t g = 0; g < k; g += 2) {
        ll_segment two[2] = {{.x = NULL}, {.x = NULL}};
        for (size_t i = g; i < g + 2 && i < k; i++) sound[i] = look_at(s, x, i, scale * s->root[k - 1 - i], m, two + (i - g));
        ll_fft_powers(s->fft, two, g > 0, s->re);
    }
    s->re[s->p.n] = s->re[0];
}

/* As above; answers by what the sums are to be multiplied. What a few samples promise is held against what came out. */
static double powers(ll_spectrum_sums *s, const float *x, size_t k, stretches *m, int sound[LL_GROUP]) {
    const size_t n = s->p.n;
    float scale = scale_for(ll_trend_peak(x, n < 64 ? n : 64, 0.0f));
    transform_group(s, x, k, scale, m, sound);
    float most = ll_trend_peak(s->re, n, 0.0f);
    if (most < 0x1p-60f || isinf(most)) {
        float peak = ll_trend_peak(x, n + (k - 1) * s->p.hop, s->p.detrend ? x[0] : 0.0f), better = scale_for(peak);
        if (better != scale && better * peak < 4.0f) transform_group(s, x, k, scale = better, m, sound);
    }
    return 0.5 / ((double)scale * (double)scale);
}

/* to = to * keep + more * unit, LL_F doubles; unit is a power of two, so the product is exact and one rounding is all. */
LL_INLINE void add_floats(double *to, ll_vf more, double keep, double unit) {
    float part[LL_F];
    ll_storef(part, more);
    for (size_t h = 0; h < LL_F; h += LL_D) {
        ll_vd old = ll_load(to, h, 1);
        if (keep != 1.0) old *= keep;
        ll_store(to, h, ll_fma(ll_load(part, h, 0), ll_all(unit), old), 1);
    }
}

/* Bins k and n - k of the pairs are the power of bin k. */
static void fold(const float *z, size_t n, double keep, double unit, double *acc) {
    for (size_t f = 0; f < n / 2; f += LL_F)
        add_floats(acc + f, *(const ll_vf *)(z + f) + backwards(ll_loadf(z + n - f - (LL_F - 1))), keep, unit);
    acc[n / 2] = acc[n / 2] * keep + (double)(z[n / 2] + z[n / 2]) * unit;
}

/* k segments of one row or pair of rows. */
static void add_weights(const double *keep, const int *sound, size_t k, double *weight, int64_t *used) {
    double sum = 0.0;
    for (size_t g = 0; g < k; g++) {
        sum += sound[g] * keep[k - 1 - g];
        *used += sound[g];
    }
    *weight = *weight * keep[k] + sum;
}

static void add_powers(ll_spectrum_sums *s, const float *const *x, size_t at, size_t n_seg, ll_sums *to) {
    for (size_t c = 0; c < s->p.n_ch; c++) {
        const float *row = x[c] + at;
        stretches m = {.have = 0};
        for (size_t g = 0; g < n_seg; g += LL_GROUP, row += LL_GROUP * s->p.hop) {
            size_t k = n_seg - g < LL_GROUP ? n_seg - g : LL_GROUP;
            int sound[LL_GROUP];
            double unit = powers(s, row, k, &m, sound);
            fold(s->re, s->p.n, s->keep[k], unit, to->acc + c * s->n_f);
            add_weights(s->keep, sound, k, to->weight + c, to->used + c);
            next_group(&m);
        }
    }
}

int ll_sums_each(ll_spectrum_sums *s, const float *x, ptrdiff_t stride, size_t n_seg, const double *scale, float *out) {
    for (size_t c = 0; c < s->p.n_ch; c++) {
        stretches m = {.have = 0};
        for (size_t g = 0; g < n_seg; g++, out += s->n_f) {
            int sound[LL_GROUP];
            const float *at = x + (ptrdiff_t)c * stride + g * s->p.hop;
            const double unit = 2.0 * powers(s, at, 1, &m, sound);
            for (size_t f = 0; f < s->n_f; f++) out[f] = (float)((double)s->re[f] * (unit * scale[f]));
            m.have -= m.have > 0; /* on by one segment */
            memmove(m.sum, m.sum + 1, m.have * sizeof(double));
        }
    }
    return LL_OK;
}

/* ---- products of all rows ---------------------------------------------------------------------------------------- */

/* Bins of the two segments of a transform into the planes, at a and b (b NULL: there is no second); `step` floats on per 8. */
static void lay_out(const ll_spectrum_sums *s, float *a, float *b, size_t step) {
    const size_t n = s->p.n;
    for (size_t f = 0; f < s->n_f; f += 8, a += step, b += b ? step : 0)
        for (size_t h = 0; h < 8; h += LL_F) {
            const size_t k = f + h;
            if (k > n / 2) continue; /* what lies there stays 0 */
            ll_vf re = *(const ll_vf *)(s->re + k), im = *(const ll_vf *)(s->im + k);
            ll_vf re2 = backwards(ll_loadf(s->re + n - k - (LL_F - 1))), im2 = backwards(ll_loadf(s->im + n - k - (LL_F - 1)));
            *(ll_vf *)(a + h) = re + re2, *(ll_vf *)(a + 8 + h) = im - im2;
            if (b) *(ll_vf *)(b + h) = im + im2, *(ll_vf *)(b + 8 + h) = re2 - re;
        }
}

/* Transforms a group of row c; twice its bins are in the planes, times the scale that unit takes back. */
static void transform_row(ll_spectrum_sums *s, const float *x, size_t c, size_t k) {
    const size_t n_ch = s->p.n_ch, n = s->p.n;
    float scale = scale_for(ll_trend_peak(x, n + (k - 1) * s->p.hop, s->p.detrend ? x[0] : 0.0f));
    stretches m = {.have = 0};
    s->unit[c] = 0.5 / (double)scale;
    for (size_t g = 0; g < k; g += 2) {
        ll_segment two[2] = {{.x = NULL}, {.x = NULL}};
        for (size_t i = g; i < g + 2 && i < k; i++)
            s->sound[i * n_ch + c] = (unsigned char)look_at(s, x, i, scale * s->root[k - 1 - i], &m, two + (i - g));
        ll_fft_bins(s->fft, two, s->re, s->im);
        float *to = s->planes + (g * n_ch + c) * 16;
        lay_out(s, to, g + 1 < k ? to + n_ch * 16 : NULL, s->plane);
    }
}

/* sum_g conj(z_i) z_j for rows i .. i+ni-1 and j .. j+nj-1, in registers; z is [segment][row]{re[8], im[8]}. */
LL_INLINE void tile(const float *z, size_t n_ch, size_t k, size_t i, size_t j, int ni, int nj, ll_vf re[4], ll_vf im[4]) {
    for (int q = 0; q < ni * nj; q++) re[q] = im[q] = (ll_vf){0};
    for (size_t g = 0; g < k; g++, z += n_ch * 16)
#pragma GCC unroll 2
        for (int a = 0; a < ni; a++)
#pragma GCC unroll 2
            for (int b = 0; b < nj; b++) {
                const float *zi = z + (i + (size_t)a) * 16, *zj = z + (j + (size_t)b) * 16;
                ll_vf ri = *(const ll_vf *)zi, ii = *(const ll_vf *)(zi + 8);
                ll_vf rj = *(const ll_vf *)zj, ij = *(const ll_vf *)(zj + 8);
                int q = a * nj + b;
                re[q] = MUL_ADD(ri, rj, MUL_ADD(ii, ij, re[q]));
                im[q] = SUB_MUL(ii, rj, MUL_ADD(ri, ij, im[q]));
            }
}

LL_INLINE void products(const ll_spectrum_sums *s, size_t k, double keep, double *acc) {
    const size_t n_ch = s->p.n_ch;
    for (size_t b = 0; b < s->n_f8; b++, acc += s->n_pair * 16)
        for (size_t h = 0; h < 8; h += LL_F) {
            const float *z = s->planes + b * s->plane + h;
            for (size_t i = 0; i < n_ch; i += 2)
                for (size_t j = i; j < n_ch; j += 2) {
                    const int ni = i + 1 < n_ch ? 2 : 1, nj = j + 1 < n_ch ? 2 : 1;
                    ll_vf re[4], im[4];
                    if (ni == 2 && nj == 2) tile(z, n_ch, k, i, j, 2, 2, re, im);
                    else if (ni == 2) tile(z, n_ch, k, i, j, 2, 1, re, im);
                    else tile(z, n_ch, k, i, j, 1, 1, re, im);
                    for (int a = 0; a < ni; a++)
                        for (int c = 0; c < nj; c++) {
                            const size_t row = i + (size_t)a, column = j + (size_t)c;
                            if (column < row) continue;
                            double *to = acc + (row * n_ch - row * (row + 1) / 2 + column) * 16 + h;
                            const double unit = s->unit[row] * s->unit[column];
                            add_floats(to, re[a * nj + c], keep, unit);
                            if (column == row) continue; /* the imaginary part is 0, but for rounding */
                            add_floats(to + 8, im[a * nj + c], keep, unit);
                        }
                }
        }
}

static void add_products(const ll_spectrum_sums *s, size_t k, double *acc) {
    if (k == LL_GROUP && s->p.keep == 1.0) products(s, LL_GROUP, 1.0, acc);
    else products(s, k, s->keep[k], acc);
}

static void add_matrix(ll_spectrum_sums *s, const float *const *x, size_t at, size_t n_seg, ll_sums *to) {
    const size_t n_ch = s->p.n_ch;
    for (size_t g = 0; g < n_seg; g += LL_GROUP, at += LL_GROUP * s->p.hop) {
        size_t k = n_seg - g < LL_GROUP ? n_seg - g : LL_GROUP;
        for (size_t c = 0; c < n_ch; c++) transform_row(s, x[c] + at, c, k);
        add_products(s, k, to->acc);
        for (size_t i = 0, pair = 0; i < n_ch; i++)
            for (size_t j = i; j < n_ch; j++, pair++) {
                int both[LL_GROUP];
                for (size_t q = 0; q < k; q++) both[q] = s->sound[q * n_ch + i] & s->sound[q * n_ch + j];
                add_weights(s->keep, both, k, to->weight + pair, to->used + pair);
            }
    }
}

void ll_sums_add(ll_spectrum_sums *s, const float *const *x, size_t at, size_t n_seg, ll_sums *to) {
    if (s->p.cross) add_matrix(s, x, at, n_seg, to);
    else add_powers(s, x, at, n_seg, to);
}
