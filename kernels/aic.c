/* The AIC picker of one row in O(n): the variances of all beginnings and all ends, both walked at once.
 *
 *     mean_k = sum of (x - x_0) / k;   k var_k = (k - 1) var_(k-1) + (x_k - mean_(k-1)) (x_k - mean_k)
 *
 * Only what is 0 or more is added, so that nothing cancels; means are about the first sample of the walk, from which the
 * mean of k samples is at most sqrt(k) standard deviations away: an offset, however large, costs no digits. Then
 * k ln var + (n - k - 1) ln var for every cut, in lanes. */
#include <math.h>

#include "lanes.h"
#include "onset.h"

enum { BLOCK = 32 }; /* cuts */

LL_INLINE ll_vd pair(ll_vd q, double a, double b) { return ll_fma(q, ll_all(b), ll_all(a)); }

/* ln of two positive normal numbers as e ln 2 + 2 artanh((m - 1) / (m + 1)), m in [sqrt 1/2, sqrt 2): the series ends below
 * 1 ulp, has no branch and so runs in lanes, which the library's does not. Two, for they share the division. */
LL_INLINE void ln(ll_vd x[2]) {
    const uint64_t root = UINT64_C(0x3fe6a09e667f3bcd), one = UINT64_C(0x3ff0000000000000);
    typedef uint64_t bits __attribute__((vector_size(8 * LL_D)));
    ll_vd exponent[2], y[2];
    for (int i = 0; i < 2; i++) {
        bits b = (bits)x[i] + (one - root);
        exponent[i] = (ll_vd)((b >> 52) | UINT64_C(0x4330000000000000)) - (4503599627370496.0 + 1023.0); /* 2^52, the bias */
        y[i] = (ll_vd)((b & UINT64_C(0x000fffffffffffff)) + root);
    }
    ll_vd share = 1 / ((y[0] + 1) * (y[1] + 1));
    for (int i = 0; i < 2; i++) {
        ll_vd s = (y[i] - 1) * ((y[1 - i] + 1) * share), q = s * s, q2 = q * q;
        ll_vd low = pair(q, 1. / 3, 1. / 5), mid = pair(q, 1. / 7, 1. / 9), high = pair(q, 1. / 11, 1. / 13);
        high = ll_fma(q2, ll_fma(q2, ll_all(1. / 19), pair(q, 1. / 15, 1. / 17)), high);
        x[i] = ll_fma(exponent[i], ll_all(0.6931471805599453), 2 * ll_fma(s * q, ll_fma(q2, ll_fma(q2, high, mid), low), s));
    }
}

LL_INLINE ll_vd at_least(ll_vd v, double least) { return ll_choose(v > least, v, ll_all(least)); }

/* Of every cut k: ahead[k] is the variance of x[0..k) times k, behind[k] of x[k..n) times n - k. */
LL_INLINE void spread(const void *x, size_t n, const double *share, double *ahead, double *behind, int wide) {
    double x0 = ll_get(x, 0, wide), xn = ll_get(x, n - 1, wide), m = 0, w = 0, a = 0, b = 0, s = 0, t = 0;
    ahead[1] = behind[n - 1] = 0;
    for (size_t i = 1; i < n; i++) {
        double d = ll_get(x, i, wide) - x0, e = ll_get(x, n - 1 - i, wide) - xn;
        a += d, b += e;
        double m_now = a * share[i], w_now = b * share[i];
        s = ll_fma1(d - m, d - m_now, s), t = ll_fma1(e - w, e - w_now, t);
        ahead[i + 1] = s, behind[n - 1 - i] = t, m = m_now, w = w_now;
    }
}

/* i, i + step, .. */
LL_INLINE ll_vd counting(size_t i, size_t step) {
    ll_vd lanes;
    for (int l = 0; l < LL_D; l++) lanes[l] = (double)l;
    return lanes * (double)(int64_t)step + (double)(int64_t)i;
}

/* ln of front / first and back / rest, both no less than what these sums can tell from 0. */
LL_INLINE void logs(ll_vd v[2], ll_vd front, ll_vd first, ll_vd back, ll_vd rest, double least) {
    ll_vd share = 1 / (first * rest);
    v[0] = at_least(front * (rest * share), least), v[1] = at_least(back * (first * share), least);
    ln(v);
}

/* Of the cuts k, k + 1, ..: the criterion with `less` samples taken from the end's count. A single sample has no variance:
 * its term is left out. Lanes past the end hold nothing of worth. */
LL_INLINE ll_vd criterion(const double *ahead, const double *behind, size_t k, size_t n, double least, double less) {
    ll_vd first = counting(k, 1), rest = (double)(int64_t)n - first, v[2];
    logs(v, ll_load(ahead, k, 1), first, ll_load(behind, k, 1), rest, least);
    v[0] = (ll_vd)((ll_vi)v[0] & (first > 1)), v[1] = (ll_vd)((ll_vi)v[1] & (rest > 1));
    return first * v[0] + (rest - less) * v[1];
}

/* What the criterion is at least over the cuts of LL_D blocks, the first of which begins at k: sums only grow, so the smallest
 * of a block over its largest count bounds each variance, and what is linear in the cut is least at an end. All blocks lie
 * before the last one. `start` becomes the criterion of their first cuts. */
LL_INLINE ll_vd bound(const double *ahead, const double *behind, size_t k, size_t n, double least, ll_vd *start) {
    ll_vd first = counting(k, BLOCK), last = first + (double)(BLOCK - 1), whole = ll_all((double)(int64_t)n), v[2];
    ll_vd front, back, end;
    for (int l = 0; l < LL_D; l++) {
        size_t at = k + (size_t)l * BLOCK;
        front[l] = ahead[at], back[l] = behind[at], end[l] = behind[at + BLOCK - 1];
    }
    logs(v, front, first, back, whole - first, least);
    *start = first * v[0] + (whole - first - 1) * v[1];
    logs(v, front, last, end, whole - first, least);
    ll_vd low = first * v[0] + (whole - first - 1) * v[1], high = last * v[0] + (whole - last - 1) * v[1];
    return ll_choose(low < high, low, high);
}

/* The first cut of the least criterion. Of blocks of cuts only those are looked at that may hold it: with an onset in the
 * window few; the first and the last always, for the cuts beside the ends are of another kind. */
LL_INLINE size_t least_cut(const double *ahead, const double *behind, size_t n, double least, double *bounds) {
    size_t blocks = (n - 1 + BLOCK - 1) / BLOCK, inner = blocks < 3 ? 0 : (blocks - 2) / LL_D * LL_D, best_cut = 1;
    double found[LL_D], best = INFINITY, limit = INFINITY;
    for (size_t b = 1; b <= inner; b += LL_D) {
        ll_vd start;
        ll_store(bounds, b, bound(ahead, behind, 1 + b * BLOCK, n, least, &start), 1);
        ll_store(found, 0, start, 1);
        for (int l = 0; l < LL_D; l++) limit = found[l] < limit ? found[l] : limit;
    }
    limit += 1e-9 * fabs(limit) + 1e-6; /* rounding, many times over */
    for (size_t b = 0; b < blocks; b++) {
        if (b > 0 && b <= inner && bounds[b] > limit) continue;
        size_t end = 1 + (b + 1) * BLOCK < n ? 1 + (b + 1) * BLOCK : n;
        for (size_t k = 1 + b * BLOCK; k < end; k += LL_D) {
            ll_store(found, 0, criterion(ahead, behind, k, n, least, 1), 1);
            for (size_t l = 0; l < LL_D && k + l < end; l++)
                if (found[l] < best) best = found[l], best_cut = k + l;
        }
    }
    return best_cut;
}

LL_INLINE int aic_row(const void *x, size_t n, double *work, int64_t *index, double *quality, int wide) {
    double *ahead = work, *behind = work + n + 4, *share = behind + n + 4; /* the last lanes read past the last cut */
    *index = -1, *quality = NAN;
    for (size_t i = 0; i < n; i += LL_D) ll_store(share, i, 1 / counting(i + 1, 1), 1);
    spread(x, n, share, ahead, behind, wide);
    if (!isfinite(ahead[n]) || !isfinite(behind[0])) return LL_OK;
    *index = 0, *quality = 0;
    double all = ahead[n] / (double)n, least = all * 1e-15;
    if (!(all > 1e-290)) return LL_OK; /* a constant */

    size_t cut = least_cut(ahead, behind, n, least, share);
    ll_vd both[2] = {ll_all(all), ll_all(all)};
    ln(both);
    double whole = both[0][0], split = criterion(ahead, behind, cut, n, least, 0)[0];
    double alone = cut == 1 || cut == n - 1 ? whole : 0; /* the term that was left out */
    double gain = whole - (split + alone) / (double)n;
    *index = (int64_t)cut - 1;
    *quality = gain > 0 ? 1 - exp(-gain) : 0;
    return LL_OK;
}

int ll_aic(const void *x, size_t n, int wide, double *work, int64_t *index, double *quality) {
    if (n < 3) return LL_SHAPE;
    if (n > INT32_MAX) return LL_RANGE;
    return wide ? aic_row(x, n, work, index, quality, 1) : aic_row(x, n, work, index, quality, 0);
}
