/* Sums over the lines of a spectrum; lines.h says which.
 *
 * exp(i theta k) is a product of two numbers out of short tables, exp(i theta 64 (k / 64)) and exp(i theta (k % 64)): off by two or
 * three roundings at any k. The lags are one complex transform in float32 (fft.c) of conj c, whose real part they are: off by some
 * 1e-7 of the sum of |c|. */
#include "lines.h"

#include <math.h>

#include "fft.h"

enum { FINE = 64, ROUGH = 1024, STEPS = 20 };

typedef struct {
    double fine[2 * FINE], rough[2 * ROUGH], theta;
    int64_t most;
} turns;

/* For lines up to `last`. */
static void make_turns(turns *t, double theta, int64_t last) {
    const int64_t n = last < 0 ? 0 : last / FINE + 1;
    t->theta = theta, t->most = (n < ROUGH ? n : ROUGH) * FINE;
    for (int k = 0; k < FINE; k++) t->fine[2 * k] = cos(theta * k), t->fine[2 * k + 1] = sin(theta * k);
    for (int64_t k = 0; k < t->most / FINE; k++) {
        const double angle = theta * (double)(FINE * k);
        t->rough[2 * k] = cos(angle), t->rough[2 * k + 1] = sin(angle);
    }
}

static inline void turn(const turns *t, int64_t k, double *re, double *im) {
    if ((uint64_t)k >= (uint64_t)t->most) {
        *re = cos(t->theta * (double)k), *im = sin(t->theta * (double)k);
        return;
    }
    const double *a = t->rough + 2 * (k / FINE), *b = t->fine + 2 * (k % FINE);
    *re = a[0] * b[0] - a[1] * b[1], *im = a[0] * b[1] + a[1] * b[0];
}

void ll_lines_turned(const int64_t *at, size_t n, double theta, const double *c, double *out) {
    turns t;
    if (!n) return;
    make_turns(&t, theta, at[n - 1]);
    for (size_t i = 0; i < n; i++) {
        double re, im;
        turn(&t, at[i], &re, &im);
        out[2 * i] = c[2 * i] * re - c[2 * i + 1] * im, out[2 * i + 1] = c[2 * i] * im + c[2 * i + 1] * re;
    }
}

double ll_lines_newton(const int64_t *at, size_t n, const double *c, double theta, double step) {
    double now = theta;
    if (!n) return theta;
    for (int s = 0; s < STEPS; s++) {
        double slope[2] = {0.0, 0.0}, bend[2] = {0.0, 0.0};
        turns t;
        make_turns(&t, now, at[n - 1]);
        for (size_t i = 0; i < n; i++) {
            const double k = (double)at[i];
            double re, im;
            turn(&t, at[i], &re, &im);
            slope[i & 1] -= k * (c[2 * i] * im + c[2 * i + 1] * re), bend[i & 1] -= k * k * (c[2 * i] * re - c[2 * i + 1] * im);
        }
        const double down = bend[0] + bend[1], move = -(slope[0] + slope[1]) / down, to = now + move;
        if (!(down < 0.0)) return theta;
        now = to < theta - step ? theta - step : to > theta + step ? theta + step : to;
        if (fabs(move) <= 1e-9 * step) break;
    }
    return now;
}

/* ---- standing ------------------------------------------------------------------------------------------------------ */

static inline double lower(double a, double b) { return a < b || a != a ? a : b; } /* keeps a NaN */

/* x[i] = min(x[i .. i + width - 1]), i < n; x holds n + width - 1 values. */
static void lowest(double *x, size_t n, size_t width) {
    size_t m = n + width - 1, have = 1;
    for (; 2 * have <= width; have *= 2) {
        m -= have;
        for (size_t i = 0; i < m; i++) x[i] = lower(x[i], x[i + have]);
    }
    for (size_t i = 0; i < n && have < width; i++) x[i] = lower(x[i], x[i + width - have]);
}

/* Is power above factor times the median of x[n], n at most 2 LL_CROSS_HALF + 1? Scaling by factor keeps the order, so of an odd
 * number it is enough to count. */
static unsigned char above(double power, double factor, const double *x, size_t n) {
    double sorted[2 * LL_CROSS_HALF + 1], bad = 0.0;
    size_t below = 0;
    for (size_t i = 0; i < n; i++) bad += x[i] - x[i], below += factor * x[i] < power;
    if (bad != 0.0) return 0; /* NaN */
    if (n % 2) return below > n / 2;
    for (size_t i = 0; i < n; i++) {
        size_t k = i;
        for (; k && sorted[k - 1] > x[i]; k--) sorted[k] = sorted[k - 1];
        sorted[k] = x[i];
    }
    return power > factor * (0.5 * sorted[n / 2 - 1] + 0.5 * sorted[n / 2]);
}

/* The median is nowhere below the lowest, which costs a fraction: the few lines above that one are looked at closely. */
int ll_lines_standing(const double *power, size_t n, double factor, size_t half, double *work, unsigned char *mark) {
    double *floor = work + half, *low = work + n + 2 * half;
    if (!half || half > LL_CROSS_HALF || !(factor >= 0.0)) return LL_RANGE;
    if (!n) return LL_OK;
    for (size_t i = 0; i < half; i++) work[i] = floor[n + i] = INFINITY;
    floor[0] = power[0], floor[n - 1] = power[n - 1];
    if (n > 1) floor[0] = lower(power[0], power[1]), floor[n - 1] = lower(power[n - 2], power[n - 1]);
    for (size_t i = 1; i + 1 < n; i++) floor[i] = lower(lower(power[i - 1], power[i]), power[i + 1]);
    memcpy(low, work, (n + 2 * half) * sizeof(double));
    lowest(low, n, 2 * half + 1);
    for (size_t i = 0; i < n; i++) {
        mark[i] = power[i] > factor * low[i];
        if (!mark[i]) continue;
        const size_t from = i < half ? 0 : i - half, end = n - i <= half ? n : i + half + 1;
        mark[i] = above(power[i], factor, floor + from, end - from);
    }
    return LL_OK;
}

/* ---- lags ---------------------------------------------------------------------------------------------------------- */

struct ll_lags {
    size_t n;
    ll_fft *fft;
    float *x, *re, *im; /* conj c, real and imaginary; its transform */
};

static void *room(size_t bytes) {
    bytes = (bytes + 127) / 64 * 64;
    void *p = aligned_alloc(64, bytes);
    return p ? memset(p, 0, bytes) : NULL;
}

void ll_lines_close(ll_lags *l) {
    if (!l) return;
    ll_fft_close(l->fft);
    free(l->x), free(l->re), free(l->im), free(l);
}

ll_lags *ll_lines_open(size_t n) {
    if (n < 16 || n > 65536 || (n & (n - 1))) return NULL;
    ll_lags *l = calloc(1, sizeof *l);
    if (!l) return NULL;
    l->n = n, l->x = room(2 * n * sizeof(float)), l->re = room((n + 8) * sizeof(float)), l->im = room((n + 8) * sizeof(float));
    if (l->x && l->re && l->im) {
        for (size_t i = 0; i < n; i++) l->x[i] = 1.0f; /* no window */
        l->fft = ll_fft_open(n, l->x);
        memset(l->x, 0, n * sizeof(float));
    }
    if (l->fft) return l;
    ll_lines_close(l);
    return NULL;
}

int ll_lines_lags(ll_lags *l, const int64_t *at, size_t n_at, const double *c, size_t far, double *r) {
    const size_t n = l->n;
    double sum = 0.0;
    if (2 * far >= n) return LL_SHAPE;
    for (size_t i = 0; i < n_at; i++) {
        if (at[i] < 0 || (size_t)at[i] >= n) return LL_RANGE;
        sum += sqrt(c[2 * i] * c[2 * i] + c[2 * i + 1] * c[2 * i + 1]);
    }
    const double gain = sum > 0.0 ? (double)n / sum : 0.0; /* lines near 1, whatever their number */
    for (size_t i = 0; i < n_at; i++) {
        l->x[at[i]] = (float)(c[2 * i] * gain);
        l->x[n + (size_t)at[i]] = (float)(-c[2 * i + 1] * gain);
    }
    const ll_segment two[2] = {{.x = l->x, .gain = 1.0f}, {.x = l->x + n, .gain = 1.0f}};
    ll_fft_bins(l->fft, two, l->re, l->im);
    for (size_t i = 0; i < n_at; i++) l->x[at[i]] = l->x[n + (size_t)at[i]] = 0.0f;
    const double back = 1.0 / (double)n;
    for (size_t i = 0; i < far; i++) r[i] = (double)l->re[n - far + i] * back;
    for (size_t i = 0; i <= far; i++) r[far + i] = (double)l->re[i] * back;
    return LL_OK;
}
