/* Sums over samples, of their differences from the first one: a small motion about a large offset keeps its digits, though
 * eight vectors at a time are added as float32. The trees of eight, and all that has no tree, are added in double. */
#include "trend.h"

#include <math.h>

#include "lanes.h"

enum { TREE = 8 * LL_F };

double ll_trend_sum(const float *x, size_t n) {
    const float level = x[0];
    ll_vd sum[LL_F / LL_D] = {{0}};
    double total = 0.0;
    size_t t = 0;
    for (; t + TREE <= n; t += TREE) {
        ll_vf v[8];
        float eight[LL_F];
#pragma GCC unroll 8
        for (int i = 0; i < 8; i++) v[i] = ll_loadf(x + t + i * LL_F) - level;
        ll_storef(eight, ((v[0] + v[1]) + (v[2] + v[3])) + ((v[4] + v[5]) + (v[6] + v[7])));
        for (int h = 0; h < LL_F / LL_D; h++) sum[h] += ll_load(eight, (size_t)h * LL_D, 0);
    }
    for (; t < n; t++) total += (double)x[t] - level;
    for (int h = 0; h < LL_F / LL_D; h++)
        for (int l = 0; l < LL_D; l++) total += sum[h][l];
    return total + (double)level * (double)n;
}

double ll_trend_line(const float *x, size_t n, double *slope) {
    const double centre = 0.5 * (double)(n - 1), nn = (double)n;
    ll_vd at, sum = {0}, moment = {0};
    for (int l = 0; l < LL_D; l++) at[l] = l - centre;
    for (size_t t = 0; t < n; t += LL_D, at += (double)LL_D) {
        ll_vd v = ll_load(x, t, 0);
        sum += v;
        moment += at * v;
    }
    double total = 0.0, turn = 0.0;
    for (int l = 0; l < LL_D; l++) total += sum[l], turn += moment[l];
    *slope = turn * 12.0 / (nn * (nn * nn - 1.0));
    return total;
}

LL_INLINE ll_vm larger(ll_vm a, ll_vm b) {
#if defined(__AVX2__)
    return (ll_vm)_mm256_max_epi32((__m256i)a, (__m256i)b);
#elif defined(__SSE4_1__)
    return (ll_vm)_mm_max_epi32((__m128i)a, (__m128i)b);
#else
    return (a & (a > b)) | (b & (a <= b));
#endif
}

float ll_trend_peak(const float *x, size_t n, float level) {
    ll_vm most = {0};
    size_t t = 0;
    for (; t + LL_F <= n; t += LL_F) {
        ll_vm v = (ll_vm)(ll_loadf(x + t) - level) & 0x7fffffff; /* as whole numbers, so that a NaN is the largest */
        most = larger(v, most);
    }
    int32_t all = 0;
    for (int l = 0; l < LL_F; l++) all = most[l] > all ? most[l] : all;
    for (; t < n; t++) {
        float v = fabsf(x[t] - level);
        int32_t bits;
        memcpy(&bits, &v, 4);
        all = bits > all ? bits : all;
    }
    float peak;
    memcpy(&peak, &all, 4);
    return peak;
}
