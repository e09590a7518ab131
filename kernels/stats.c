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

#define NS 1000000000

typedef __int128 wide;
typedef float v8 __attribute__((vector_size(32)));
typedef float v8u __attribute__((vector_size(32), aligned(4), may_alias));
typedef int v8i __attribute__((vector_size(32)));
typedef double v8d __attribute__((vector_size(64)));
typedef double v8du __attribute__((vector_size(64), aligned(8), may_alias));
typedef int64_t v8l __attribute__((vector_size(64)));

#define INLINE static inline __attribute__((always_inline))

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

static void add_one(ll_stats_cell *s, float x, float low, float high) {
    int lane = s->seen++ & 7;
    s->clipped += (x <= low) | (x >= high);
    if (!isfinite(x)) return;
    s->finite++;
    double d = (double)x - s->shift;
    s->sum[lane] += d;
    s->square[lane] += d * d;
    x += 0.0f; /* -0 is 0: which of the two came first must not show */
    s->low = x < s->low ? x : s->low;
    s->high = x > s->high ? x : s->high;
}

static void add_eights(ll_stats_cell *s, const float *x, size_t n, float low, float high) {
    v8d sum = *(v8du *)s->sum, square = *(v8du *)s->square;
    v8 least = {0}, most = {0};
    least += s->low, most += s->high;
    v8i finite = {0}, clipped = {0};
    for (size_t i = 0; i < n; i += 8) {
        v8 v = *(const v8u *)(x + i);
        v8i good = v - v == 0.0f; /* not for NaN and the infinities */
        v8d d = __builtin_convertvector(v, v8d) - s->shift;
        d = (v8d)((v8l)d & __builtin_convertvector(good, v8l));
        sum += d;
        square += d * d;
        v += 0.0f;
        v8i less = good & (v < least), more = good & (v > most);
        least = (v8)((less & (v8i)v) | (~less & (v8i)least));
        most = (v8)((more & (v8i)v) | (~more & (v8i)most));
        finite -= good;
        clipped -= (v <= low) | (v >= high);
    }
    *(v8du *)s->sum = sum, *(v8du *)s->square = square;
    for (int l = 0; l < 8; l++) {
        s->low = least[l] < s->low ? least[l] : s->low;
        s->high = most[l] > s->high ? most[l] : s->high;
        s->finite += finite[l];
        s->clipped += clipped[l];
    }
    s->seen += (int64_t)n;
}

/* Runs of identical samples. 64 samples that all differ from the one before them cannot lengthen anything. */
static void add_runs(ll_stats_cell *s, const float *x, size_t n) {
    int64_t run = s->run, longest = s->longest;
    float last = s->last;
    for (size_t i = 0; i < n;) {
        if (i && i + 64 <= n && longest) {
            int any = 0;
            for (int l = 0; l < 64; l++) any |= x[i + l] == x[i + l - 1];
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

static void add_row(ll_stats_cell *s, const float *x, size_t n, float low, float high) {
    if (!n) return;
    add_runs(s, x, n);
    while (n && !s->finite && !isfinite(*x)) add_one(s, *x++, low, high), n--;
    if (!n) return;
    if (!s->finite) s->shift = *x;
    while (n && s->seen & 7) add_one(s, *x++, low, high), n--;
    for (size_t eights = n & ~(size_t)7, part; eights; eights -= part, x += part, n -= part) {
        part = eights < (size_t)1 << 30 ? eights : (size_t)1 << 30; /* counts within a part are int32 */
        add_eights(s, x, part, low, high);
    }
    while (n) add_one(s, *x++, low, high), n--;
}

static void add(ll_stats_cell *cells, size_t n_ch, const float *x, ptrdiff_t stride, size_t n, const float *low, const float *high) {
    for (size_t c = 0; c < n_ch; c++) add_row(cells + c, x + (ptrdiff_t)c * stride, n, low[c], high[c]);
}

INLINE double sum8(const double *v) { return ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7])); }

static void read_(const ll_stats_cell *cells, size_t n_ch, ll_stats_row *out) {
    for (size_t c = 0; c < n_ch; c++) {
        const ll_stats_cell *s = cells + c;
        double n = (double)s->finite, sum = sum8(s->sum), square = sum8(s->square);
        ll_stats_row r = {.finite = s->finite, .bad = s->seen - s->finite, .clipped = s->clipped, .longest = s->longest,
                          .mean = NAN, .rms = NAN, .deviation = NAN, .low = NAN, .high = NAN};
        if (s->finite) {
            double spread = (square - sum * sum / n) / n;
            r.mean = s->shift + sum / n;
            r.deviation = sqrt(spread > 0.0 ? spread : 0.0);
            r.rms = sqrt(r.mean * r.mean + (spread > 0.0 ? spread : 0.0));
            r.low = s->low, r.high = s->high;
            r.sum = s->shift * n + sum;
            r.square = square + 2.0 * s->shift * sum + s->shift * s->shift * n;
        }
        out[c] = r;
    }
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

/* First i >= from at or beyond an end, or n. */
static size_t next_clipped(const float *x, size_t from, size_t n, float low, float high) {
    size_t i = from;
    for (; i + 64 <= n; i += 64) {
        int any = 0;
        for (int l = 0; l < 64; l++) any |= (x[i + l] <= low) | (x[i + l] >= high);
        if (any) break;
    }
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
    if (begin < n) g->run_t0 = time_of(clock, begin);
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
    .bin = bin, .open = open_, .add = add, .read = read_, .flat = flat, .clip = clip,
};
