/* What a short stretch of the past says of noise: order statistics without allocation, an autoregression of small order.
 *
 *     y[0..n)  ->  rho[0..ORDER]  ->  a[0..order):  y[k] is foretold as sum a[l] y[k-1-l]
 */
#ifndef LL_PAST_H
#define LL_PAST_H

#include <math.h>
#include <stddef.h>
#include <string.h>

enum { LL_PAST = 256, LL_ORDER = 4, LL_FEW = 32 };

#define LL_MAD_SD 1.4826022185056018 /* a normal sample's deviation over its median absolute deviation */
#define LL_STEADY 0.999              /* largest reflection coefficient */

/* Puts the element of this rank in its place, smaller ones before and larger ones behind it; n finite numbers. */
static inline float ll_ranked(float *v, size_t n, size_t rank) {
    size_t lo = 0, hi = n - 1;
    while (hi - lo >= LL_FEW) {
        size_t mid = lo + (hi - lo) / 2;
        float a = v[lo], b = v[mid], c = v[hi], pivot = a < b ? (b < c ? b : a < c ? c : a) : (a < c ? a : b < c ? c : b);
        size_t i = lo, j = hi;
        for (;;) {
            while (v[i] < pivot) i++;
            while (v[j] > pivot) j--;
            if (i >= j) break;
            float t = v[i];
            v[i++] = v[j], v[j--] = t;
        }
        /* v[..j] <= pivot <= v[j+1..], except that i == j may be the pivot itself. */
        if (rank <= j) hi = j;
        else lo = j + 1;
        if (lo >= hi) return v[rank];
    }
    for (size_t i = lo + 1; i <= hi; i++) {
        float x = v[i];
        size_t j = i;
        for (; j > lo && v[j - 1] > x; j--) v[j] = v[j - 1];
        v[j] = x;
    }
    return v[rank];
}

static inline double ll_median(float *v, size_t n) {
    double low = ll_ranked(v, n, (n - 1) / 2);
    if (n % 2) return low;
    float next = v[n / 2];
    for (size_t i = n / 2 + 1; i < n; i++) next = v[i] < next ? v[i] : next;
    return 0.5 * (low + (double)next);
}

/* a[1..order] of the autocorrelations rho[0..order] with rho[0] = 1: Levinson's recursion, held back from the unit circle. */
static inline void ll_levinson(const double *rho, int order, double *a) {
    double left = 1, old[LL_ORDER];
    memset(a, 0, LL_ORDER * sizeof *a);
    for (int m = 0; m < order; m++) {
        double c = rho[m + 1];
        for (int l = 0; l < m; l++) c -= a[l] * rho[m - l];
        c /= left;
        c = c > LL_STEADY ? LL_STEADY : c < -LL_STEADY ? -LL_STEADY : c;
        memcpy(old, a, sizeof old);
        for (int l = 0; l < m; l++) a[l] = old[l] - c * old[m - 1 - l];
        a[m] = c;
        left *= 1 - c * c;
    }
}

static inline void ll_correlate(const float *y, size_t n, double clip, double *rho) {
    double v[LL_PAST];
    for (size_t i = 0; i < n; i++) v[i] = y[i] > clip ? clip : y[i] < -clip ? -clip : y[i];
    double zero = 0;
    for (size_t i = 0; i < n; i++) zero += v[i] * v[i];
    rho[0] = 1;
    for (size_t l = 1; l <= LL_ORDER; l++) {
        double sum = 0;
        for (size_t i = l; i < n; i++) sum += v[i] * v[i - l];
        rho[l] = zero > 0 ? sum / zero : 0;
    }
}

static inline double ll_median_size(const float *v, size_t n, float *work) {
    for (size_t i = 0; i < n; i++) work[i] = fabsf(v[i]);
    return ll_median(work, n);
}

/* log of a deviation; those of nothing at all are kept finite. */
static inline double ll_logged(double sd) { return log(sd > 1e-30 ? sd : 1e-30); }

#endif
