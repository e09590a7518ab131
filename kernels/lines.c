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
