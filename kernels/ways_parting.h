/* What weigh needs besides matrices: where ways to several sensors part, and how much of a normal distribution is in bounds. */
#ifndef LL_WAYS_PARTING_H
#define LL_WAYS_PARTING_H

#include <math.h>
#include <string.h>

#include "ways.h"
#include "ways_ends.h"

#define LOG_2PI 1.8378770664093453

/* Sensors [lo, hi) of a permutation whose ways are one up to `node`, with the sum of squares so far. */
typedef struct {
    int32_t lo, hi, node, pad;
    double sum;
} ll_ways_together;

/* k[i * n + j]: squares that the ways from `node` to the sensors i and j have in common. Sensors go together until they part. */
static inline int ll_ways_shares(const ll_ways_net *net, int32_t node, ll_ways_together *stack, int32_t *perm, double *k) {
    size_t n = net->n_sensors, depth = 0, walked = 0;
    int32_t some = 0;
    memset(k, 0, n * n * sizeof *k);
    for (size_t i = 0; i < n; i++)
        if (ll_ways_open(net, node, i) < HUGE_VAL) perm[some++] = (int32_t)i;
    if (some > 1) stack[depth++] = (ll_ways_together){0, some, node, 0, 0};
    while (depth) {
        ll_ways_together now = stack[--depth];
        if (walked++ > 2 * n * net->n_nodes) return LL_RANGE; /* a circle */
        for (int32_t start = now.lo, mid; start < now.hi; start = mid) {
            int32_t first = perm[start], next = net->toward[first][now.node];
            if (next >= (int32_t)net->n_nodes) return LL_RANGE;
            mid = start + 1;
            for (int32_t j = mid; j < now.hi; j++)
                if (net->toward[perm[j]][now.node] == next) {
                    int32_t other = perm[j];
                    perm[j] = perm[mid], perm[mid++] = other;
                }
            for (int32_t i = start; i < mid; i++)
                for (int32_t j = next < 0 ? i + 1 : mid; j < now.hi; j++) {
                    size_t x = (size_t)perm[i], y = (size_t)perm[j];
                    k[x * n + y] = k[y * n + x] = now.sum;
                }
            if (next < 0 || mid - start < 2) continue;
            double step = net->time[first][now.node] - net->time[first][next];
            stack[depth++] = (ll_ways_together){start, mid, next, 0, now.sum + step * step};
        }
    }
    return LL_OK;
}

/* Log of what a normal distribution has between lo and hi. */
static inline double ll_ways_within(double lo, double hi, double mean, double sd) {
    double a = (lo - mean) / sd, c = (hi - mean) / sd, near = a > 0 ? a : c < 0 ? -c : 0;
    if (near > 30) return -0.5 * near * near - log(near) - 0.5 * LOG_2PI;
    double part = 0.5 * (erfc(near > 0 ? near * M_SQRT1_2 : a * M_SQRT1_2) - (near > 0 ? 0 : erfc(c * M_SQRT1_2)));
    return log(part > 1e-300 ? part : 1e-300);
}

/* The inverse p of a covariance s (its lower half, overwritten by its factor), and the log of its determinant; rows are n apart,
 * `half` holds the factor's inverse. */
static inline double ll_ways_inverse(size_t n, size_t m, double *restrict s, double *restrict half, double *restrict p) {
    double product = 1, ld = 0;
    for (size_t r = 0; r < m; r++) {
        for (size_t c = 0; c <= r; c++) {
            double v = s[r * n + c];
            for (size_t j = 0; j < c; j++) v -= s[r * n + j] * s[c * n + j];
            if (c < r) s[r * n + c] = v * s[c * n + c]; /* the diagonal holds 1 / L */
            else s[r * n + c] = 1 / sqrt(v > 1e-30 ? v : 1e-30);
        }
        product *= s[r * n + r];
        if (r % 8 == 7 || r + 1 == m) ld -= 2 * log(product), product = 1;
    }
    for (size_t c = 0; c < m; c++) /* L^-1, row after row of its columns, in p1 */
        for (size_t r = c; r < m; r++) {
            double v = r == c ? 1 : 0;
            for (size_t j = c; j < r; j++) v -= s[r * n + j] * half[j * n + c];
            half[r * n + c] = v * s[r * n + r];
        }
    for (size_t r = 0; r < m; r++) /* L^-T L^-1 */
        for (size_t c = 0; c <= r; c++) {
            double v = 0;
            for (size_t j = r; j < m; j++) v += half[j * n + r] * half[j * n + c];
            p[r * n + c] = p[c * n + r] = v;
        }
    return ld;
}

#endif
