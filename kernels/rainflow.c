/* Rainflow counting; rainflow.h says what it is.
 *
 * Noise turns round at two samples of three, at random: a branch for each would be guessed wrong half of the time. So the
 * turns are found 64 steps at a time as bits:
 *
 *     samples    3   5   5   4   4   6        up[k], same[k]: what step k from sample k to k+1 does
 *     up           1   0   0   0   1
 *     same         0   1   0   1   0          a level step goes on in the direction of the step before it
 *     direction    1   1   0   0   1
 *     turn             .   1   .   1          direction[k] != direction[k-1]: sample k is a reversal
 *
 * and the reversals are packed by those bits without asking for each. The stack does not ask either: what it will hold if
 * the next comparison closes a cycle and what if not is loaded before it is known, and the comparison picks. */
#include "rainflow.h"

#include <math.h>

#if defined(__SSE2__) && defined(__x86_64__)
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))

enum { CHUNK = 1024, FEW = 12, FLOOR = 4 };

/* ---- reversals ---------------------------------------------------------------------------------------------------- */

/* Bit k: p[k+1] > p[k], and p[k+1] == p[k]; 65 samples from p on. */
INLINE void steps(const double *p, uint64_t *up, uint64_t *same) {
    uint64_t u = 0, e = 0;
#if defined(__AVX__)
    for (int k = 0; k < 64; k += 4) {
        __m256d a = _mm256_loadu_pd(p + k), b = _mm256_loadu_pd(p + k + 1);
        u |= (uint64_t)_mm256_movemask_pd(_mm256_cmp_pd(b, a, _CMP_GT_OQ)) << k;
        e |= (uint64_t)_mm256_movemask_pd(_mm256_cmp_pd(b, a, _CMP_EQ_OQ)) << k;
    }
#elif defined(__SSE2__) && defined(__x86_64__)
    for (int k = 0; k < 64; k += 2) {
        __m128d a = _mm_loadu_pd(p + k), b = _mm_loadu_pd(p + k + 1);
        u |= (uint64_t)_mm_movemask_pd(_mm_cmpgt_pd(b, a)) << k;
        e |= (uint64_t)_mm_movemask_pd(_mm_cmpeq_pd(b, a)) << k;
    }
#else
    for (int k = 0; k < 64; k++) u |= (uint64_t)(p[k + 1] > p[k]) << k, e |= (uint64_t)(p[k + 1] == p[k]) << k;
#endif
    *up = u, *same = e;
}

/* p[k] for each bit k of turns, packed; up to 3 more are written behind them. */
INLINE size_t packed(const double *p, uint64_t turns, double *out) {
    size_t n = 0;
    if (__builtin_popcountll(turns) < FEW) {
        for (; turns; turns &= turns - 1) out[n++] = p[__builtin_ctzll(turns)];
        return n;
    }
#if defined(__AVX2__)
    static const uint32_t ORDER[16][8] = {
        {0}, {0, 1}, {2, 3}, {0, 1, 2, 3}, {4, 5}, {0, 1, 4, 5}, {2, 3, 4, 5}, {0, 1, 2, 3, 4, 5},
        {6, 7}, {0, 1, 6, 7}, {2, 3, 6, 7}, {0, 1, 2, 3, 6, 7}, {4, 5, 6, 7}, {0, 1, 4, 5, 6, 7}, {2, 3, 4, 5, 6, 7},
        {0, 1, 2, 3, 4, 5, 6, 7}};
    for (int k = 0; k < 64; k += 4, turns >>= 4) {
        __m256i order = _mm256_loadu_si256((const __m256i *)ORDER[turns & 15]);
        __m256 four = _mm256_permutevar8x32_ps(_mm256_loadu_ps((const float *)(p + k)), order);
        _mm256_storeu_ps((float *)(out + n), four);
        n += (size_t)__builtin_popcountll(turns & 15);
    }
#else
    for (int k = 0; k < 64; k++) out[n] = p[k], n += turns >> k & 1;
#endif
    return n;
}

/* Reversals among p[0] .. p[m-1] of m steps between p[0] .. p[m]; p goes on to p[m + 64]. The last sample is none yet. */
static size_t reversals(ll_history *s, double *p, size_t m, double *out) {
    size_t begin = 0, n = 0;
    if (!s->direction) {
        while (begin < m && p[begin + 1] == p[begin]) begin++;
        if (begin == m) return 0;
        s->direction = p[begin + 1] > p[begin] ? 1 : -1;
    }
    for (size_t k = 1; k <= 64; k++) p[m + k] = p[m]; /* level steps turn nothing */
    uint64_t before = s->direction > 0;
    for (size_t i = begin; i < m; i += 64) {
        uint64_t up, same;
        steps(p + i, &up, &same);
        if (same) { /* an addition carries a direction that is up through the level steps behind it */
            uint64_t behind_up = (up << 1 | before) & same;
            up |= same & ~(same + behind_up);
        }
        n += packed(p + i, up ^ (up << 1 | before), out + n);
        before = up >> 63;
    }
    s->direction = before ? 1 : -1;
    return n;
}

/* ---- the stack ---------------------------------------------------------------------------------------------------- */

INLINE void tell(ll_cycles *out, double a, double b, double count) {
    double range = fabs(a - b);
    out->ranges[out->n] = range;
    out->means[out->n] = 0.5 * (a + b);
    out->counts[out->n] = count;
    out->n += range >= out->gate;
}

/* Reversals p[0] .. p[n-1] onto a stack that has room for them; its new top. */
INLINE size_t take(double *stack, size_t top, const double *p, size_t n, ll_cycles *to) {
    ll_cycles out = *to;
    for (size_t i = 0; i < n; i++) {
        double x = p[i];
        while (top >= 2) {
            double b = stack[top - 1], a = stack[top - 2];
            if (fabs(x - b) < fabs(b - a)) break;
            if (top == 2) {
                tell(&out, a, b, 0.5);
                stack[0] = b, top = 1;
                break;
            }
            tell(&out, a, b, 1.0);
            top -= 2;
        }
        stack[top++] = x;
    }
    *to = out;
    return top;
}

#if defined(__SSE4_1__) && defined(__x86_64__)

INLINE __m128d range_of(__m128d a, __m128d b) { return _mm_andnot_pd(_mm_set_sd(-0.0), _mm_sub_sd(a, b)); }
INLINE int64_t bits_of(__m128d mask) { return _mm_cvtsi128_si64(_mm_castpd_si128(mask)); } /* 0 or -1 */

/* The same without a branch that noise would mislead. p goes on to p[n + 1], the stack down to stack[-FLOOR]: infinities,
 * beside which no range closes anything. In registers: x, the next reversal; r, the range Y of a and b on top; s, that of d
 * and c below them, which are on top if Y closes; `after`, the reversal that follows x if it does not. */
static size_t take_blind(double *stack, size_t top, const double *p, size_t n, ll_cycles *to) {
    const __m128d half = _mm_set_sd(0.5), gate = _mm_set_sd(to->gate);
    double *ranges = to->ranges, *means = to->means, *counts = to->counts;
    size_t i = 0, k = to->n;
    __m128d x = _mm_load_sd(p), after = _mm_load_sd(p + 1);
    __m128d b = _mm_load_sd(stack + top - 1), a = _mm_load_sd(stack + top - 2), r = range_of(a, b);
    while (i < n) {
        __m128d c = _mm_load_sd(stack + top - 3), d = _mm_load_sd(stack + top - 4), s = range_of(c, d);
        __m128d last = range_of(x, b), close = _mm_cmpge_sd(last, r);
        int64_t closes = bits_of(close), told = bits_of(_mm_cmpge_sd(r, gate));
        _mm_store_sd(ranges + k, r);
        _mm_store_sd(means + k, _mm_mul_sd(half, _mm_add_sd(a, b)));
        counts[k] = 1.0;
        if (__builtin_expect(top == 2, 0) && closes) {
            counts[k] = 0.5;
            k -= (size_t)told;
            stack[0] = _mm_cvtsd_f64(b), top = 1;
            a = r = _mm_set_sd(INFINITY);
            continue;
        }
        k -= (size_t)(closes & told);
        _mm_store_sd(stack + top, x);
        a = _mm_blendv_pd(b, d, close), b = _mm_blendv_pd(x, c, close), r = _mm_blendv_pd(last, s, close);
        x = _mm_blendv_pd(after, x, close);
        i += (size_t)(1 + closes), top += (size_t)(1 + 3 * closes);
        after = _mm_load_sd(p + i + 1);
    }
    to->n = k;
    return top;
}

#else
#define take_blind take
#endif

static int reserve(ll_history *s, size_t cap) {
    if (cap <= s->cap) return LL_OK;
    size_t more = s->cap > SIZE_MAX / 32 ? cap : 2 * s->cap;
    more = more < cap ? cap : more;
    if (more > SIZE_MAX / sizeof(double) - FLOOR) return LL_NOMEM;
    double *all = realloc(s->stack ? s->stack - FLOOR : NULL, (FLOOR + more) * sizeof *all);
    if (!all) return LL_NOMEM;
    for (int k = 0; k < FLOOR; k++) all[k] = INFINITY;
    s->stack = all + FLOOR, s->cap = more;
    return LL_OK;
}

/* ---- samples ------------------------------------------------------------------------------------------------------ */

typedef uint32_t __attribute__((may_alias)) bits32;
typedef uint64_t __attribute__((may_alias)) bits64;

/* n samples as doubles, without those that are not finite or whose range might not be; how many are left. */
static size_t gather(const void *x, int is_double, size_t from, size_t n, double *out) {
    const float *f = (const float *)x + from;
    const double *d = (const double *)x + from;
    uint32_t bad = 0;
    if (is_double)
        for (size_t i = 0; i < n; i++) bad |= ((const bits64 *)d)[i] << 1 >= 0x7feull << 53;
    else
        for (size_t i = 0; i < n; i++) bad |= ((const bits32 *)f)[i] << 1 >= 0xffu << 24;
    if (!bad) {
        if (is_double) memcpy(out, d, n * sizeof *d);
        else
            for (size_t i = 0; i < n; i++) out[i] = (double)f[i];
        return n;
    }
    size_t left = 0;
    for (size_t i = 0; i < n; i++) {
        double v = is_double ? d[i] : (double)f[i];
        if (fabs(v) < 0x1p1023) out[left++] = v;
    }
    return left;
}

static size_t room(const ll_history *s, size_t n) { return s->top + n + 1; }

static int push(ll_history *s, const void *x, int is_double, size_t n, ll_cycles *out) {
    double samples[CHUNK + 66], found[CHUNK + 64] = {0};
    for (size_t i = 0; i < n; i += CHUNK) {
        size_t part = n - i < CHUNK ? n - i : CHUNK, good = gather(x, is_double, i, part, samples + 1), first = 0;
        int status = reserve(s, s->top + CHUNK + 1);
        if (status) return status;
        s->seen += (int64_t)part, s->bad += (int64_t)(part - good);
        if (!good) continue;
        if (!s->begun) s->begun = 1, first = 1, s->stack[s->top++] = samples[1];
        else samples[0] = s->last;
        size_t turns = reversals(s, samples + first, good - first, found);
        s->last = samples[good];
        s->top = take_blind(s->stack, s->top, found, turns, out);
    }
    return LL_OK;
}

static void residue(const ll_history *s, double *scratch, ll_cycles *out) {
    if (!s->direction) return; /* nothing moved: no range, no cycle */
    memcpy(scratch, s->stack, s->top * sizeof *scratch);
    size_t top = take(scratch, s->top, &s->last, 1, out);
    for (size_t i = 0; i + 1 < top; i++) tell(out, scratch[i], scratch[i + 1], 0.5);
}

static void bin(const ll_cycles *c, const ll_rainflow_bins *b, double *counts) {
    const double most_r = (double)(b->n_ranges - 1), most_m = (double)(b->n_means - 1);
    for (size_t i = 0; i < c->n; i++) {
        double r = c->ranges[i] / b->range_width, m = (c->means[i] - b->mean_low) / b->mean_width;
        r = r < most_r ? r : most_r;
        m = m > 0.0 ? m : 0.0, m = m < most_m ? m : most_m;
        counts[(size_t)r * b->n_means + (size_t)m] += c->counts[i];
    }
}

static void close_(ll_history *s) {
    if (s->stack) free(s->stack - FLOOR);
    s->stack = NULL, s->top = s->cap = 0;
}

const ll_rainflow_api LL_FN(ll_rainflow_api) = {
    .room = room, .push = push, .residue = residue, .bin = bin, .reserve = reserve, .close = close_,
};
