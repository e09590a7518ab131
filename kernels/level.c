/* The cases the loops walk:
 *
 *   a tile of samples changes nothing (all finite, every bound answers for its least, its greatest and the last sample
 *   alike, nothing pending falls due in it): two integer comparisons a sample, eight or more at a time;
 *   anything else: sample by sample.
 *
 * Both leave the same state, so it does not matter where a tile begins. */
#include "level.h"

#include <math.h>

enum { TILE = 1024 };

#define NS 1000000000

/* Times of consecutive samples without a division each: quotient and remainder of the exact rational step. */
typedef struct {
    const int64_t *t_ns;
    int64_t t, rem, step, step_rem, num;
} ticker;

/* Times may come from anywhere and lie at the ends of int64: sums and differences stop there. */
static inline int64_t later(int64_t t, int64_t by) {
    int64_t sum;
    return __builtin_add_overflow(t, by, &sum) ? (by < 0 ? INT64_MIN : INT64_MAX) : sum;
}

static inline int64_t since_then(int64_t t, int64_t then) {
    int64_t gone;
    return __builtin_sub_overflow(t, then, &gone) ? (then < 0 ? INT64_MAX : INT64_MIN) : gone;
}

static int64_t time_at(const ll_level_clock *c, size_t i, int64_t *rem) {
    __int128 all = ((__int128)c->index + (int64_t)i) * c->den * NS, q = all / c->num, r = all % c->num;
    if (r < 0) q--, r += c->num;
    if (rem) *rem = (int64_t)r;
    return (int64_t)(c->anchor_ns + q);
}

static ticker ticker_at(const ll_level_clock *c, size_t i) {
    ticker k = {.t_ns = c->t_ns, .num = c->num};
    if (c->t_ns) return k;
    __int128 step = (__int128)c->den * NS;
    k.step = (int64_t)(step / c->num), k.step_rem = (int64_t)(step % c->num);
    k.t = time_at(c, i, &k.rem);
    return k;
}

static inline int64_t next_time(ticker *k, size_t i) {
    if (k->t_ns) return k->t_ns[i];
    int64_t now = k->t; /* the sample after the last one may lie beyond int64: unsigned */
    k->t = (int64_t)((uint64_t)k->t + (uint64_t)k->step), k->rem += k->step_rem;
    if (k->rem >= k->num) k->rem -= k->num, k->t = (int64_t)((uint64_t)k->t + 1);
    return now;
}

static inline int beyond(const ll_level_rule *r, float v, float bound) { return r->strict ? v > bound : v >= bound; }
static inline int over(const ll_level_rule *r, int s, float v) { return !beyond(r, v, r->bound[s][0]) && v <= r->clear[s]; }

static void start(ll_level_state *s) {
    memset(s, 0, sizeof *s);
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < LL_LEVEL_RANKS; k++) s->since[i][k] = LL_LEVEL_NEVER;
    s->clear_since = s->last_ns = LL_LEVEL_NEVER;
    s->side = s->rank = -1;
}

/* What was pending begins anew after a hole; an active alarm stays. */
static void forget(ll_level_state *s) {
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < LL_LEVEL_RANKS; k++) s->since[i][k] = LL_LEVEL_NEVER;
    s->clear_since = LL_LEVEL_NEVER;
}

static int is_hole(int64_t last, int64_t t, int64_t hold) {
    return last != LL_LEVEL_NEVER && (t <= last || (hold > 0 && since_then(t, last) > hold));
}

/* When the next decision falls due if the samples go on as they are; INT64_MAX: nothing is pending. */
static int64_t due(const ll_level_state *s, const ll_level_rule *r) {
    int64_t first = INT64_MAX;
    for (int i = 0; i < 2; i++)
        for (int k = s->side == i ? s->rank + 1 : 0; k < r->n[i]; k++)
            if (s->since[i][k] != LL_LEVEL_NEVER && later(s->since[i][k], r->on_ns) < first) first = later(s->since[i][k], r->on_ns);
    if (s->clear_since != LL_LEVEL_NEVER && later(s->clear_since, r->off_ns) < first) first = later(s->clear_since, r->off_ns);
    return first;
}

static void say(ll_level_event *e, const ll_level_state *s, int what, int64_t t, float x) {
    *e = (ll_level_event){.t_ns = t, .onset_ns = s->onset_ns, .x = x, .peak = s->side ? -s->peak[1] : s->peak[0],
                          .what = (int8_t)what, .side = s->side, .rank = s->rank};
}

/* Where the sample lies against the bounds of one side; the highest rank whose delay is fulfilled, or -1. */
static int follow(ll_level_state *s, const ll_level_rule *r, int i, int64_t t, float v) {
    int rank = -1;
    if (r->n[i] && beyond(r, v, r->bound[i][0])) {
        int begins = s->since[i][0] == LL_LEVEL_NEVER && s->side != i;
        if (begins || v > s->peak[i]) s->peak[i] = v;
    }
    for (int k = 0; k < r->n[i]; k++) {
        if (!beyond(r, v, r->bound[i][k])) s->since[i][k] = LL_LEVEL_NEVER;
        else if (s->since[i][k] == LL_LEVEL_NEVER) s->since[i][k] = t;
        if (s->since[i][k] != LL_LEVEL_NEVER && since_then(t, s->since[i][k]) >= r->on_ns) rank = k;
    }
    return rank;
}

static int step(ll_level_state *s, const ll_level_rule *r, int64_t t, float x, ll_level_event *out) {
    int n = 0;
    if (is_hole(s->last_ns, t, r->hold_ns)) forget(s);
    s->last_ns = t, s->last_x = x;
    for (int i = 0; i < 2; i++) {
        float v = i ? -x : x;
        int rank = follow(s, r, i, t, v);
        if (rank >= 0 && s->side != i) {
            /* the other side is certainly over, whatever its delay */
            if (s->side >= 0) say(&out[n++], s, LL_LEVEL_END, t, x);
            s->side = (int8_t)i, s->rank = (int8_t)rank, s->onset_ns = s->since[i][0], s->clear_since = LL_LEVEL_NEVER;
            say(&out[n++], s, LL_LEVEL_RAISE, t, x);
        } else if (rank > s->rank && s->side == i) {
            s->rank = (int8_t)rank;
            say(&out[n++], s, LL_LEVEL_RISE, t, x);
        }
    }
    if (s->side >= 0) {
        if (!over(r, s->side, s->side ? -x : x)) s->clear_since = LL_LEVEL_NEVER;
        else if (s->clear_since == LL_LEVEL_NEVER) s->clear_since = t;
        if (s->clear_since != LL_LEVEL_NEVER && since_then(t, s->clear_since) >= r->off_ns) {
            say(&out[n++], s, LL_LEVEL_END, t, x);
            s->side = s->rank = -1, s->clear_since = LL_LEVEL_NEVER;
        }
    }
    return n;
}

/* Floats as integers in the same order: compilers make one instruction of an integer minimum, and everything that is
 * not finite lies outside [KEY(-inf), KEY(+inf)] or on its ends. */
static inline int32_t key(int32_t bits) { return bits ^ ((bits >> 31) & INT32_MAX); }
#define KEY_INF 0x7f800000
#define KEY_MINUS_INF (-0x7f800001)

static int range(const float *x, size_t n, float *lo, float *hi) {
    int32_t least = INT32_MAX, most = INT32_MIN;
    for (size_t i = 0; i < n; i++) {
        int32_t bits;
        memcpy(&bits, &x[i], 4);
        int32_t k = key(bits);
        least = k < least ? k : least;
        most = k > most ? k : most;
    }
    int32_t a = key(least), b = key(most);
    memcpy(lo, &a, 4), memcpy(hi, &b, 4);
    return most < KEY_INF && least > KEY_MINUS_INF;
}

/* Every bound answers for a, b and c alike. */
static int same_zone(const ll_level_rule *r, float a, float b, float c) {
    for (int i = 0; i < 2; i++) {
        float u = i ? -a : a, v = i ? -b : b, w = i ? -c : c;
        for (int k = 0; k < r->n[i]; k++) {
            int in = beyond(r, u, r->bound[i][k]);
            if (in != beyond(r, v, r->bound[i][k]) || in != beyond(r, w, r->bound[i][k])) return 0;
        }
        if (r->n[i] && (over(r, i, u) != over(r, i, v) || over(r, i, u) != over(r, i, w))) return 0;
    }
    return 1;
}

/* Takes a tile at once if it changes nothing but the peak. */
static int skip(ll_level_state *s, const ll_level_rule *r, const float *x, const ll_level_clock *c, size_t i, size_t n) {
    float lo, hi;
    if (s->last_ns == LL_LEVEL_NEVER || !range(x + i, n, &lo, &hi) || !same_zone(r, lo, hi, s->last_x)) return 0;
    int64_t last = c->t_ns ? c->t_ns[i + n - 1] : time_at(c, i + n - 1, NULL), first_due = due(s, r);
    if (first_due != INT64_MAX) {
        if (c->t_ns || last >= first_due || is_hole(s->last_ns, time_at(c, i, NULL), r->hold_ns)) return 0;
        if (r->hold_ns > 0 && (__int128)c->den * NS > (__int128)r->hold_ns * c->num) return 0;
    }
    for (int k = 0; k < 2; k++) {
        float v = k ? -lo : hi;
        if (r->n[k] && beyond(r, v, r->bound[k][0]) && v > s->peak[k]) s->peak[k] = v;
    }
    s->last_ns = last, s->last_x = x[i + n - 1];
    return 1;
}

static int push(ll_level_state *s, const ll_level_rule *r, const float *x, const ll_level_clock *c, size_t n, size_t *used,
                ll_level_event *out, int cap) {
    int made = 0;
    size_t i = *used;
    if (!c->t_ns && (c->num <= 0 || c->den <= 0)) return LL_RANGE;
    while (i < n) {
        size_t end = i + TILE < n ? i + TILE : n;
        if (!skip(s, r, x, c, i, end - i)) {
            ticker k = ticker_at(c, i);
            for (; i < end; i++) {
                if (cap - made < 2) {
                    *used = i;
                    return made;
                }
                int64_t t = next_time(&k, i);
                if (isfinite(x[i])) made += step(s, r, t, x[i], out + made);
            }
        }
        i = end;
    }
    *used = n;
    return made;
}

static void slope_start(ll_slope_state *s) {
    memset(s, 0, sizeof *s);
    s->next_ns = s->last_ns = LL_LEVEL_NEVER;
}

static inline int next_slot(int i) { return i + 1 == LL_SLOPE_ROOM ? 0 : i + 1; }

static void keep(ll_slope_state *s, int64_t span, int64_t t, float x) {
    if (s->count == LL_SLOPE_ROOM) s->head = next_slot(s->head), s->count--; /* only a damaged state is so full */
    int at = s->head + s->count;
    if (at >= LL_SLOPE_ROOM) at -= LL_SLOPE_ROOM;
    s->t[at] = t, s->x[at] = x, s->count++;
    int64_t past = t % span;
    s->next_ns = later(t, span - (past < 0 ? past + span : past));
}

static int slope(ll_slope_state *s, int64_t window, int64_t hold, double per_ns, const float *x, const ll_level_clock *c,
                 size_t n, float *out) {
    if (window < LL_SLOPE_KEEP || (!c->t_ns && (c->num <= 0 || c->den <= 0))) return LL_RANGE;
    int64_t span = (window + LL_SLOPE_KEEP - 1) / LL_SLOPE_KEEP;
    ticker k = ticker_at(c, 0);
    for (size_t i = 0; i < n; i++) {
        int64_t t = next_time(&k, i);
        out[i] = NAN;
        if (!isfinite(x[i])) continue;
        if (is_hole(s->last_ns, t, hold)) slope_start(s);
        s->last_ns = t;
        int64_t old = later(t, -window);
        while (s->count > 1 && s->t[next_slot(s->head)] <= old) s->head = next_slot(s->head), s->count--;
        if (s->count && s->t[s->head] <= old)
            out[i] = (float)(((double)x[i] - s->x[s->head]) / (double)since_then(t, s->t[s->head]) * per_ns);
        if (t >= s->next_ns) keep(s, span, t, x[i]);
    }
    return LL_OK;
}

const ll_level_api LL_FN(ll_level_api) = {.start = start, .push = push, .slope_start = slope_start, .slope = slope};
