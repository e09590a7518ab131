/* See ways.h. fit: eight places side by side in single precision, arrivals in the outer loop, times counted from an arrival (1 us
 * in 10 s, a thousandth of what picks can do); a log is taken of products of four factors, which bounds keep in range.
 * weigh, in weigh.c: one place after the other in double, small dense matrices. */
#include "ways.h"

#include <math.h>

#include "ways_ends.h"

typedef float real;

enum { W = LL_WAYS_LANES, ROUNDS = 6, A_LOG = 4 };
#define DEGREES 3.0f
#define PRIOR_DEGREES 4.0f /* the scale's prior has long tails: the speed told may be plainly wrong */
#define UNREACHED2 900.0f
#define LEAST_VAR 1e-10
#define MOST_Q 1e4f

/* Walks from every node to the first whose sum is known, then back; marks found in `last` keep it linear in time. */
static int gather(size_t n, const int32_t *restrict toward, const double *restrict cost, int32_t *restrict work,
                  double *restrict total, int32_t *restrict last) {
    for (size_t v = 0; v < n; v++) last[v] = -1;
    for (size_t v = 0; v < n; v++) {
        size_t depth = 0;
        int32_t u = (int32_t)v;
        while (last[u] < 0) {
            if (depth == n || toward[u] >= (int32_t)n) return LL_RANGE; /* a circle, or out of the network */
            work[depth++] = u;
            if (toward[u] < 0) {
                total[u] = 0, last[u] = u;
                depth--;
                break;
            }
            u = toward[u];
        }
        while (depth) {
            int32_t w = work[--depth];
            total[w] = total[u] + cost[w], last[w] = last[u];
            u = w;
        }
    }
    return LL_OK;
}

/* Times and variances of eight places: tau (0 where there is no way), early and late variance, whether there is a way. */
typedef struct {
    real *tau, *early, *late, *ok, *sort;
    double shared[W];
} block;

static size_t fit_room(size_t n) { return 3 * n * W; } /* 5 n W + n reals */

static void load(const ll_ways_net *net, const ll_ways_heard *heard, double lean2, const ll_ways_place *place, size_t n,
                 block *b) {
    size_t m = net->n_sensors;
    for (size_t w = 0; w < W; w++) {
        const ll_ways_place *p = &place[w < n ? w : 0];
        double less = 0;
        int all_a = 1, all_b = p->b >= 0;
        for (size_t i = 0; i < m; i++) {
            int by_b;
            double square, tau = ll_ways_time(net, p, i, &by_b, &square);
            int ok = tau < HUGE_VAL;
            all_a &= !(ok & by_b), all_b &= !(ok & !by_b);
            b->tau[i * W + w] = ok ? (real)tau : 0;
            b->ok[i * W + w] = (real)ok;
            b->early[i * W + w] = ok ? (real)square : 0;
        }
        b->shared[w] = 0;
        if (all_a) b->shared[w] = net->common_s[p->a] + (p->b < 0 ? 0 : p->to_a), less = net->common2[p->a] + (p->b < 0 ? 0 : p->to_a * p->to_a);
        else if (all_b) b->shared[w] = net->common_s[p->b] + p->to_b, less = net->common2[p->b] + p->to_b * p->to_b;
        for (size_t i = 0; i < m; i++) {
            double own = (double)b->early[i * W + w] - less, tau = (double)b->tau[i * W + w];
            double var = heard->sd2[i] + heard->scatter2 * (own > 0 ? own : 0) + lean2 * tau * tau + p->blur * p->blur;
            var = var > LEAST_VAR ? var : LEAST_VAR;
            b->early[i * W + w] = (real)var;
            b->late[i * W + w] = (real)(var + (heard->late2[i] - heard->sd2[i]));
        }
    }
}

/* Sorts m rows of eight, each lane for itself. */
static void sort(real *restrict x, size_t m) {
    for (size_t round = 0; round < m; round++)
        for (size_t i = round % 2; i + 1 < m; i += 2) {
            real *restrict a = x + i * W, *restrict b = a + W;
            for (int w = 0; w < W; w++) {
                real low = a[w] < b[w] ? a[w] : b[w], high = a[w] < b[w] ? b[w] : a[w];
                a[w] = low, b[w] = high;
            }
        }
}

static real middle(const real *x, size_t n, int w) {
    return n ? 0.5f * (x[(n - 1) / 2 * W + (size_t)w] + x[n / 2 * W + (size_t)w]) : 0;
}

/* The rounds: t0 and slow of eight places. */
static void solve(const block *b, const real *restrict t, size_t m, const ll_ways_scale *scale, real *restrict t0, real *restrict slow) {
    real prior = scale->sd > 0 ? (real)(1 / (scale->sd * scale->sd)) : 0, least = (real)scale->least, most = (real)scale->most;
    for (int round = 0; round < ROUNDS; round++) {
        real s[W] = {0}, st[W] = {0}, su[W] = {0}, stu[W] = {0}, suu[W] = {0};
        for (size_t i = 0; i < m; i++) {
            const real *restrict tau = b->tau + i * W, *restrict early = b->early + i * W, *restrict late = b->late + i * W;
            const real *restrict ok = b->ok + i * W;
            for (int w = 0; w < W; w++) {
                real e = t[i] - t0[w] - slow[w] * tau[w];
                real var = e > 0 ? late[w] : early[w];
                real c = ok[w] * (DEGREES + 1) / (DEGREES * var + e * e);
                s[w] += c, st[w] += c * t[i], su[w] += c * tau[w], stu[w] += c * t[i] * tau[w], suu[w] += c * tau[w] * tau[w];
            }
        }
        for (int w = 0; w < W; w++) {
            real total = s[w] > 1e-30f ? s[w] : 1e-30f, mt = st[w] / total, mu = su[w] / total, k = slow[w];
            if (prior > 0) {
                real z2 = (k - 1) * (k - 1) * prior, pull = prior * (PRIOR_DEGREES + 1) / (PRIOR_DEGREES + z2);
                real spread = suu[w] - mu * su[w];
                k = (stu[w] - mt * su[w] + pull) / ((spread > 0 ? spread : 0) + pull);
                k = k < least ? least : k > most ? most : k;
            }
            slow[w] = k, t0[w] = mt - k * mu;
        }
    }
}

static void judge(const block *b, const real *t, size_t m, const ll_ways_scale *scale, const real *t0, const real *slow, size_t n,
                  ll_ways_found *out) {
    real product[W], score[W] = {0}, sum2[W] = {0}, count[W] = {0};
    for (int w = 0; w < W; w++) product[w] = 1;
    for (size_t i = 0; i < m; i++) {
        const real *restrict tau = b->tau + i * W, *restrict early = b->early + i * W, *restrict late = b->late + i * W;
        const real *restrict ok = b->ok + i * W;
        real *restrict z = b->sort + i * W;
        for (int w = 0; w < W; w++) {
            real e = t[i] - t0[w] - slow[w] * tau[w], var = e > 0 ? late[w] : early[w];
            real z2 = ok[w] > 0 ? e * e / var : UNREACHED2, q = 1 + z2 / DEGREES, width = 0.5f * (sqrtf(early[w]) + sqrtf(late[w]));
            q = q < MOST_Q ? q : MOST_Q;
            width = width < 10.0f ? width : 10.0f; /* and above sqrt(LEAST_VAR) */
            z[w] = z2;
            product[w] *= q * q * width; /* (DEGREES + 1) / 2 = 2 */
            sum2[w] += ok[w] * e * e, count[w] += ok[w];
        }
        if (i % A_LOG == A_LOG - 1 || i + 1 == m)
            for (int w = 0; w < W; w++) score[w] -= logf(product[w]), product[w] = 1;
    }
    sort(b->sort, m);
    for (size_t w = 0; w < n; w++) {
        real pull = scale->sd > 0 ? (slow[w] - 1) / (real)scale->sd : 0;
        score[w] -= 0.5f * (PRIOR_DEGREES + 1) * log1pf(pull * pull / PRIOR_DEGREES);
        out[w] = (ll_ways_found){.score = count[w] > 0 ? (double)score[w] : -HUGE_VAL, .t0 = t0[w], .slow = slow[w], .shared = b->shared[w],
                                 .rms = sqrtf(sum2[w] / (count[w] > 1 ? count[w] : 1)), .misfit = sqrtf(middle(b->sort, m, (int)w)),
                                 .chi2 = NAN, .kept = count[w]};
    }
}

static int fit(const ll_ways_net *net, const ll_ways_heard *heard, const ll_ways_scale *scale, const ll_ways_place *place,
               size_t n, double *work, ll_ways_found *out) {
    size_t m = net->n_sensors;
    if (m == 0) return LL_EMPTY;
    if (!ll_ways_sound(net, place, n)) return LL_RANGE;
    real *x = (real *)work, *t = x + 5 * m * W;
    block b = {.tau = x, .early = x + m * W, .late = x + 2 * m * W, .ok = x + 3 * m * W, .sort = x + 4 * m * W};
    for (size_t i = 0; i < m; i++) t[i] = (real)heard->t[i];
    for (size_t from = 0; from < n; from += W) {
        size_t some = n - from < W ? n - from : W;
        load(net, heard, scale->lean2, place + from, some, &b);
        real t0[W], slow[W];
        for (size_t i = 0; i < m; i++)
            for (int w = 0; w < W; w++) b.sort[i * W + (size_t)w] = b.ok[i * W + (size_t)w] > 0 ? t[i] - b.tau[i * W + (size_t)w] : HUGE_VALF;
        sort(b.sort, m);
        for (int w = 0; w < W; w++) {
            size_t ways = 0;
            for (size_t i = 0; i < m; i++) ways += b.ok[i * W + (size_t)w] > 0;
            t0[w] = middle(b.sort, ways, w), slow[w] = 1;
        }
        solve(&b, t, m, scale, t0, slow);
        judge(&b, t, m, scale, t0, slow, some, out + from);
    }
    return LL_OK;
}

extern size_t LL_FN(ll_ways_weigh_room)(size_t n);
extern int LL_FN(ll_ways_weigh)(const ll_ways_net *, const ll_ways_heard *, const ll_ways_model *, const ll_ways_place *, const double *,
                                size_t, double *, ll_ways_found *, double *, double *, uint8_t *);

const ll_ways_api LL_FN(ll_ways_api) = {gather, fit_room, fit, LL_FN(ll_ways_weigh_room), LL_FN(ll_ways_weigh)};
