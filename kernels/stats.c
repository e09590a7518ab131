/* Bins, flat lines and clipping; stats.h says what they are.
 *
 * add: a row of a block meets its bin at sample number `seen`:
 *
 *     number mod 8   5 6 7 | 0 1 2 3 4 5 6 7 | 0 1 2 3 4 5 6 7 | 0 1 2
 *                    head    eights of lanes                     tail
 *
 * Head and tail add to the double of their number, as a lane does: the same additions in the same order.
 */
#include "stats.h"

#include <math.h>

#if defined(__SSE2__) && defined(__x86_64__)
#include <immintrin.h>
#define LL_X86 1
#endif

#define NS 1000000000

enum { CHUNK = 1024 };

typedef __int128 wide;

#define INLINE static inline __attribute__((always_inline))

/* Doubles in native registers. */
#ifdef __AVX__
enum { W = 4 };
#else
enum { W = 2 };
#endif
typedef double vd __attribute__((vector_size(8 * W)));
typedef int64_t vl __attribute__((vector_size(8 * W)));
typedef double vdu __attribute__((vector_size(8 * W), aligned(8), may_alias));

#ifdef __FMA__
#define MULTIPLY_ADD(a, b, c) __builtin_fma(a, b, c)
#else
#define MULTIPLY_ADD(a, b, c) ((a) * (b) + (c))
#endif

/* ---- time -------------------------------------------------------------------------------------------------------- */

INLINE wide floor_div(wide a, wide b) { return a / b - (a % b != 0 && (a < 0) != (b < 0)); }

static int64_t time_of(const ll_stats_clock *c, size_t i) {
    if (c->t_ns) return c->t_ns[i];
    return c->anchor_ns + (int64_t)floor_div((wide)(c->index + (int64_t)i) * c->rate_den * NS, c->rate_num);
}

/* First sample number whose time is not before `end`: the smallest j with j * den * NS / num >= end - anchor. */
static wide first_from(const ll_stats_clock *c, int64_t end) {
    return -floor_div(-((wide)end - c->anchor_ns) * c->rate_num, (wide)c->rate_den * NS);
}

static int bin(const ll_stats_clock *c, int64_t bin_ns, int64_t *number, int64_t *n) {
    if (c->rate_num <= 0 || c->rate_den <= 0 || bin_ns <= 0 || c->t_ns) return LL_RANGE;
    *number = (int64_t)floor_div(time_of(c, 0), bin_ns);
    *n = (int64_t)(first_from(c, (*number + 1) * bin_ns) - c->index);
    return LL_OK;
}

/* ---- bins -------------------------------------------------------------------------------------------------------- */

static void open_(ll_stats_cell *cells, size_t n_ch) {
    for (size_t c = 0; c < n_ch; c++) {
        ll_stats_cell *s = cells + c;
        *s = (ll_stats_cell){.run = s->run, .last = s->last, .low = INFINITY, .high = -INFINITY};
    }
}

/* Floats and doubles go the same way: `dbl` says what x points to, and is a constant wherever it is asked. */
INLINE double sample(const void *x, int dbl, size_t i) { return dbl ? ((const double *)x)[i] : (double)((const float *)x)[i]; }

INLINE vd samples(const void *x, int dbl, size_t i) {
    if (dbl) return *(const vdu *)((const double *)x + i);
#if defined(__AVX__)
    return _mm256_cvtps_pd(_mm_loadu_ps((const float *)x + i)); /* gcc 12 takes the built-in conversion apart */
#elif defined(LL_X86)
    return _mm_cvtps_pd(_mm_castsi128_ps(_mm_loadl_epi64((const __m128i *)((const float *)x + i))));
#else
    return (vd){((const float *)x)[i], ((const float *)x)[i + 1]};
#endif
}

INLINE void add_one(ll_stats_cell *s, double x) {
    int lane = s->seen++ & 7;
    if (!isfinite(x)) return;
    s->finite++;
    double d = x - s->shift, q = d * d;
    s->sum[lane] += d;
    s->square[lane] += q;
    s->cube[lane] = MULTIPLY_ADD(q, d, s->cube[lane]);
    s->fourth[lane] = MULTIPLY_ADD(q, q, s->fourth[lane]);
    x += 0.0; /* -0 is 0: which of the two came first must not show */
    s->low = x < s->low ? x : s->low;
    s->high = x > s->high ? x : s->high;
}

INLINE vd multiply_add(vd a, vd b, vd c) {
#ifdef __FMA__
    return _mm256_fmadd_pd(a, b, c);
#else
    return a * b + c;
#endif
}

/* The four sums over n samples, a multiple of 8, of which sample 0 belongs to double 0. Two registers of each sum at a time:
 * enough to hide how long an addition takes, few enough to stay in registers. `masked`: samples that are not finite add 0;
 * otherwise, if there are any, the answer is 0 and nothing is added. */
INLINE int add_powers(ll_stats_cell *s, const void *x, int dbl, size_t n, int masked) {
    vd total[4][8 / W], shift = s->shift - (vd){0}, check = {0};
    vl finite = {0};
    double *const own[4] = {s->sum, s->square, s->cube, s->fourth};
    for (int lane = 0; lane < 8; lane += 2 * W) {
        vd sum[4][2];
        for (int p = 0; p < 4; p++) sum[p][0] = *(vdu *)(own[p] + lane), sum[p][1] = *(vdu *)(own[p] + lane + W);
        for (size_t i = (size_t)lane; i < n; i += 8)
            for (int k = 0; k < 2; k++) {
                vd v = samples(x, dbl, i + (size_t)(k * W)), d = v - shift;
                if (masked) {
                    vl good = v - v == 0.0;
                    d = (vd)((vl)d & good), finite -= good;
                }
                vd q = d * d;
                sum[0][k] += d;
                sum[1][k] += q;
                sum[2][k] = multiply_add(q, d, sum[2][k]);
                sum[3][k] = multiply_add(q, q, sum[3][k]);
            }
        for (int p = 0; p < 4; p++) total[p][lane / W] = sum[p][0], total[p][lane / W + 1] = sum[p][1];
        check += (sum[0][0] - sum[0][0]) + (sum[0][1] - sum[0][1]); /* 0, or NaN where a sum is not finite */
    }
    int64_t good = masked ? 0 : (int64_t)n;
    for (int k = 0; k < W; k++) {
        if (!masked && check[k] != 0.0) return 0;
        good += finite[k];
    }
    for (int p = 0; p < 4; p++)
        for (int lane = 0; lane < 8; lane += W) *(vdu *)(own[p] + lane) = total[p][lane / W];
    s->seen += (int64_t)n, s->finite += good;
    return 1;
}

#ifdef LL_X86

#ifdef __AVX__
typedef __m256 vf;
typedef int32_t vi __attribute__((vector_size(32)));
#define LOAD_F _mm256_loadu_ps
#define MIN_F _mm256_min_ps
#define MAX_F _mm256_max_ps
#define ALL_F _mm256_set1_ps
#define LOAD_D _mm256_loadu_pd
#define MIN_D _mm256_min_pd
#define MAX_D _mm256_max_pd
#define ALL_D _mm256_set1_pd
#define SIGNS_F _mm256_movemask_ps
#define HALVES_F(op, v) op(_mm256_castps256_ps128(v), _mm256_extractf128_ps(v, 1))
#else
typedef __m128 vf;
typedef int32_t vi __attribute__((vector_size(16)));
#define LOAD_F _mm_loadu_ps
#define MIN_F _mm_min_ps
#define MAX_F _mm_max_ps
#define ALL_F _mm_set1_ps
#define LOAD_D _mm_loadu_pd
#define MIN_D _mm_min_pd
#define MAX_D _mm_max_pd
#define ALL_D _mm_set1_pd
#define SIGNS_F _mm_movemask_ps
#define HALVES_F(op, v) (v)
#endif

INLINE float least_of(vf v) {
    __m128 half = HALVES_F(_mm_min_ps, v), two = _mm_min_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_min_ss(two, _mm_shuffle_ps(two, two, 1)));
}

INLINE float most_of(vf v) {
    __m128 half = HALVES_F(_mm_max_ps, v), two = _mm_max_ps(half, _mm_movehl_ps(half, half));
    return _mm_cvtss_f32(_mm_max_ss(two, _mm_shuffle_ps(two, two, 1)));
}

/* min(v, m) is m where v is NaN; v - v is 0, or NaN where v is not finite. */
#define EXTREMES(name, type, vec, width, LOAD, MIN, MAX, ALL)                                                           \
    static void name(const type *x, size_t n, int masked, double *low, double *high) {                                  \
        vec least[2] = {ALL(INFINITY), ALL(INFINITY)}, most[2] = {ALL(-INFINITY), ALL(-INFINITY)};                      \
        for (size_t i = 0; i < n; i += 2 * width)                                                                       \
            for (int k = 0; k < 2; k++) {                                                                               \
                vec v = LOAD(x + i + k * width);                                                                        \
                if (masked) v += v - v;                                                                                 \
                least[k] = MIN(v, least[k]), most[k] = MAX(v, most[k]);                                                 \
            }                                                                                                           \
        least[0] = MIN(least[0], least[1]), most[0] = MAX(most[0], most[1]);                                            \
        for (int l = 0; l < width; l++) {                                                                               \
            double a = least[0][l] + 0.0, b = most[0][l] + 0.0;                                                         \
            *low = a < *low ? a : *low, *high = b > *high ? b : *high;                                                  \
        }                                                                                                               \
    }
EXTREMES(extremes_f, float, vf, (2 * W), LOAD_F, MIN_F, MAX_F, ALL_F)
EXTREMES(extremes_d, double, vd, W, LOAD_D, MIN_D, MAX_D, ALL_D)

#else

#define EXTREMES(name, type)                                                                                            \
    static void name(const type *x, size_t n, int masked, double *low, double *high) {                                  \
        for (size_t i = 0; i < n; i++) {                                                                                \
            double v = x[i] + 0.0;                                                                                      \
            if (v - v != 0.0) continue;                                                                                 \
            *low = v < *low ? v : *low, *high = v > *high ? v : *high;                                                  \
        }                                                                                                               \
    }
EXTREMES(extremes_f, float)
EXTREMES(extremes_d, double)

#endif

/* n samples, a multiple of 16: taken as if all were finite, and with a mask if that is found to be wrong. */
INLINE void add_chunk(ll_stats_cell *s, const void *x, int dbl, size_t n) {
    int masked = !add_powers(s, x, dbl, n, 0);
    if (masked) add_powers(s, x, dbl, n, 1);
    if (dbl) extremes_d(x, n, masked, &s->low, &s->high);
    else extremes_f(x, n, masked, &s->low, &s->high);
}

/* Samples whose powers are to be added, in pieces that the nearest cache holds. */
INLINE void add_samples(ll_stats_cell *s, const void *x, int dbl, size_t n) {
    size_t i = 0;
    for (; i < n && !s->finite && !isfinite(sample(x, dbl, i)); i++) s->seen++;
    if (i == n) return;
    if (!s->finite) s->shift = sample(x, dbl, i);
    for (; i < n && s->seen & 7; i++) add_one(s, sample(x, dbl, i));
    for (size_t whole = (n - i) & ~(size_t)15, part; whole; whole -= part, i += part) {
        part = whole < CHUNK ? whole : CHUNK;
        add_chunk(s, dbl ? (const void *)((const double *)x + i) : (const void *)((const float *)x + i), dbl, part);
    }
    for (; i < n; i++) add_one(s, sample(x, dbl, i));
}

/* The same for floats that are known to be finite and to lie within low .. high. */
INLINE void add_finite(ll_stats_cell *s, const float *x, size_t n, double low, double high) {
    size_t i = 0;
    if (!s->finite) s->shift = x[0];
    for (; i < n && s->seen & 7; i++) add_one(s, x[i]);
    size_t whole = (n - i) & ~(size_t)7;
    if (whole) add_powers(s, x + i, 0, whole, 0);
    for (i += whole; i < n; i++) add_one(s, x[i]);
    low += 0.0, high += 0.0; /* as in add_one */
    s->low = low < s->low ? low : s->low, s->high = high > s->high ? high : s->high;
}

/* Runs of identical samples. 64 samples that all differ from the one before them cannot lengthen anything. */
static void add_runs(ll_stats_cell *s, const float *x, size_t n) {
    int64_t run = s->run, longest = s->longest;
    float last = s->last;
    for (size_t i = 0; i < n;) {
        if (i + 64 <= n && longest && run) {
            int any = x[i] == last;
            for (int l = 1; l < 64; l++) any |= x[i + l] == x[i + l - 1];
            if (!any) {
                i += 64, last = x[i - 1], run = isfinite(last) ? 1 : 0;
                continue;
            }
        }
        for (size_t stop = i + 8 < n ? i + 8 : n; i < stop; last = x[i++]) {
            run = !isfinite(x[i]) ? 0 : run && x[i] == last ? run + 1 : 1;
            longest = run > longest ? run : longest;
        }
    }
    s->run = run, s->longest = longest, s->last = last;
}

static int64_t at_the_ends(const float *x, size_t n, float low, float high) {
    int found = 0; /* n is a chunk */
    for (size_t i = 0; i < n; i++) found += (x[i] <= low) | (x[i] >= high);
    return found;
}

/* A chunk looked at once: its extremes (NaN passed over), whether a sample equals the one before it, whether one is NaN. */
typedef struct {
    float low, high;
    int same, missing;
} look;

#ifdef LL_X86

/* Samples i .. i + 8 W, of which the last only as the neighbour of the one before. */
#define LOOK(i)                                                                                                         \
    for (int k = 0; k < 2; k++) {                                                                                       \
        vf v = LOAD_F(x + (i) + k * 2 * W), next = LOAD_F(x + (i) + k * 2 * W + 1);                                     \
        low[k] = MIN_F(v, low[k]), high[k] = MAX_F(v, high[k]);                                                         \
        same |= (vi)(v == next), missing |= (vi)(v != v);                                                               \
    }

static look look_at(const float *x, size_t n) {
    enum { STEP = 4 * W };
    vf low[2] = {ALL_F(INFINITY), ALL_F(INFINITY)}, high[2] = {ALL_F(-INFINITY), ALL_F(-INFINITY)};
    vi same = {0}, missing = {0};
    size_t i = 0;
    for (; i + STEP < n; i += STEP) LOOK(i)
    if (n > STEP && i + 1 < n) { /* some of them once more */
        LOOK(n - 1 - STEP)
        i = n - 1;
    }
    look found = {least_of(MIN_F(low[0], low[1])), most_of(MAX_F(high[0], high[1])), SIGNS_F((vf)same), SIGNS_F((vf)missing)};
    for (; i < n; i++) {
        found.low = x[i] < found.low ? x[i] : found.low, found.high = x[i] > found.high ? x[i] : found.high;
        found.same |= i + 1 < n && x[i] == x[i + 1], found.missing |= x[i] != x[i];
    }
    return found;
}

#else

static look look_at(const float *x, size_t n) {
    look found = {INFINITY, -INFINITY, 0, 0};
    for (size_t i = 0; i < n; i++) {
        found.low = x[i] < found.low ? x[i] : found.low, found.high = x[i] > found.high ? x[i] : found.high;
        found.same |= i + 1 < n && x[i] == x[i + 1], found.missing |= x[i] != x[i];
    }
    return found;
}

#endif

static void add_row(ll_stats_cell *s, const float *x, size_t n, float low, float high) {
    look seen = look_at(x, n);
    if (seen.same || !s->longest || (s->run && x[0] == s->last)) add_runs(s, x, n);
    else s->last = x[n - 1], s->run = isfinite(s->last) ? 1 : 0;
    if (seen.low <= low || seen.high >= high) s->clipped += at_the_ends(x, n, low, high);
    if (seen.missing || !isfinite(seen.low) || !isfinite(seen.high)) add_samples(s, x, 0, n);
    else add_finite(s, x, n, seen.low, seen.high);
}

static void add(ll_stats_cell *cells, size_t n_ch, const float *x, ptrdiff_t stride, size_t n, const float *low, const float *high) {
    for (size_t c = 0; c < n_ch; c++, x += stride)
        for (size_t i = 0, part; i < n; i += part) {
            part = CHUNK - (size_t)(cells[c].seen & 7); /* chunks end where lanes begin anew */
            part = part < n - i ? part : n - i;
            add_row(cells + c, x + i, part, low[c], high[c]);
        }
}

INLINE double sum8(const double *v) { return ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7])); }

static ll_stats_row row_of(const ll_stats_cell *s) {
    double n = (double)s->finite, sum = sum8(s->sum), square = sum8(s->square), cube = sum8(s->cube), fourth = sum8(s->fourth);
    ll_stats_row r = {.finite = s->finite, .bad = s->seen - s->finite, .clipped = s->clipped, .longest = s->longest,
                      .mean = NAN, .rms = NAN, .deviation = NAN, .low = NAN, .high = NAN, .sum = 0.0, .square = 0.0,
                      .crest = NAN, .skewness = NAN, .kurtosis = NAN};
    if (!s->finite) return r;
    double spread = (square - sum * sum / n) / n, m = sum / n, far = s->high > -s->low ? s->high : -s->low;
    if (spread < 0.0) spread = 0.0;
    r.mean = s->shift + m;
    r.deviation = sqrt(spread);
    r.rms = sqrt(r.mean * r.mean + spread);
    r.low = s->low, r.high = s->high;
    r.sum = s->shift * n + sum;
    r.square = square + 2.0 * s->shift * sum + s->shift * s->shift * n;
    if (r.rms > 0.0) r.crest = far / r.rms;
    if (spread > 0.0) {
        r.skewness = (cube / n - m * (3.0 * square / n - 2.0 * m * m)) / (spread * r.deviation);
        r.kurtosis = (fourth / n - m * (4.0 * cube / n - m * (6.0 * square / n - 3.0 * m * m))) / (spread * spread);
    }
    return r;
}

static void read_(const ll_stats_cell *cells, size_t n_ch, ll_stats_row *out) {
    for (size_t c = 0; c < n_ch; c++) out[c] = row_of(cells + c);
}

INLINE void describe_of(const void *x, int dbl, size_t n, ll_stats_row *out) {
    ll_stats_cell s = {.low = INFINITY, .high = -INFINITY};
    add_samples(&s, x, dbl, n);
    *out = row_of(&s);
}

static void describe(const void *x, int is_double, size_t n, ll_stats_row *out) {
    if (is_double) describe_of(x, 1, n, out);
    else describe_of(x, 0, n, out);
}

/* ---- guards ------------------------------------------------------------------------------------------------------ */

/* First i >= from with x[i] == x[i-1], or n. */
static size_t next_same(const float *x, size_t from, size_t n) {
    size_t i = from;
    for (; i + 64 <= n; i += 64) {
        int any = 0;
        for (int l = 0; l < 64; l++) any |= x[i + l] == x[i + l - 1];
        if (any) break;
    }
    while (i < n && x[i] != x[i - 1]) i++;
    return i;
}

/* Samples that are looked at together: many cost less each, few tell sooner which of them it was. */
enum { LEAST = 16, MOST = 128 };

/* Whether one of n >= LEAST samples is at or beyond an end. */
#ifdef LL_X86
static int reaches(const float *x, size_t n, float low, float high) {
    enum { STEP = 4 * W };
    vf least[2] = {ALL_F(INFINITY), ALL_F(INFINITY)}, most[2] = {ALL_F(-INFINITY), ALL_F(-INFINITY)};
    for (size_t i = 0; i < n; i += STEP) {
        const float *at = x + (i + STEP < n ? i : n - STEP); /* the last ones end where the samples do: some come twice */
        for (int k = 0; k < 2; k++) {
            vf v = LOAD_F(at + k * 2 * W);
            least[k] = MIN_F(v, least[k]), most[k] = MAX_F(v, most[k]);
        }
    }
    vf below = (vf)(MIN_F(least[0], least[1]) <= ALL_F(low)), above = (vf)(MAX_F(most[0], most[1]) >= ALL_F(high));
    return SIGNS_F(below) | SIGNS_F(above);
}
#else
static int reaches(const float *x, size_t n, float low, float high) {
    int any = 0;
    for (size_t i = 0; i < n; i++) any |= (x[i] <= low) | (x[i] >= high);
    return any;
}
#endif

/* First i >= from at or beyond an end, or n. */
static size_t next_clipped(const float *x, size_t from, size_t n, float low, float high) {
    size_t i = from;
    for (size_t part; n - i >= LEAST; i += part) {
        part = n - i < MOST ? n - i : MOST;
        if (reaches(x + i, part, low, high)) break;
    }
    for (; n - i >= LEAST && !reaches(x + i, LEAST, low, high); i += LEAST) continue;
    while (i < n && !(x[i] <= low || x[i] >= high)) i++;
    return i;
}

/* `begin` is where the present run began within this block, or n if it began before. Its time is worked out late. */
static size_t flat(ll_stats_guard *g, const ll_stats_rule *r, const float *x, size_t from, size_t n, const ll_stats_clock *clock,
                   ll_stats_event *event, int *found) {
    size_t i = from, begin = n;
    *found = 0;
    while (i < n) {
        if (g->flat) {
            while (i < n && (x[i] == g->last || !isfinite(x[i]))) i++;
            if (i == n) return n;
            *event = (ll_stats_event){0, (int64_t)i, time_of(clock, i), g->run_t0, g->run, x[i]};
            *g = (ll_stats_guard){.run = 1, .run_t0 = event->t_ns, .last = x[i], .window = g->window, .clipped = g->clipped,
                                  .clip_t0 = g->clip_t0, .clip = g->clip};
            *found = 1;
            return i + 1;
        }
        size_t same = i;
        while (g->run && same < n && x[same] == g->last) same++;
        int64_t far = (int64_t)i + (g->run + 1 >= r->flat_need ? 0 : r->flat_need - g->run - 1);
        if (same > i && g->last != r->rest)
            for (size_t at = (size_t)far; at < same; at++) {
                int64_t t = time_of(clock, at), t0 = begin < n ? time_of(clock, begin) : g->run_t0;
                if (t - t0 < r->flat_ns) continue;
                g->run += (int64_t)(at - i) + 1, g->run_t0 = t0, g->flat = 1;
                *event = (ll_stats_event){1, (int64_t)at, t, t0, g->run, g->last};
                *found = 1;
                return at + 1;
            }
        g->run += (int64_t)(same - i);
        i = same;
        if (i == n) break;
        if ((int64_t)(n - i) < r->flat_need) { /* no run that begins here can be long enough: only the last one matters */
            for (begin = n - 1; begin > i && x[begin] == x[begin - 1];) begin--;
            g->last = x[begin], g->run = isfinite(g->last) ? (int64_t)(n - begin) : 0;
            break;
        }
        i = next_same(x, i + 1, n); /* every sample before it begins a run of its own; the last of them goes on */
        begin = i - 1;
        g->last = x[begin], g->run = isfinite(g->last) ? 1 : 0;
    }
    if (begin < n) g->run_t0 = g->run ? time_of(clock, begin) : 0; /* without a run nothing tells where a block began */
    return n;
}

/* Samples from i on that share its window: at least 1. */
static size_t window_left(const ll_stats_clock *c, size_t i, size_t n, int64_t window_ns, int64_t *number) {
    int64_t t = time_of(c, i);
    *number = (int64_t)floor_div(t, window_ns);
    int64_t end = (*number + 1) * window_ns;
    if (c->t_ns) {
        size_t j = i + 1;
        while (j < n && c->t_ns[j] < end) j++;
        return j - i;
    }
    wide left = first_from(c, end) - c->index - (wide)i;
    return left < (wide)(n - i) ? (size_t)left : n - i;
}

static size_t clip(ll_stats_guard *g, const ll_stats_rule *r, const float *x, size_t from, size_t n, const ll_stats_clock *clock,
                   int all, ll_stats_event *event, int *found) {
    size_t i = from;
    *found = 0;
    if (!g->clip && !all && r->low != r->low && r->high != r->high) return n; /* a rule that waits for `all` */
    while (i < n) {
        if (!g->clip && !all) i = next_clipped(x, i, n, r->low, r->high);
        if (i == n) break;
        int64_t window;
        size_t stop = i + window_left(clock, i, n, r->window_ns, &window);
        int here = all || x[i] <= r->low || x[i] >= r->high;
        if (window != g->window) {
            int over = g->clip && !here && g->clipped < r->clip_need;
            int64_t count = g->clipped;
            g->window = window, g->clipped = 0;
            if (over) {
                g->clip = 0;
                *event = (ll_stats_event){0, (int64_t)i, time_of(clock, i), g->clip_t0, count, x[i]};
                *found = 1;
                return i; /* this sample is still to be looked at in its own window */
            }
        }
        for (; i < stop; i++) {
            if (!all && !(x[i] <= r->low || x[i] >= r->high)) continue;
            if (!g->clipped++ && !g->clip) g->clip_t0 = time_of(clock, i);
            if (g->clip || g->clipped < r->clip_need) continue;
            g->clip = 1;
            *event = (ll_stats_event){1, (int64_t)i, time_of(clock, i), g->clip_t0, g->clipped, x[i]};
            *found = 1;
            return i + 1;
        }
    }
    return n;
}

const ll_stats_api LL_FN(ll_stats_api) = {
    .bin = bin, .open = open_, .add = add, .read = read_, .describe = describe, .flat = flat, .clip = clip,
};
