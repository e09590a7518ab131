/* The cases the loops walk:
 *
 *   samples fill the open bin, a copy at a time; only its end is work: a median, a handful of sums;
 *   learning: while LL_STEP_PAST bins fill for the first time, every 16 bins from the older half of what there is, for the
 *   newer may already be the event; then once per filling. */
#include "step.h"

#include "past.h"

enum { YOUNG_EVERY = 16, BLOCKS = 32 };

#define TAIL 0.98
#define TAIL_SD 2.3263478740408408 /* |e| of a normal sample is below this, in deviations, with probability TAIL */
#define CLIP 3.0
#define NEWEST 0.75   /* so much of the newest block's noise counts at once */
#define YOUNG 16.0    /* sigma learnt from n bins is taken 1 + YOUNG / n times as large; the noise of sizes by half of that */
#define OVER 1.25     /* a CUSUM is held at so many thresholds, so that its word ends with what made it */
#define FINEST 3e-7   /* of the level: what float32 tells apart */
#define LEAST 1e-3    /* of min_step: the smallest noise believed in */

typedef struct {
    ll_step_head *s;
    double *level;
    float *y, *d, *raw;
} row;

static row open_row(const ll_step_rule *r, void *state) {
    row k = {.s = state};
    k.level = (double *)(k.s + 1);
    k.y = (float *)(k.level + r->n_window);
    k.d = k.y + LL_STEP_PAST;
    k.raw = k.d + LL_STEP_PAST;
    return k;
}

static size_t step_room(const ll_step_rule *r) {
    const uint32_t n[] = {r->size, r->n_pre, r->n_post, r->n_rise, r->n_gate, r->n_window, r->n_hold};
    for (size_t i = 0; i < sizeof n / sizeof *n; i++)
        if (n[i] < 1) return 0;
    if (r->n_pre > LL_STEP_MOST || r->n_post > LL_STEP_MOST || r->n_rise > LL_STEP_MOST || r->size > (1u << 20)) return 0;
    if (r->n_window < r->n_rise + r->n_pre + r->n_post || r->n_window < LL_STEP_LAG + 1 || r->n_window > 8 * LL_STEP_MOST) return 0;
    if (r->n_ring <= r->n_window || r->n_ring > 32 * LL_STEP_MOST) return 0;
    if (!(r->drift >= 0 && r->trigger > 0 && r->min_step > 0 && r->allowance >= 0 && r->z >= 0 && r->reference > 0 &&
          r->threshold > 0))
        return 0;
    size_t floats = 2 * LL_STEP_PAST + (size_t)r->n_ring * r->size;
    return sizeof(ll_step_head) + r->n_window * sizeof(double) + (floats + 1) / 2 * 8;
}

static void sort_doubles(double *v, size_t n) {
    for (size_t i = 1; i < n; i++) {
        double x = v[i];
        size_t j = i;
        for (; j > 0 && v[j - 1] > x; j--) v[j] = v[j - 1];
        v[j] = x;
    }
}

/* ---- state ---- */

static void settle(ll_step_head *s) {
    s->pending = 0;
    s->meter[0] = s->meter[1] = 0;
    s->bins[0] = s->bins[1] = 0;
}

static void forget(ll_step_head *s) {
    settle(s);
    s->missing = s->levels = s->head = s->quiet = s->span = 0;
    s->gate[0] = s->gate[1] = s->lags = s->settled = 0;
    s->g[0] = s->g[1] = 0;
    s->tracking = s->near = 0;
    s->since = 0, s->back = -1;
}

static void step_restart(const ll_step_rule *r, void *state) {
    ll_step_head *s = state;
    forget(s);
    s->open = s->at = s->held = 0;
}

static void step_start(const ll_step_rule *r, void *state) {
    memset(state, 0, step_room(r));
    ll_step_head *s = state;
    s->sigma = s->noise = INFINITY;
    step_restart(r, state);
}

/* The level `ago` bins before the newest. */
static inline double level_at(const ll_step_rule *r, const row *k, uint32_t ago) {
    uint32_t at = k->s->head + r->n_window - 1 - ago;
    return k->level[at >= r->n_window ? at - r->n_window : at];
}

/* Median of the levels from `oldest` bins ago on, n of them. */
static double middle(const ll_step_rule *r, const row *k, uint32_t oldest, uint32_t n) {
    double v[LL_STEP_MOST];
    for (uint32_t i = 0; i < n; i++) v[i] = level_at(r, k, oldest - i);
    sort_doubles(v, n);
    return n % 2 ? v[n / 2] : 0.5 * (v[n / 2 - 1] + v[n / 2]);
}

/* The level before the newest bins. The middles of the two lie n_rise apart: a slower ramp does not add up to a step. */
static double level_before(const ll_step_rule *r, const row *k) {
    uint32_t back = r->n_rise + (r->n_post + r->n_pre) / 2, oldest = k->s->levels - 1;
    if (back <= k->s->levels) oldest = back - 1;
    return middle(r, k, oldest, oldest + 1 < r->n_pre ? oldest + 1 : r->n_pre);
}

static double level_after(const ll_step_rule *r, const row *k) {
    uint32_t n = r->n_post < k->s->levels ? r->n_post : k->s->levels;
    return middle(r, k, n - 1, n);
}

/* ---- learning ---- */

static double larger(double a, double b) { return a > b ? a : b; }

/* The autoregression and the noise from the last n bins, oldest first, of which this is the block-th whole filling. */
static void learn(const ll_step_rule *r, row *k, size_t n, double level) {
    ll_step_head *s = k->s;
    float work[LL_STEP_PAST];
    double rho[LL_STEP_ORDER + 1], w = s->blocks ? 1.0 / s->blocks : 1.0;
    ll_correlate(k->y, n, CLIP * LL_MAD_SD * ll_median_size(k->y, n, work), rho);
    for (int l = 0; l <= LL_STEP_ORDER; l++) s->rho[l] += w * (rho[l] - s->rho[l]);
    int order = n / 16 < LL_STEP_ORDER ? (int)(n / 16) : LL_STEP_ORDER;
    ll_levinson(s->rho, order, s->a);
    for (size_t i = (size_t)order; i < n; i++) {
        double e = k->y[i];
        for (int l = 0; l < order; l++) e -= s->a[l] * (double)k->y[i - 1 - (size_t)l];
        work[i - (size_t)order] = (float)fabs(e);
    }
    size_t m = n - (size_t)order;
    double mid = LL_MAD_SD * ll_median(work, m), tail = ll_ranked(work, m, (size_t)(TAIL * (double)(m - 1))) / TAIL_SD;
    double noise = LL_MAD_SD * ll_median_size(k->d, n, work);
    s->log_mid += w * (ll_logged(mid) - s->log_mid);
    s->log_tail += w * (ll_logged(tail) - s->log_tail);
    s->log_noise += w * (ll_logged(noise) - s->log_noise);
    double young = YOUNG / (s->blocks ? (double)(s->blocks * n) : (double)n), least = larger(LEAST * r->min_step, FINEST * fabs(level));
    double sigma = larger(exp(larger(s->log_mid, s->log_tail)), NEWEST * larger(mid, tail));
    s->sigma = larger(sigma * (1 + young), least);
    s->noise = larger(exp(s->log_noise), NEWEST * noise) * (1 + 0.5 * young);
}

/* Takes one bin's y and difference into the past; learns where it is time to. */
static void remember(const ll_step_rule *r, row *k, double y, double level) {
    ll_step_head *s = k->s;
    if (s->levels <= LL_STEP_LAG) return;
    size_t at = s->fed % LL_STEP_PAST;
    k->y[at] = (float)y;
    k->d[at] = (float)(level_after(r, k) - level_before(r, k));
    s->fed++;
    if (s->fed < LL_STEP_PAST) {
        size_t half = s->fed / 2 > LL_STEP_WARM ? s->fed / 2 : LL_STEP_WARM;
        if (s->fed == LL_STEP_WARM || (s->fed > LL_STEP_WARM && s->fed % YOUNG_EVERY == 0)) learn(r, k, half, level);
    } else if (s->fed % LL_STEP_PAST == 0) {
        s->blocks += s->blocks < BLOCKS;
        learn(r, k, LL_STEP_PAST, level);
    }
}

/* The newest n bins were a step, no noise: what came before them stands in. */
static void forgive(row *k, uint64_t n) {
    uint64_t fed = k->s->fed, all = fed < LL_STEP_PAST ? fed : LL_STEP_PAST;
    if (n > all / 2) n = all / 2;
    for (uint64_t i = fed - n; i < fed; i++) {
        k->y[i % LL_STEP_PAST] = k->y[(i - n) % LL_STEP_PAST];
        k->d[i % LL_STEP_PAST] = k->d[(i - n) % LL_STEP_PAST];
    }
}

/* ---- the two meters ---- */

/* The CUSUM of what the autoregression did not foresee. */
static void whiten(const ll_step_rule *r, ll_step_head *s, double y) {
    if (s->lags == LL_STEP_ORDER) {
        double e = y;
        for (int l = 0; l < LL_STEP_ORDER; l++) e -= s->a[l] * s->lag[l];
        e /= s->sigma;
        for (int side = 0; side < 2; side++) {
            double g = s->g[side] + (side ? e : -e) - r->reference;
            s->g[side] = g > 0 ? (g < OVER * r->threshold ? g : OVER * r->threshold) : 0;
            if (g >= r->threshold) {
                s->crossings += s->gate[side] == 0;
                s->gate[side] = r->n_gate;
            } else s->gate[side] -= s->gate[side] > 0;
        }
    } else {
        s->lags++;
        for (int side = 0; side < 2; side++) s->gate[side] -= s->gate[side] > 0;
    }
    memmove(s->lag + 1, s->lag, (LL_STEP_ORDER - 1) * sizeof *s->lag);
    s->lag[0] = y;
}

/* Has a meter passed its threshold, and the CUSUM of its sign not long ago? */
static int beyond(const ll_step_rule *r, ll_step_head *s, double change) {
    int found = 0;
    for (int side = 0; side < 2; side++) {
        double m = s->meter[side] + (side ? change : -change) - r->drift;
        s->meter[side] = m > 0 ? m : 0;
        s->bins[side] = m > 0 ? s->bins[side] + (s->bins[side] < UINT32_MAX) : 0;
        found |= m >= r->trigger && s->gate[side];
    }
    return found;
}

/* ---- steps ---- */

/* Whether most of the newest bins differ from the level before by enough: more than half of them, so that a dip does not. */
static int differs(const ll_step_rule *r, const row *k, double before) {
    const ll_step_head *s = k->s;
    double limit = larger(r->min_step, r->allowance + r->z * s->noise);
    uint32_t post = r->n_post < s->levels ? r->n_post : s->levels, far = 0;
    for (uint32_t i = 0; i < post; i++) far += fabs(level_at(r, k, i) - before) >= limit;
    return far >= post - (post - 1) / 2;
}

/* Looks out for the level before the first step: n_post bins in a row nearer to it than to the one after. */
static void track(const ll_step_rule *r, ll_step_head *s, double level) {
    if (!s->tracking) return;
    s->since += r->size;
    if (s->back >= 0) return;
    s->near = fabs(level - s->from) < s->half ? s->near + 1 : 0;
    if (s->near >= r->n_post) s->back = s->since - (int64_t)r->n_post * r->size;
}

static int confirm(const ll_step_rule *r, row *k, double before, double level, ll_step_event *event) {
    ll_step_head *s = k->s;
    int side = s->meter[0] >= s->meter[1] ? 0 : 1;
    *event = (ll_step_event){LL_STEP_ON, s->bins[side] ? s->bins[side] : 1, s->span < s->held ? s->span : s->held, 0, -1};
    if (!s->tracking) {
        s->tracking = 1, s->near = 0, s->since = 0, s->back = -1;
        s->from = before, s->half = 0.5 * fabs(level - before);
    }
    forgive(k, s->bins[side] < r->n_gate ? s->bins[side] + 1 : r->n_gate);
    settle(s);
    s->quiet = 0;
    s->base = level, s->settled = 8; /* the new level is the one to watch */
    memset(s->lag, 0, sizeof s->lag);
    s->g[0] = s->g[1] = 0;
    s->gate[0] = s->gate[1] = 0;
    return LL_STEP_ON;
}

static int asked(const ll_step_rule *r, row *k, ll_step_event *event) {
    ll_step_head *s = k->s;
    if (++s->pending <= r->n_post) return LL_STEP_NONE;
    double before = level_before(r, k);
    if (differs(r, k, before)) return confirm(r, k, before, level_after(r, k), event);
    if (s->pending > r->n_rise + 2 * r->n_post) settle(s);
    return LL_STEP_NONE;
}

static int quiet(const ll_step_rule *r, ll_step_head *s, ll_step_event *event) {
    if (s->quiet != r->n_hold) return LL_STEP_NONE;
    *event = (ll_step_event){LL_STEP_QUIET, 0, s->held, 0, -1};
    if (s->tracking && s->back >= 0) event->back = s->since - s->back;
    s->tracking = 0;
    return LL_STEP_QUIET;
}

/* One bin's level, NaN where most of its samples are missing. */
static int take(const ll_step_rule *r, row *k, double level, ll_step_event *event) {
    ll_step_head *s = k->s;
    if (s->span < UINT32_MAX) s->span++;
    if (level != level) {
        if (s->missing < UINT32_MAX) s->missing++;
        if (2 * (uint64_t)s->missing > r->n_rise) forget(s);
        return LL_STEP_NONE;
    }
    s->missing = 0;
    double last = s->levels ? level_at(r, k, 0) : level;
    k->level[s->head] = level;
    s->head = s->head + 1 == r->n_window ? 0 : s->head + 1;
    s->levels += s->levels < r->n_window;
    if (s->settled == 0) s->base = level;
    double y = level - s->base;
    s->settled += s->settled < LL_STEP_MEMORY;
    s->base += y / s->settled;
    if (s->levels < 2) return LL_STEP_NONE;
    remember(r, k, y, level);
    if (!(s->noise < INFINITY)) return LL_STEP_NONE;
    whiten(r, s, y);
    track(r, s, level);
    int far = beyond(r, s, level - last);
    s->quiet = far ? 0 : s->quiet + (s->quiet < UINT32_MAX);
    int said = LL_STEP_NONE;
    if (s->pending) said = asked(r, k, event);
    else s->pending = (uint32_t)far;
    return said ? said : quiet(r, s, event);
}

static double level_of(const float *x, size_t size, float *work) {
    size_t n = 0;
    for (size_t i = 0; i < size; i++) {
        work[n] = x[i];
        n += x[i] - x[i] == 0;
    }
    return 2 * n >= size ? ll_median(work, n) : NAN;
}

static int step_push(const ll_step_rule *r, void *state, const float *x, size_t n, size_t *used, float *work,
                     ll_step_event *event) {
    row k = open_row(r, state);
    ll_step_head *s = k.s;
    while (*used < n) {
        size_t some = r->size - s->open < n - *used ? r->size - s->open : n - *used;
        float *bin = k.raw + (size_t)s->at * r->size;
        memcpy(bin + s->open, x + *used, some * sizeof *x);
        *used += some, s->open += (uint32_t)some;
        if (s->open < r->size) break;
        s->open = 0;
        s->at = s->at + 1 == r->n_ring ? 0 : s->at + 1;
        s->held += s->held + 1 < r->n_ring;
        int said = take(r, &k, level_of(bin, r->size, work), event);
        if (said) return said;
    }
    return LL_STEP_NONE;
}

static void step_last(const ll_step_rule *r, const void *state, size_t n, float *out) {
    row k = open_row(r, (void *)state);
    const ll_step_head *s = k.s;
    size_t kept = (size_t)s->held * r->size + s->open, ring = (size_t)r->n_ring * r->size, end = (size_t)s->at * r->size + s->open;
    size_t i = 0;
    for (; i + kept < n; i++) out[i] = NAN;
    size_t at = (end + ring - (n - i)) % ring;
    while (i < n) {
        size_t some = ring - at < n - i ? ring - at : n - i;
        memcpy(out + i, k.raw + at, some * sizeof *out);
        i += some, at = 0;
    }
}

static int step_check(const ll_step_rule *r, const void *state) {
    const ll_step_head *s = state;
    if (s->open >= r->size || s->at >= r->n_ring || s->held >= r->n_ring || s->levels > r->n_window || s->head >= r->n_window)
        return LL_STATE;
    if (s->lags > LL_STEP_ORDER || s->settled > LL_STEP_MEMORY || s->blocks > BLOCKS || s->tracking > 1) return LL_STATE;
    if (s->back < -1 || s->since < 0 || s->back > s->since || s->since > INT64_MAX / 2) return LL_STATE;
    return s->blocks == (s->fed / LL_STEP_PAST < BLOCKS ? s->fed / LL_STEP_PAST : BLOCKS) ? LL_OK : LL_STATE;
}

const ll_step_api LL_FN(ll_step_api) = {step_room, step_start, step_restart, step_push, step_last, step_check};
