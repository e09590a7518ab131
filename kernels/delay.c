/* Weights, peaks and their exact places for many pairs; delay.h says what is computed.
 *
 *     weigh    blocks of BLOCK lines, all pairs of a block before the next: the rows S[k][i][..] of a block stay in the cache
 *              while every j is taken from them. Sums of a pair run over lines in LANES strands, joined in one fixed tree.
 *     peaks    lags -edge .. edge of the padded transform, scaled; largest value; parabola; Newton on
 *              f(a) = sum Re cross[k] exp(i k a):   f' = -sum k Im z,   f'' = -sum k^2 Re z,   z = cross[k] exp(i k a).
 *              exp(i k a) runs along k by rotation, V lines at a time, and starts anew from libm every RENEW lines.
 */
#include "delay.h"

#include <math.h>

#define INLINE static inline __attribute__((always_inline))
#define BLOCK 64
#define LANES 8
#define RENEW 2048
#define STEPS 20 /* of Newton's method; 2 or 3 are needed */

#if defined(__AVX__)
#define V 4
#else
#define V 2
#endif
typedef double vd __attribute__((vector_size(8 * V)));
typedef double vdu __attribute__((vector_size(8 * V), aligned(8), may_alias));

static int fits(const ll_delay_plan *p) {
    if (!p->n_f || !p->n_ch) return LL_EMPTY;
    if (p->lo < 1 || p->lo > p->hi || p->hi > p->n_f || p->stride < p->n_f) return LL_SHAPE;
    if (p->weighting > LL_DELAY_HT || p->polarity > LL_DELAY_EITHER || !(p->certain > 0.0) || !(p->certain < 1.0)) return LL_RANGE;
    return LL_OK;
}

/* ---- weights ----------------------------------------------------------------------------------------------------- */

/* One cell of the matrix at n lines from line k on. */
INLINE void gather(const ll_delay_plan *p, const void *s, size_t k, size_t n, size_t cell, double *re, double *im) {
    size_t step = 2 * p->n_ch * p->n_ch, at = k * step + 2 * cell;
    if (p->wide) {
        const double *x = (const double *)s + at;
        for (size_t t = 0; t < n; t++, x += step) re[t] = x[0], im[t] = x[1];
    } else {
        const float *x = (const float *)s + at;
        for (size_t t = 0; t < n; t++, x += step) re[t] = x[0], im[t] = x[1];
    }
}

static int channels(const ll_delay_plan *p, const void *s, double *root, double *share) {
    int status = fits(p);
    if (status) return status;
    double im[BLOCK];
    for (size_t i = 0; i < p->n_ch; i++) {
        double *a = root + i * p->n_f, most = 0.0;
        for (size_t k = 0; k < p->n_f; k += BLOCK) {
            size_t n = p->n_f - k < BLOCK ? p->n_f - k : BLOCK;
            gather(p, s, k, n, i * p->n_ch + i, a + k, im);
        }
        if (share) {
            double *h = share + i * p->n_f;
            for (size_t k = p->lo; k < p->hi; k++) most = a[k] > most ? a[k] : most;
            double unit = most > 0.0 ? 1.0 / sqrt(most) : 0.0;
            for (size_t k = 0; k < p->n_f; k++) h[k] = (a[k] > 0.0 ? sqrt(a[k]) : 0.0) * unit;
        }
        for (size_t k = 0; k < p->n_f; k++) a[k] = a[k] <= 0.0 ? 0.0 : 1.0 / sqrt(a[k]); /* NaN stays NaN */
    }
    return LL_OK;
}

typedef struct { double size[LANES], top[LANES], bottom[LANES]; } strands;

/* u of BLOCK lines from |c| and gamma2 */
INLINE void factor(const ll_delay_plan *p, const double *hi, const double *hj, const double *mag, const double *g, double *u) {
    double most = 1.0 - p->certain;
    switch (p->weighting) {
    case LL_DELAY_CC:
        for (size_t t = 0; t < BLOCK; t++) u[t] = hi[t] * hj[t];
        break;
    case LL_DELAY_ROTH:
        for (size_t t = 0; t < BLOCK; t++) u[t] = hi[t] > 0.0 ? hj[t] / hi[t] : 0.0;
        break;
    case LL_DELAY_SCOT:
        for (size_t t = 0; t < BLOCK; t++) u[t] = 1.0;
        break;
    case LL_DELAY_PHAT:
        for (size_t t = 0; t < BLOCK; t++) u[t] = mag[t] > 0.0 ? 1.0 / mag[t] : 0.0;
        break;
    default:
        for (size_t t = 0; t < BLOCK; t++) u[t] = mag[t] / (1.0 - (g[t] > most ? most : g[t]));
    }
}

INLINE void put(const ll_delay_plan *p, void *to, size_t at, size_t n, const double *re, const double *im) {
    if (p->wide) {
        double *o = (double *)to + 2 * at;
        for (size_t t = 0; t < n; t++) o[2 * t] = re[t], o[2 * t + 1] = im[t];
    } else {
        float *o = (float *)to + 2 * at;
        for (size_t t = 0; t < n; t++) o[2 * t] = (float)re[t], o[2 * t + 1] = (float)im[t];
    }
}

typedef struct { const double *ri, *rj, *hi, *hj, *say; } lines; /* of BLOCK lines; say is 0 beyond n */

/* Lines k .. k+n-1 of one pair; n <= BLOCK, what lies beyond n is 0 in every array of x. */
INLINE void weigh_block(const ll_delay_plan *p, const void *s, size_t cell, size_t k, size_t n, const lines *x, size_t pair, void *cross,
                        void *coherence, strands *sum) {
    double re[BLOCK], im[BLOCK], mag[BLOCK], g[BLOCK], u[BLOCK], w[BLOCK];
    for (size_t t = n; t < BLOCK; t++) re[t] = im[t] = 0.0;
    gather(p, s, k, n, cell, re, im);
    for (size_t t = 0; t < BLOCK; t++) {
        double a = re[t] * x->ri[t] * x->rj[t], b = im[t] * x->ri[t] * x->rj[t], q = a * a + b * b;
        re[t] = a, im[t] = b, mag[t] = sqrt(q), g[t] = q > 1.0 ? 1.0 : q;
    }
    if (p->wide) memcpy((double *)coherence + pair * p->n_f + k, g, n * sizeof(double));
    else
        for (size_t t = 0; t < n; t++) ((float *)coherence)[pair * p->n_f + k + t] = (float)g[t];
    factor(p, x->hi, x->hj, mag, g, u);
    for (size_t t = 0; t < BLOCK; t++) {
        double say = x->say[t], v = say > 0.0 ? say * u[t] : 0.0; /* not a product: outside the band a NaN is nobody's */
        re[t] = say > 0.0 ? re[t] * v : 0.0, im[t] = say > 0.0 ? im[t] * v : 0.0;
        w[t] = say > 0.0 ? mag[t] * v : 0.0;
        u[t] = say > 0.0 ? say * u[t] * u[t] * (1.0 - g[t]) : 0.0;
    }
    for (size_t t = 0; t < BLOCK; t += LANES)
        for (size_t l = 0; l < LANES; l++) {
            double at = (double)(int)(k + t + l), k2 = at * at;
            sum->size[l] += w[t + l], sum->bottom[l] += k2 * w[t + l], sum->top[l] += k2 * u[t + l];
        }
    put(p, cross, pair * p->stride + k, n, re, im);
}

INLINE double joined(const double *x) { return ((x[0] + x[4]) + (x[2] + x[6])) + ((x[1] + x[5]) + (x[3] + x[7])); }

/* Where a channel's lines from k on can be read BLOCK at a time: in place, or copied and filled up with zeros. */
INLINE const double *whole(const double *x, size_t n, double *room) {
    if (n == BLOCK) return x;
    memset(room, 0, BLOCK * sizeof(double));
    memcpy(room, x, n * sizeof(double));
    return room;
}

static int weigh(const ll_delay_plan *p, const void *s, const double *root, const double *share, const int64_t *pairs, size_t n_pairs,
                 void *cross, void *coherence, ll_delay_sums *sums) {
    int status = fits(p);
    if (status) return status;
    for (size_t q = 0; q < 2 * n_pairs; q++)
        if (pairs[q] < 0 || (size_t)pairs[q] >= p->n_ch) return LL_RANGE;
    if (!share && p->weighting <= LL_DELAY_ROTH) return LL_SHAPE;
    strands *sum = calloc(n_pairs ? n_pairs : 1, sizeof *sum);
    if (!sum) return LL_NOMEM;
    double spare[5][BLOCK];
    for (size_t k = 0; k < p->n_f; k += BLOCK) {
        size_t n = p->n_f - k < BLOCK ? p->n_f - k : BLOCK;
        lines x = {.hi = spare[2], .hj = spare[3], .say = whole(p->say + k, n, spare[4])};
        for (size_t q = 0; q < n_pairs; q++) {
            size_t i = (size_t)pairs[2 * q], j = (size_t)pairs[2 * q + 1];
            x.ri = whole(root + i * p->n_f + k, n, spare[0]), x.rj = whole(root + j * p->n_f + k, n, spare[1]);
            if (p->weighting <= LL_DELAY_ROTH)
                x.hi = whole(share + i * p->n_f + k, n, spare[2]), x.hj = whole(share + j * p->n_f + k, n, spare[3]);
            weigh_block(p, s, i * p->n_ch + j, k, n, &x, q, cross, coherence, sum + q);
        }
    }
    for (size_t q = 0; q < n_pairs; q++)
        sums[q] = (ll_delay_sums){joined(sum[q].size), joined(sum[q].top), joined(sum[q].bottom)};
    free(sum);
    return LL_OK;
}

/* ---- peaks ------------------------------------------------------------------------------------------------------- */

/* Lags -edge .. edge of one transform times gain; sign > 0: index of the largest, < 0: of the smallest, 0: of the largest in size;
 * the first of equals. */
#define CUT(NAME, T)                                                                                                     \
    static size_t NAME(const T *full, size_t n, size_t edge, double gain, int sign, T *r) {                              \
        T g = (T)gain, best[LANES], top;                                                                                 \
        size_t count = 2 * edge + 1, t = 0;                                                                              \
        for (size_t i = 0; i < edge; i++) r[i] = full[n - edge + i] * g;                                                 \
        for (size_t i = 0; i <= edge; i++) r[edge + i] = full[i] * g;                                                    \
        T up = sign < 0 ? -1 : 1;                                                                                        \
        for (size_t l = 0; l < LANES; l++) best[l] = -(T)INFINITY;                                                       \
        if (sign)                                                                                                        \
            for (; t + LANES <= count; t += LANES)                                                                       \
                for (size_t l = 0; l < LANES; l++) best[l] = up * r[t + l] > best[l] ? up * r[t + l] : best[l];           \
        else                                                                                                             \
            for (; t + LANES <= count; t += LANES)                                                                       \
                for (size_t l = 0; l < LANES; l++) {                                                                     \
                    T size = r[t + l] < 0 ? -r[t + l] : r[t + l];                                                        \
                    best[l] = size > best[l] ? size : best[l];                                                           \
                }                                                                                                        \
        top = best[0];                                                                                                   \
        for (size_t l = 1; l < LANES; l++) top = best[l] > top ? best[l] : top;                                          \
        for (; t < count; t++) {                                                                                         \
            T value = sign ? up * r[t] : r[t] < 0 ? -r[t] : r[t];                                                        \
            top = value > top ? value : top;                                                                             \
        }                                                                                                                \
        for (t = 0; t + 1 < count; t++)                                                                                  \
            if ((sign ? up * r[t] : r[t] < 0 ? -r[t] : r[t]) >= top) break;                                              \
        return t;                                                                                                        \
    }
CUT(cut32, float)
CUT(cut64, double)

typedef struct { double value, slope, bend; } shape;

INLINE double across(const vd *v) {
#if V == 4
    return ((*v)[0] + (*v)[2]) + ((*v)[1] + (*v)[3]);
#else
    return (*v)[0] + (*v)[1];
#endif
}

/* f, f' and f'' at angle a per line; re and im hold lines lo .. hi-1 and zeros up to a multiple of 2 V. */
static shape at_angle(const double *re, const double *im, size_t lo, size_t hi, double a) {
    vd value = {0}, slope = {0}, bend = {0};
    double turn_re = cos(2 * V * a), turn_im = sin(2 * V * a);
    for (size_t begin = lo; begin < hi; begin += RENEW) {
        size_t end = hi - begin < RENEW ? hi : begin + RENEW;
        double first[3][2 * V];
        for (size_t l = 0; l < 2 * V; l++) {
            double line = (double)(begin + l);
            first[0][l] = cos(line * a), first[1][l] = sin(line * a), first[2][l] = line;
        }
        vd c[2], s[2], k[2];
        memcpy(c, first[0], sizeof c), memcpy(s, first[1], sizeof s), memcpy(k, first[2], sizeof k);
        for (size_t t = begin - lo; t < end - lo; t += 2 * V)
            for (size_t h = 0; h < 2; h++) {
                vd x = *(const vdu *)(re + t + h * V), y = *(const vdu *)(im + t + h * V);
                vd z_re = x * c[h] - y * s[h], z_im = x * s[h] + y * c[h], kz = k[h] * z_re, next = c[h] * turn_re - s[h] * turn_im;
                value += z_re, slope -= k[h] * z_im, bend -= k[h] * kz;
                s[h] = c[h] * turn_im + s[h] * turn_re, c[h] = next, k[h] += 2.0 * V;
            }
    }
    return (shape){across(&value), across(&slope), across(&bend)};
}

/* The maximum of f (sign +1) or minimum (-1) within one step of the grid peak, from `from`; both in steps of n to a turn. */
static double newton(const double *re, const double *im, const ll_delay_plan *p, double sign, double grid, double from, size_t n,
                     double *value) {
    double unit = 2.0 * M_PI / (double)n, at = from;
    shape f = {0};
    for (int i = 0; i < STEPS; i++) {
        f = at_angle(re, im, p->lo, p->hi, at * unit);
        if (!(sign * f.bend < 0.0)) {
            *value = at_angle(re, im, p->lo, p->hi, grid * unit).value;
            return grid;
        }
        double move = -f.slope / f.bend / unit, to = at + move;
        at = to < grid - 1.0 ? grid - 1.0 : to > grid + 1.0 ? grid + 1.0 : to;
        if (fabs(move) < 1e-5) break; /* the error is squared by the step just done */
    }
    *value = f.value;
    return at;
}

INLINE double number(const ll_delay_plan *p, const void *x, size_t i) { return p->wide ? ((const double *)x)[i] : (double)((const float *)x)[i]; }

static void spread(const ll_delay_plan *p, const void *cross, size_t pair, double *re, double *im) {
    size_t at = 2 * (pair * p->stride + p->lo), n = p->hi - p->lo;
    if (p->wide) {
        const double *x = (const double *)cross + at;
        for (size_t t = 0; t < n; t++) re[t] = x[2 * t], im[t] = x[2 * t + 1];
    } else {
        const float *x = (const float *)cross + at;
        for (size_t t = 0; t < n; t++) re[t] = x[2 * t], im[t] = x[2 * t + 1];
    }
}

/* The top of the parabola through the peak and its neighbours: a start for Newton that saves it a step. */
INLINE double parabola(const ll_delay_plan *p, const void *r, size_t i, size_t count) {
    if (i == 0 || i + 1 >= count) return 0.0;
    double a = number(p, r, i - 1), b = number(p, r, i), c = number(p, r, i + 1), bend = a - 2.0 * b + c;
    double move = bend != 0.0 ? 0.5 * (a - c) / bend : 0.0;
    return move > 0.5 ? 0.5 : move < -0.5 ? -0.5 : move;
}

static int peaks(const ll_delay_plan *p, const void *cross, const void *full, size_t n, size_t edge, const ll_delay_sums *sums,
                 size_t n_pairs, void *r, double *at, double *peak) {
    int status = fits(p);
    if (status) return status;
    if (n < 2 || 2 * edge >= n) return LL_SHAPE;
    size_t count = 2 * edge + 1, size = p->wide ? sizeof(double) : sizeof(float);
    size_t room = p->hi - p->lo + RENEW % (2 * V) + 2 * V;
    double *re = calloc(2 * room, sizeof(double)), *im = re + room;
    if (!re) return LL_NOMEM;
    for (size_t q = 0; q < n_pairs; q++) {
        double total = sums[q].size, gain = total > 0.0 ? 0.5 * (double)n / total : total;
        int sign = p->polarity == LL_DELAY_SAME ? 1 : p->polarity == LL_DELAY_INVERTED ? -1 : 0;
        char *own = (char *)r + q * count * size;
        const char *from = (const char *)full + q * n * size;
        size_t i = p->wide ? cut64((const double *)from, n, edge, gain, sign, (double *)own)
                           : cut32((const float *)from, n, edge, gain, sign, (float *)own);
        if (!(total > 0.0)) { /* nothing to hear, or NaN */
            at[q] = NAN, peak[q] = total;
            continue;
        }
        double grid = (double)i - (double)edge, up = sign ? sign : number(p, own, i) < 0.0 ? -1.0 : 1.0;
        spread(p, cross, q, re, im);
        at[q] = newton(re, im, p, up, grid, grid + parabola(p, own, i, count), n, peak + q);
        peak[q] /= total;
    }
    free(re);
    return LL_OK;
}

const ll_delay_api LL_FN(ll_delay_api) = {channels, weigh, peaks};
