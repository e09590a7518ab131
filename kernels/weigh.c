/* weigh of ways.h. For one place: K from the two ends of its link, its Cholesky factor, P without t0, then for a narrow and a
 * wide prior of the speeds P without the scales, then strays leave one after the other, the one that gains most first.
 *
 * log density of what stays, k arrivals:  -(y'P y + log det S + log 1'S^-1 1 + sum log s^2 (1/s^2 + u'Pu) + (k - 1) log 2 pi) / 2
 * and one that leaves takes its own conditional density with it. */
#include <math.h>

#include "ways.h"
#include "ways_ends.h"
#include "ways_parting.h"

enum { SIDES = 3, PREFILTER = 4 };
typedef struct {
    size_t n, m; /* sensors, of them with a way */
    double *ka, *kb, *s, *p1, *p, *u, *w, *tau, *square, *var, *y, *z, *z2, *best;
    ll_ways_together *stack;
    int32_t *perm, *of, *kept;
    uint8_t *by_b;
    double less, ld, slow[LL_WAYS_GROUPS], sd[LL_WAYS_GROUPS], chi2;
    size_t stays;
} bench;

size_t LL_FN(ll_ways_weigh_room)(size_t n) { return 5 * n * n + (size_t)LL_WAYS_GROUPS * n + 9 * n + 3 * n + 4 * n + 8; }

static bench lay(double *work, size_t n) {
    bench b = {.n = n};
    b.ka = work, b.kb = b.ka + n * n, b.s = b.kb + n * n, b.p1 = b.s + n * n, b.p = b.p1 + n * n;
    b.u = b.p + n * n, b.w = b.u + (size_t)LL_WAYS_GROUPS * n, b.tau = b.w + n, b.square = b.tau + n, b.var = b.square + n;
    b.y = b.var + n, b.z = b.y + n, b.z2 = b.z + n, b.best = b.z2 + n;
    b.stack = (ll_ways_together *)(b.best + n);
    b.perm = (int32_t *)(b.stack + n), b.of = b.perm + n, b.kept = b.of + n, b.by_b = (uint8_t *)(b.kept + n);
    return b;
}

/* Times, squares and covered ground of the sensors that a wave from the place reaches. */
static void reach(const ll_ways_net *net, const ll_ways_model *model, const ll_ways_place *p, bench *b) {
    b->m = 0;
    for (size_t i = 0; i < b->n; i++) {
        int by_b;
        double square, tau = ll_ways_time(net, p, i, &by_b, &square);
        if (!(tau < HUGE_VAL)) continue;
        size_t r = b->m++;
        b->of[r] = (int32_t)i, b->by_b[r] = (uint8_t)by_b, b->tau[r] = tau, b->square[r] = square;
        int32_t end = by_b ? p->b : p->a;
        for (size_t g = 0; g < model->n_groups; g++) {
            double *u = b->u + g * b->n + r;
            if (!model->times) *u = tau;
            else *u = model->times[g * b->n + i][end] + (p->group == (int32_t)g ? by_b ? p->to_b : p->b < 0 ? 0 : p->to_a : 0);
        }
    }
}

/* Takes in where about its point the source is: nearer to b is later by a and earlier by b. */
static void neighbours(double s, bench *b) {
    size_t n = b->n, m = b->m;
    double *restrict p1 = b->p1, q = 1 / (s * s);
    for (size_t r = 0; r < m; r++) {
        double v = 0;
        for (size_t c = 0; c < m; c++) v += b->by_b[c] ? -p1[r * n + c] : p1[r * n + c];
        b->w[r] = v, q += b->by_b[r] ? -v : v;
    }
    b->ld += log(s * s * q);
    for (size_t r = 0; r < m; r++)
        for (size_t c = 0; c < m; c++) p1[r * n + c] -= b->w[r] * (b->w[c] / q);
}

/* Lower factor of the covariance in s, its inverse without t0 in p1, the determinants in ld. */
static void factor(const ll_ways_heard *heard, const ll_ways_place *p, bench *b) {
    size_t n = b->n, m = b->m;
    double *restrict s = b->s, *restrict p1 = b->p1, h = 0;
    b->less = m > 1 ? HUGE_VAL : 0;
    for (size_t r = 0; r < m; r++)
        for (size_t c = 0; c <= r; c++) {
            double k = 0;
            if (r == c) {
                k = b->square[r];
            } else if (b->by_b[r] == b->by_b[c]) {
                size_t at = (size_t)b->of[r] * n + (size_t)b->of[c];
                k = b->by_b[r] ? b->kb[at] + p->to_b * p->to_b : b->ka[at] + (p->b < 0 ? 0 : p->to_a * p->to_a);
            }
            if (k < b->less) b->less = k;
            s[r * n + c] = heard->scatter2 * k + (r == c ? b->var[r] : 0);
        }
    b->ld = ll_ways_inverse(n, m, s, p1, b->p);
    for (size_t r = 0; r < m; r++) {
        double v = 0;
        for (size_t c = 0; c < m; c++) v += b->p[r * n + c];
        b->w[r] = v, h += v;
    }
    b->ld += log(h);
    for (size_t r = 0; r < m; r++)
        for (size_t c = 0; c < m; c++) p1[r * n + c] = b->p[r * n + c] - b->w[r] * (b->w[c] / h);
    if (p->b >= 0 && p->blur > 0) neighbours(p->blur, b);
}

/* Lets strays go, one after the other, as long as the density of all arrivals gains; by how much it did. */
static double dismiss(const ll_ways_model *model, bench *b) {
    size_t n = b->n, m = b->m;
    double *restrict p = b->p, *restrict w = b->w, *restrict z = b->z, gained = 0;
    for (; b->stays > model->fewest; b->stays--) {
        double most = 0;
        size_t worst = m;
        for (size_t r = 0; r < m; r++) {
            double own = p[r * n + r];
            if (!b->kept[r] || !(own > 0) || z[r] * z[r] < PREFILTER * own) continue;
            double gain = model->stray + 0.5 * (z[r] * z[r] / own + LOG_2PI - log(own));
            if (gain > most) most = gain, worst = r;
        }
        if (worst == m) break;
        gained += most, b->kept[worst] = 0;
        double own = p[worst * n + worst], by = z[worst] / own;
        for (size_t r = 0; r < m; r++) w[r] = p[r * n + worst];
        for (size_t r = 0; r < m; r++) {
            z[r] = b->kept[r] ? z[r] - w[r] * by : 0;
            for (size_t c = 0; c < m; c++) p[r * n + c] -= w[r] * (w[c] / own);
        }
    }
    return gained;
}

/* Log density with priors `times` as wide; fills kept, slow, sd, chi2. */
static double explain(const ll_ways_model *model, double times, bench *b) {
    size_t n = b->n, m = b->m;
    double *restrict p = b->p, *restrict w = b->w, *restrict z = b->z, ld = b->ld, yz = 0;
    for (size_t r = 0; r < m; r++) memcpy(p + r * n, b->p1 + r * n, m * sizeof *p);
    for (size_t g = 0; g < model->n_groups; g++) {
        const double *restrict u = b->u + g * n;
        double s = model->sd[g] * times, q = 0;
        if (!(s > 0)) continue;
        for (size_t r = 0; r < m; r++) {
            double v = 0;
            for (size_t c = 0; c < m; c++) v += p[r * n + c] * u[c];
            w[r] = v, q += u[r] * v;
        }
        q += 1 / (s * s);
        ld += log(s * s * q);
        for (size_t r = 0; r < m; r++)
            for (size_t c = 0; c < m; c++) p[r * n + c] -= w[r] * (w[c] / q);
    }
    for (size_t r = 0; r < m; r++) {
        double v = 0;
        for (size_t c = 0; c < m; c++) v += p[r * n + c] * b->y[c];
        z[r] = v, b->kept[r] = 1, yz += v * b->y[r];
    }
    double score = -0.5 * (yz + ld + (double)(m - 1) * LOG_2PI);
    b->stays = m;
    score += dismiss(model, b);
    b->chi2 = 0;
    for (size_t r = 0; r < m; r++) b->chi2 += b->kept[r] ? z[r] * b->y[r] : 0;
    for (size_t g = 0; g < model->n_groups; g++) {
        const double *restrict u = b->u + g * n;
        double s2 = model->sd[g] * times * model->sd[g] * times, uz = 0, upu = 0;
        for (size_t r = 0; r < m; r++) {
            double v = 0;
            if (!b->kept[r]) continue;
            for (size_t c = 0; c < m; c++) v += b->kept[c] ? p[r * n + c] * u[c] : 0;
            uz += u[r] * z[r], upu += u[r] * v;
        }
        double var = s2 - s2 * s2 * upu, mean = 1 + s2 * uz;
        b->sd[g] = sqrt(var > 1e-18 ? var : 1e-18);
        if (s2 > 0) score += ll_ways_within(model->least, model->most, mean, b->sd[g]);
        b->slow[g] = mean < model->least ? model->least : mean > model->most ? model->most : mean;
    }
    return score;
}

static double slowed(const ll_ways_model *model, const bench *b, size_t r, const double *slow) {
    double tau = b->tau[r];
    for (size_t g = 0; g < model->n_groups; g++) tau += (slow[g] - 1) * b->u[g * b->n + r];
    return tau;
}

static double start(const ll_ways_heard *heard, const ll_ways_model *model, const bench *b, const double *slow) {
    double sum = 0, total = 0;
    for (size_t r = 0; r < b->m; r++) {
        if (!b->kept[r]) continue;
        double weight = 1 / (b->var[r] + heard->scatter2 * (b->square[r] - b->less));
        sum += weight * (heard->t[b->of[r]] - slowed(model, b, r, slow)), total += weight;
    }
    return total > 0 ? sum / total : 0;
}

static void grade(const ll_ways_heard *heard, const ll_ways_model *model, bench *b, const double *slow, ll_ways_found *out) {
    double sum2 = 0;
    size_t n = b->n;
    for (size_t i = 0; i < n; i++) b->z2[i] = 900;
    for (size_t r = 0; r < b->m; r++) {
        size_t i = (size_t)b->of[r];
        double e = heard->t[i] - out->t0 - slowed(model, b, r, slow);
        double own = (e > 0 ? heard->late2[i] : heard->sd2[i]) + heard->scatter2 * (b->square[r] - b->less);
        sum2 += e * e, b->z2[i] = e * e / own;
    }
    for (size_t i = 1; i < n; i++)
        for (size_t j = i; j && b->z2[j] < b->z2[j - 1]; j--) {
            double low = b->z2[j];
            b->z2[j] = b->z2[j - 1], b->z2[j - 1] = low;
        }
    out->misfit = sqrt(0.5 * (b->z2[(n - 1) / 2] + b->z2[n / 2]));
    out->rms = sqrt(sum2 / (double)(b->m ? b->m : 1));
}

/* The narrow and the wide prior together; slow, sd and who stays of the likelier. */
static double both(const ll_ways_model *model, bench *b, double *slow, double *sd, double *chi2) {
    size_t groups = model->n_groups, size = groups * sizeof *slow;
    double narrow = explain(model, 1, b);
    memcpy(slow, b->slow, size), memcpy(sd, b->sd, size), *chi2 = b->chi2;
    if (groups == 0 || !(model->share > 0)) return narrow;
    size_t stays = b->stays;
    for (size_t r = 0; r < b->m; r++) b->best[r] = b->kept[r];
    narrow += log1p(-model->share);
    double wide = explain(model, model->wide, b) + log(model->share);
    if (wide > narrow) {
        memcpy(slow, b->slow, size), memcpy(sd, b->sd, size), *chi2 = b->chi2;
        return wide + log1p(exp(narrow - wide));
    }
    for (size_t r = 0; r < b->m; r++) b->kept[r] = (int32_t)b->best[r];
    b->stays = stays;
    return narrow + log1p(exp(wide - narrow));
}

/* An arrival's variance is that of its side of (t0, slow); 1 when one changed. */
static int sides(const ll_ways_heard *heard, const ll_ways_model *model, bench *b, double t0, const double *slow) {
    int changed = 0;
    for (size_t r = 0; r < b->m; r++) {
        size_t i = (size_t)b->of[r];
        double var = heard->t[i] - t0 - slowed(model, b, r, slow) > 0 ? heard->late2[i] : heard->sd2[i];
        changed |= var != b->var[r];
        b->var[r] = var;
    }
    return changed;
}

/* Seconds that all ways have in common. */
static double common(const ll_ways_net *net, const ll_ways_place *p, const bench *b) {
    size_t over_b = 0;
    for (size_t r = 0; r < b->m; r++) over_b += b->by_b[r];
    if (over_b == 0) return net->common_s[p->a] + (p->b < 0 ? 0 : p->to_a);
    return over_b == b->m ? net->common_s[p->b] + p->to_b : 0;
}

static void weigh_one(const ll_ways_heard *heard, const ll_ways_model *model, const ll_ways_place *p, const double *guess, int late,
                      bench *b, ll_ways_found *out, double *slow, double *sd, uint8_t *out_of) {
    *out = (ll_ways_found){.score = -HUGE_VAL, .slow = 1};
    memset(out_of, 1, b->n);
    for (size_t g = 0; g < model->n_groups; g++) slow[g] = late ? guess[1] : 1, sd[g] = model->sd[g];
    for (size_t r = 0; r < b->m; r++) b->var[r] = heard->sd2[b->of[r]], b->y[r] = heard->t[b->of[r]] - b->tau[r], b->kept[r] = 1;
    if (b->m == 0) return;
    if (late) sides(heard, model, b, guess[0], slow);
    for (int round = 0; round < SIDES; round++) {
        factor(heard, p, b);
        out->score = both(model, b, slow, sd, &out->chi2);
        out->t0 = start(heard, model, b, slow);
        if (!late) break;
        /* Two halves of different width, made to integrate to one together. */
        for (size_t r = 0; r < b->m; r++) {
            double more = heard->scatter2 * (b->square[r] - b->less);
            double e = sqrt(heard->sd2[b->of[r]] + more), l = sqrt(heard->late2[b->of[r]] + more);
            if (b->kept[r]) out->score += 0.5 * log(b->var[r] + more) - log(0.5 * (e + l));
        }
        if (round + 1 < SIDES && !sides(heard, model, b, out->t0, slow)) break;
    }
    out->score += (double)(b->n - b->m) * model->stray;
    double told = 0, found = 0;
    for (size_t r = 0; r < b->m; r++) {
        out_of[b->of[r]] = !b->kept[r];
        told += b->tau[r], found += slowed(model, b, r, slow);
    }
    out->slow = told > 0 ? found / told : 1, out->kept = (double)b->stays;
    grade(heard, model, b, slow, out);
}

int LL_FN(ll_ways_weigh)(const ll_ways_net *net, const ll_ways_heard *heard, const ll_ways_model *model, const ll_ways_place *place,
                         const double *guess, size_t n, double *work, ll_ways_found *out, double *slow, double *slow_sd, uint8_t *out_of) {
    size_t m = net->n_sensors, groups = model->n_groups;
    int32_t at_a = -1, at_b = -1;
    int late = 0, status;
    if (m == 0) return LL_EMPTY;
    if (!ll_ways_sound(net, place, n) || groups > LL_WAYS_GROUPS) return LL_RANGE;
    bench b = lay(work, m);
    for (size_t i = 0; i < m; i++) late |= heard->late2[i] > heard->sd2[i];
    for (size_t k = 0; k < n; k++) {
        const ll_ways_place *p = &place[k];
        if (p->a != at_a && (status = ll_ways_shares(net, p->a, b.stack, b.perm, b.ka)) < 0) return status;
        at_a = p->a;
        if (p->b >= 0 && p->b != at_b) {
            if ((status = ll_ways_shares(net, p->b, b.stack, b.perm, b.kb)) < 0) return status;
            at_b = p->b;
        }
        reach(net, model, p, &b);
        weigh_one(heard, model, p, guess + 2 * k, late, &b, out + k, slow + k * groups, slow_sd + k * groups, out_of + k * m);
        out[k].shared = common(net, p, &b);
    }
    return LL_OK;
}
