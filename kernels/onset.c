/* Recursive STA/LTA is the loop that must be fast. One recursion is a chain of a multiplication and an addition per
 * sample; cut into blocks of 8 it is one per block, and everything else runs in lanes, a lane a block:
 *
 *     lane 0   x0  x1 .. x7     within_j = a within_(j-1) + x_j^2          no lane waits for another
 *     lane 1   x8  x9 .. x15    before of a lane = a^8 before + within_7   of the lane above: the chain
 *     ...                       S_j      = a^(j+1) before + within_j       no lane waits for another
 *
 * Scalar and lane code do the same operations on the same numbers, so remainders and cuts leave no trace. */
#include "onset.h"

#include <math.h>

enum { B = LL_STA_BLOCK, SEGMENT = 1024, CHECK = 32768 };

/* A sum this small is set to 0 once in CHECK samples: decaying for ever in silence, it would end in denormal numbers. */
#define TINY 1e-250

#if defined(__AVX__)
enum { V = 4, G = 4, LOT = G * V * B }; /* lanes, vectors, samples taken together */
#else
enum { V = 2, G = 4, LOT = G * V * B };
#endif
typedef double vd __attribute__((vector_size(8 * V)));
typedef int64_t vi __attribute__((vector_size(8 * V)));
typedef double pair __attribute__((vector_size(16)));
typedef int64_t pair_mask __attribute__((vector_size(16)));
typedef float vf __attribute__((vector_size(4 * V)));

#if defined(__has_builtin) && __has_builtin(__builtin_shufflevector)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (vi){__VA_ARGS__})
#endif

#if defined(__AVX__)
#define FROM(a) ((vd){(a)[0], (a)[1], (a)[2], (a)[3]})
#else
#define FROM(a) ((vd){(a)[0], (a)[1]})
#endif

#define INLINE static inline __attribute__((always_inline))

INLINE double get(const void *x, size_t i, int wide) { return wide ? ((const double *)x)[i] : (double)((const float *)x)[i]; }
INLINE void put(void *out, size_t i, double v, int wide) {
    if (wide) ((double *)out)[i] = v;
    else ((float *)out)[i] = (float)v;
}
INLINE const void *skip(const void *x, size_t i, int wide) { return (const char *)x + i * (wide ? 8 : 4); }
INLINE void *skip_out(void *x, size_t i, int wide) { return (char *)x + i * (wide ? 8 : 4); }

INLINE vd load(const void *x, size_t i, int wide) {
    vd d;
    vf f;
    if (wide) {
        memcpy(&d, (const double *)x + i, sizeof d);
        return d;
    }
    memcpy(&f, (const float *)x + i, sizeof f);
    return __builtin_convertvector(f, vd);
}

INLINE void store(void *out, size_t i, vd d, int wide) {
    if (wide) {
        memcpy((double *)out + i, &d, sizeof d);
    } else {
        vf f = __builtin_convertvector(d, vf);
        memcpy((float *)out + i, &f, sizeof f);
    }
}

INLINE void transpose(vd r[V]) {
#if defined(__AVX__)
    vd a = SHUFFLE(r[0], r[1], 0, 4, 2, 6), b = SHUFFLE(r[0], r[1], 1, 5, 3, 7);
    vd c = SHUFFLE(r[2], r[3], 0, 4, 2, 6), d = SHUFFLE(r[2], r[3], 1, 5, 3, 7);
    r[0] = SHUFFLE(a, c, 0, 1, 4, 5), r[1] = SHUFFLE(b, d, 0, 1, 4, 5);
    r[2] = SHUFFLE(a, c, 2, 3, 6, 7), r[3] = SHUFFLE(b, d, 2, 3, 6, 7);
#else
    vd a = SHUFFLE(r[0], r[1], 0, 2), b = SHUFFLE(r[0], r[1], 1, 3);
    r[0] = a, r[1] = b;
#endif
}

/* Whether every x^2 is finite; cautious for double, where a square may overflow. */
INLINE int calm(const void *x, size_t n, int wide) {
    if (wide) {
        uint64_t most = 0;
        for (size_t i = 0; i < n; i++) {
            uint64_t bits;
            memcpy(&bits, (const double *)x + i, 8);
            bits &= UINT64_C(0x7fffffffffffffff);
            most = bits > most ? bits : most;
        }
        return most < UINT64_C(0x5f00000000000000); /* 2^497 */
    }
    int32_t most = 0;
    for (size_t i = 0; i < n; i++) {
        int32_t bits;
        memcpy(&bits, (const float *)x + i, 4);
        bits &= 0x7fffffff;
        most = bits > most ? bits : most;
    }
    return most < 0x7f800000;
}

typedef struct {
    double power[2][B]; /* a, a^2 ... a^B */
    double gain;
    uint64_t warm; /* outputs that are 0 */
} sta_rule;

INLINE double ratio(double sta, double lta, double gain) { return lta > 0 ? sta / lta * gain : 0; }
INLINE double unburden(double sum, uint64_t done) { return done % CHECK == 0 && sum < TINY ? 0 : sum; }

INLINE void recursive_one(ll_sta_state *s, const sta_rule *r, const void *x, void *out, size_t i, int wide) {
    double v = get(x, i, wide), x2 = v * v, sum[2];
    if (!isfinite(x2)) {
        put(out, i, NAN, wide);
        return;
    }
    uint64_t k = s->count++;
    if (k == 0) {
        put(out, i, 0, wide);
        return;
    }
    unsigned j = (k - 1) % B;
    for (int w = 0; w < 2; w++) {
        s->within[w] = j ? r->power[w][0] * s->within[w] + x2 : x2;
        sum[w] = r->power[w][j] * s->before[w] + s->within[w];
        if (j == B - 1) s->before[w] = unburden(sum[w], k);
    }
    put(out, i, k < r->warm ? 0 : ratio(sum[0], sum[1], r->gain), wide);
}

/* `groups` (a constant, at most G) times V blocks; the state is at the beginning of one, and small sums are not due to be looked for. */
INLINE void recursive_lanes(ll_sta_state *s, const sta_rule *r, const void *x, void *out, size_t i, int groups, int wide) {
    vd in[2][B][G], start[2][G], rows[V];
    for (int g = 0; g < groups; g++)
        for (int h = 0; h < B; h += V) {
            for (int v = 0; v < V; v++) {
                vd d = load(x, i + (g * V + v) * B + h, wide);
                rows[v] = d * d;
            }
            transpose(rows);
            for (int v = 0; v < V; v++) in[0][h + v][g] = in[1][h + v][g] = rows[v];
        }
    for (int j = 1; j < B; j++)
        for (int w = 0; w < 2; w++)
            for (int g = 0; g < groups; g++) in[w][j][g] = r->power[w][0] * in[w][j - 1][g] + in[w][j][g];
    double before[2] = {s->before[0], s->before[1]};
    for (int g = 0; g < groups; g++)
        for (int w = 0; w < 2; w++) {
            double at[V + 1] = {before[w]};
            for (int v = 0; v < V; v++) at[v + 1] = r->power[w][B - 1] * at[v] + in[w][B - 1][g][v];
            start[w][g] = FROM(at);
            before[w] = at[V];
        }
    for (int w = 0; w < 2; w++) s->before[w] = before[w], s->within[w] = in[w][B - 1][groups - 1][V - 1];
    for (int g = 0; g < groups; g++)
        for (int h = 0; h < B; h += V) {
            for (int v = 0; v < V; v++) {
                vd sta = r->power[0][h + v] * start[0][g] + in[0][h + v][g];
                vd lta = r->power[1][h + v] * start[1][g] + in[1][h + v][g];
                rows[v] = (vd)((vi)(sta / lta * r->gain) & (lta > 0));
            }
            transpose(rows);
            for (int v = 0; v < V; v++) store(out, i + (g * V + v) * B + h, rows[v], wide);
        }
    s->count += groups * V * B;
}

INLINE void recursive_row(ll_sta_state *s, const sta_rule *r, const void *x, size_t n, void *out, int wide) {
    for (size_t i = 0; i < n;) {
        size_t end = i + SEGMENT < n ? i + SEGMENT : n, from = i;
        if (calm(skip(x, i, wide), end - i, wide)) {
            while (i < end && (s->count == 0 || (s->count - 1) % B)) recursive_one(s, r, x, out, i++, wide);
            uint64_t first = s->count;
            size_t begin = i;
            for (; i + LOT <= end && (s->count - 1) % CHECK + LOT < CHECK; i += LOT) recursive_lanes(s, r, x, out, i, G, wide);
            for (; i + LOT / G <= end && (s->count - 1) % CHECK + LOT / G < CHECK; i += LOT / G)
                recursive_lanes(s, r, x, out, i, 1, wide);
            for (size_t j = 0; begin + j < i && first + j < r->warm; j++) put(out, begin + j, 0, wide);
            if (end < n && i + LOT / G > end && i > from) continue; /* the rest begins the next segment */
        }
        for (; i < end; i++) recursive_one(s, r, x, out, i, wide);
    }
}

static int recursive(ll_sta_state *s, size_t n_sta, size_t n_lta, const void *x, size_t rows, size_t n, void *out, int wide) {
    if (n_sta < 1 || n_lta < 1) return LL_RANGE;
    sta_rule r = {.gain = (double)n_lta / (double)n_sta, .warm = n_lta};
    for (int w = 0; w < 2; w++) {
        double a = 1 - 1 / (double)(w ? n_lta : n_sta);
        r.power[w][0] = a;
        for (int j = 1; j < B; j++) r.power[w][j] = r.power[w][j - 1] * a;
    }
    for (size_t c = 0; c < rows; c++) {
        if (wide) recursive_row(&s[c], &r, skip(x, c * n, 1), n, skip_out(out, c * n, 1), 1);
        else recursive_row(&s[c], &r, skip(x, c * n, 0), n, skip_out(out, c * n, 0), 0);
    }
    return LL_OK;
}

static size_t classic_size(size_t n_sta, size_t n_lta) { return sizeof(ll_classic_state) + 8 * (n_sta + n_lta + 2); }

/* A block is full: its values become the sums from each of them to its end. */
INLINE void turn(double *kept, size_t n, double *prefix, uint64_t *at) {
    for (size_t q = n - 1; q-- > 0;) kept[q] += kept[q + 1];
    *prefix = 0, *at = 0;
}

INLINE void classic_row(ll_classic_state *s, size_t n_sta, size_t n_lta, const void *x, size_t n, void *out, int wide) {
    enum { RUN = 256 };
    double *sta_kept = (double *)(s + 1), *lta_kept = sta_kept + n_sta + 1;
    double gain = (double)n_lta / (double)n_sta;
    for (size_t i = 0; i < n;) {
        size_t run = n - i < RUN ? n - i : RUN;
        if (run > n_sta - s->at[0]) run = n_sta - s->at[0];
        if (run > n_lta - s->at[1]) run = n_lta - s->at[1];
        double short_sum = s->prefix[0], long_sum = s->prefix[1], *a = sta_kept + s->at[0], *b = lta_kept + s->at[1];
        size_t cold = s->count >= n_lta - 1 ? 0 : n_lta - 1 - s->count;
        double x2[RUN], sta[RUN], lta[RUN];
        for (size_t j = 0; j < run; j++) {
            double v = get(x, i + j, wide), square = v * v;
            x2[j] = square + (square - square); /* what is not finite becomes NaN, so that the ratio does */
        }
        for (size_t j = 0; j < run; j++) sta[j] = short_sum += x2[j], lta[j] = long_sum += x2[j];
        for (size_t j = 0; j < run; j++) {
            double q = (sta[j] + a[j + 1]) / (lta[j] + b[j + 1]) * gain; /* [n] is 0 */
            q = q == q ? q : NAN; /* one NaN, whichever the processor made of it */
            sta[j] = lta[j] + b[j + 1] == 0 ? 0 : q;
        }
        for (size_t j = 0; j < run; j++) put(out, i + j, j < cold ? 0 : sta[j], wide);
        memcpy(a, x2, run * sizeof *a), memcpy(b, x2, run * sizeof *b);
        s->prefix[0] = short_sum, s->prefix[1] = long_sum;
        s->at[0] += run, s->at[1] += run, s->count += run;
        if (s->at[0] == n_sta) turn(sta_kept, n_sta, &s->prefix[0], &s->at[0]);
        if (s->at[1] == n_lta) turn(lta_kept, n_lta, &s->prefix[1], &s->at[1]);
        i += run;
    }
}

static int classic(void *s, size_t n_sta, size_t n_lta, const void *x, size_t rows, size_t n, void *out, int wide) {
    if (n_sta < 1 || n_lta < n_sta) return LL_RANGE;
    for (size_t c = 0; c < rows; c++) {
        ll_classic_state *row = (ll_classic_state *)((char *)s + c * classic_size(n_sta, n_lta));
        if (wide) classic_row(row, n_sta, n_lta, skip(x, c * n, 1), n, skip_out(out, c * n, 1), 1);
        else classic_row(row, n_sta, n_lta, skip(x, c * n, 0), n, skip_out(out, c * n, 0), 0);
    }
    return LL_OK;
}

/* Both sides in one vector: without branches, for on noise they would go either way. */
INLINE void cusum_row(ll_cusum_state *s, double drift, double threshold, const void *x, size_t n, void *up, void *down, int wide) {
    pair g = {s->up, s->down};
    for (size_t i = 0; i < n; i++) {
        double v = get(x, i, wide);
        if (!isfinite(v)) {
            put(up, i, NAN, wide), put(down, i, NAN, wide);
            continue;
        }
        g = (pair)((pair_mask)g & ~(g > threshold)) + ((pair){v, -v} - drift);
        g = (pair)((pair_mask)g & (g > 0));
        put(up, i, g[0], wide), put(down, i, g[1], wide);
    }
    s->up = g[0], s->down = g[1];
}

static int cusum(ll_cusum_state *s, double drift, double threshold, const void *x, size_t rows, size_t n, void *up, void *down,
                 int wide) {
    if (!(threshold > 0) || !isfinite(drift)) return LL_RANGE;
    for (size_t c = 0; c < rows; c++) {
        size_t i = c * n;
        if (wide) cusum_row(&s[c], drift, threshold, skip(x, i, 1), n, skip_out(up, i, 1), skip_out(down, i, 1), 1);
        else cusum_row(&s[c], drift, threshold, skip(x, i, 0), n, skip_out(up, i, 0), skip_out(down, i, 0), 0);
    }
    return LL_OK;
}

/* ln of a positive normal number as e ln 2 + 2 artanh((m - 1) / (m + 1)), m in [sqrt 1/2, sqrt 2): the series ends below
 * 1 ulp, has no branch and so runs in lanes, which the library's does not. */
INLINE double ln(double x) {
    const uint64_t root = UINT64_C(0x3fe6a09e667f3bcd), one = UINT64_C(0x3ff0000000000000);
    uint64_t b, e, m;
    memcpy(&b, &x, 8);
    b += one - root;
    e = (b >> 52) | UINT64_C(0x4330000000000000);
    m = (b & UINT64_C(0x000fffffffffffff)) + root;
    double exponent, y;
    memcpy(&exponent, &e, 8), memcpy(&y, &m, 8);
    exponent -= 4503599627370496.0 + 1023.0; /* 2^52 and the bias */
    double s = (y - 1) / (y + 1), q = s * s, p = 1.0 / 21;
    p = p * q + 1.0 / 19, p = p * q + 1.0 / 17, p = p * q + 1.0 / 15, p = p * q + 1.0 / 13, p = p * q + 1.0 / 11;
    p = p * q + 1.0 / 9, p = p * q + 1.0 / 7, p = p * q + 1.0 / 5, p = p * q + 1.0 / 3;
    return exponent * 0.6931471805599453 + 2 * (s + s * q * p);
}

/* Variance from sums about the mean of the whole, no less than what these sums can tell from 0. */
INLINE double spread(double sum, double squares, double n, double least) {
    double m = sum / n, v = squares / n - m * m;
    return v > least ? v : least;
}

INLINE int aic_row(const void *x, size_t n, double *work, int64_t *index, double *quality, int wide) {
    enum { RUN = 128 };
    double total = 0, *after = work, *after2 = work + n;
    for (size_t i = 0; i < n; i++) total += get(x, i, wide);
    double mean = total / (double)n, s = 0, s2 = 0;
    *index = -1, *quality = NAN;
    if (!isfinite(mean)) return LL_OK;
    for (size_t i = n; i-- > 0;) {
        double v = get(x, i, wide) - mean;
        s += v, s2 += v * v;
        after[i] = s, after2[i] = s2;
    }
    if (!isfinite(s2)) return LL_OK;
    *index = 0, *quality = 0;
    double all = s2 / (double)n, least = all * 1e-15;
    if (!(all > 1e-290)) return LL_OK; /* a constant */

    double best = INFINITY, best_gain = 0, one = 0, two = 0;
    for (size_t from = 1; from < n; from += RUN) {
        size_t m = n - from < RUN ? n - from : RUN;
        double sum[RUN], sum2[RUN], aic[RUN], split[RUN];
        for (size_t i = 0; i < m; i++) {
            double v = get(x, from + i - 1, wide) - mean;
            one += v, two += v * v;
            sum[i] = one, sum2[i] = two;
        }
        for (size_t i = 0; i < m; i++) {
            double k = (double)(int32_t)(uint32_t)(from + i), rest = (double)n - k;
            double a = ln(spread(sum[i], sum2[i], k, least)), b = ln(spread(after[from + i], after2[from + i], rest, least));
            a = k < 2 ? 0 : a, b = rest < 2 ? 0 : b; /* a single sample has no variance: its term is left out */
            aic[i] = k * a + (rest - 1) * b;
            split[i] = k * a + rest * b;
        }
        for (size_t i = 0; i < m; i++)
            if (aic[i] < best) best = aic[i], best_gain = split[i], *index = (int64_t)(from + i - 1);
    }
    double alone = *index == 0 || *index == (int64_t)n - 2 ? ln(all) : 0; /* the term that was left out */
    double gain = ln(all) - (best_gain + alone) / (double)n;
    *quality = gain > 0 ? 1 - exp(-gain) : 0;
    return LL_OK;
}

static int aic(const void *x, size_t n, int wide, double *work, int64_t *index, double *quality) {
    if (n < 3) return LL_SHAPE;
    if (n > INT32_MAX) return LL_RANGE;
    return wide ? aic_row(x, n, work, index, quality, 1) : aic_row(x, n, work, index, quality, 0);
}

const ll_onset_api LL_FN(ll_onset_api) = {
    .recursive = recursive, .classic_size = classic_size, .classic = classic, .cusum = cusum, .aic = aic};
