/* A recursion waits for itself: multiply, subtract, add. So rows run side by side in lanes, and the sections of a cascade
 * overlap in time. A tile of TILE samples of up to LANES rows is turned to [sample][row] in double, filtered in place by
 * up to 4 sections at a time, and turned back. Lanes never mix, so a row's answer does not depend on its neighbours. */
#include "filters.h"

#include <math.h>

#if defined(__AVX__)
enum { V = 4 };
#define BROADCAST(a) ((vd){(a), (a), (a), (a)})
#else
enum { V = 2 };
#define BROADCAST(a) ((vd){(a), (a)})
#endif
enum { G = 8 / V, LANES = 8, TILE = 128, MOST = 4 };

typedef double vd __attribute__((vector_size(8 * V)));
typedef int64_t vi __attribute__((vector_size(8 * V)));
typedef float vf __attribute__((vector_size(4 * V)));

#if defined(__has_builtin) && __has_builtin(__builtin_shufflevector)
#define SHUFFLE(a, b, ...) __builtin_shufflevector(a, b, __VA_ARGS__)
#else
#define SHUFFLE(a, b, ...) __builtin_shuffle(a, b, (vi){__VA_ARGS__})
#endif

#define INLINE static inline __attribute__((always_inline))

INLINE void transpose(vd r[V]) {
#if defined(__AVX__)
    vd a = SHUFFLE(r[0], r[1], 0, 4, 2, 6), b = SHUFFLE(r[0], r[1], 1, 5, 3, 7);
    vd c = SHUFFLE(r[2], r[3], 0, 4, 2, 6), d = SHUFFLE(r[2], r[3], 1, 5, 3, 7);
    r[0] = SHUFFLE(a, c, 0, 1, 4, 5), r[1] = SHUFFLE(b, d, 0, 1, 4, 5);
    r[2] = SHUFFLE(a, c, 2, 3, 6, 7), r[3] = SHUFFLE(b, d, 2, 3, 6, 7);
#else
    vd a = SHUFFLE(r[0], r[1], 0, 2), b = SHUFFLE(r[0], r[1], 1, 3);
    r[0] = a, r[1] = b;
#endif
}

INLINE double get(const void *x, size_t i, int wide) { return wide ? ((const double *)x)[i] : (double)((const float *)x)[i]; }
INLINE void put(void *out, size_t i, double v, int wide) {
    if (wide) ((double *)out)[i] = v;
    else ((float *)out)[i] = (float)v;
}

INLINE vd load(const void *x, size_t i, int wide) {
    vd d;
    vf f;
    if (wide) {
        memcpy(&d, (const double *)x + i, sizeof d);
        return d;
    }
    memcpy(&f, (const float *)x + i, sizeof f);
    return __builtin_convertvector(f, vd);
}

INLINE void store(void *out, size_t i, vd d, int wide) {
    if (wide) {
        memcpy((double *)out + i, &d, sizeof d);
    } else {
        vf f = __builtin_convertvector(d, vf);
        memcpy((float *)out + i, &f, sizeof f);
    }
}

INLINE int calm(const void *x, size_t i, size_t n, int wide) {
    if (wide) {
        uint64_t most = 0;
        for (size_t j = i; j < i + n; j++) {
            uint64_t bits;
            memcpy(&bits, (const double *)x + j, 8);
            bits &= UINT64_C(0x7fffffffffffffff);
            most = bits > most ? bits : most;
        }
        return most < UINT64_C(0x7ff0000000000000);
    }
    int32_t most = 0;
    for (size_t j = i; j < i + n; j++) {
        int32_t bits;
        memcpy(&bits, (const float *)x + j, 4);
        bits &= 0x7fffffff;
        most = bits > most ? bits : most;
    }
    return most < 0x7f800000;
}

/* Rows row .. row + lanes of x[.][n], samples from .. from + m, into tile; answers whether all of it is finite. */
INLINE int turn_in(vd tile[][G], const void *x, size_t row, size_t lanes, size_t n, size_t from, size_t m, int wide) {
    int finite = 1;
    for (size_t l = 0; l < lanes; l++) finite &= calm(x, (row + l) * n + from, m, wide);
    for (size_t g = 0; g * V < lanes; g++) {
        size_t at = (row + g * V) * n + from, t = 0;
        if (lanes >= (g + 1) * V)
            for (; t + V <= m; t += V) {
                vd r[V];
                for (int v = 0; v < V; v++) r[v] = load(x, at + v * n + t, wide);
                transpose(r);
                for (int v = 0; v < V; v++) tile[t + v][g] = r[v];
            }
        for (; t < m; t++)
            for (size_t v = 0; v < V; v++) tile[t][g][v] = g * V + v < lanes ? get(x, at + v * n + t, wide) : 0;
    }
    return finite;
}

INLINE void turn_out(vd tile[][G], void *out, size_t row, size_t lanes, size_t n, size_t from, size_t m, int wide) {
    for (size_t g = 0; g * V < lanes; g++) {
        size_t at = (row + g * V) * n + from, t = 0;
        if (lanes >= (g + 1) * V)
            for (; t + V <= m; t += V) {
                vd r[V];
                for (int v = 0; v < V; v++) r[v] = tile[t + v][g];
                transpose(r);
                for (int v = 0; v < V; v++) store(out, at + v * n + t, r[v], wide);
            }
        for (; t < m; t++)
            for (size_t v = 0; v < V && g * V + v < lanes; v++) put(out, at + v * n + t, tile[t][g][v], wide);
    }
}

/* S sections over m samples of `groups` vectors; S, groups and masked are constants where this is called. */
INLINE void cascade(vd tile[][G], size_t m, const double *sos, vd z[][2][G], int S, int groups, int masked) {
    for (size_t t = 0; t < m; t++)
        for (int g = 0; g < groups; g++) {
            vd x = tile[t][g];
            vi sound = x - x == 0;
            for (int s = 0; s < S; s++) {
                const double *c = sos + 5 * s;
                vd y = c[0] * x + z[s][0][g];
                vd z1 = (c[1] * x + z[s][1][g]) - c[3] * y, z2 = c[2] * x - c[4] * y;
                if (masked) {
                    z1 = (vd)(((vi)z1 & sound) | ((vi)z[s][0][g] & ~sound));
                    z2 = (vd)(((vi)z2 & sound) | ((vi)z[s][1][g] & ~sound));
                }
                z[s][0][g] = z1, z[s][1][g] = z2;
                x = y;
            }
            if (masked) x = (vd)(((vi)x & sound) | ((vi)BROADCAST(NAN) & ~sound));
            tile[t][g] = x;
        }
}

#define ROWS_OF_CASES(groups, masked)                                                                                      \
    switch (S) {                                                                                                           \
        case 1: cascade(tile, m, sos, z, 1, groups, masked); break;                                                        \
        case 2: cascade(tile, m, sos, z, 2, groups, masked); break;                                                        \
        case 3: cascade(tile, m, sos, z, 3, groups, masked); break;                                                        \
        default: cascade(tile, m, sos, z, 4, groups, masked);                                                              \
    }

static void run(vd tile[][G], size_t m, const double *sos, vd z[][2][G], int S, int groups, int masked) {
    vd local[MOST][2][G];
    memcpy(local, z, sizeof local[0] * S);
    {
        vd(*z)[2][G] = local;
        if (masked) {
            ROWS_OF_CASES(G, 1)
        } else if (groups == 1) {
            ROWS_OF_CASES(1, 0)
        } else {
            ROWS_OF_CASES(G, 0)
        }
    }
    memcpy(z, local, sizeof local[0] * S);
}

static int sosfilt(const double *sos, size_t sections, double *z, const void *x, size_t rows, size_t n, void *out, int wide) {
    if (sections < 1 || sections > 64) return LL_RANGE;
    for (size_t row = 0; row < rows; row += LANES) {
        size_t lanes = rows - row < LANES ? rows - row : LANES;
        int groups = (int)((lanes + V - 1) / V);
        vd tile[TILE][G], state[64][2][G];
        memset(tile, 0, sizeof tile), memset(state, 0, sizeof state[0] * sections);
        for (size_t l = 0; l < lanes; l++)
            for (size_t s = 0; s < sections * 2; s++) state[s / 2][s % 2][l / V][l % V] = z[(row + l) * sections * 2 + s];
        for (size_t from = 0; from < n; from += TILE) {
            size_t m = n - from < TILE ? n - from : TILE;
            int finite = wide ? turn_in(tile, x, row, lanes, n, from, m, 1) : turn_in(tile, x, row, lanes, n, from, m, 0);
            for (size_t s = 0; s < sections; s += MOST)
                run(tile, m, sos + 5 * s, state + s, (int)(sections - s < MOST ? sections - s : MOST), groups, !finite);
            if (wide) turn_out(tile, out, row, lanes, n, from, m, 1);
            else turn_out(tile, out, row, lanes, n, from, m, 0);
        }
        for (size_t l = 0; l < lanes; l++)
            for (size_t s = 0; s < sections * 2; s++) z[(row + l) * sections * 2 + s] = state[s / 2][s % 2][l / V][l % V];
    }
    return LL_OK;
}

/* Sums in 8 lanes by sample number: the order is fixed, and no lane waits for the one before. */
INLINE void detrend_row(const void *x, size_t base, size_t n, int linear, void *out, int wide) {
    double sum[8] = {0}, tilt[8] = {0}, middle = 0.5 * (double)(n - 1);
    size_t i = 0;
    for (; i + 8 <= n; i += 8)
        for (int l = 0; l < 8; l++) {
            double v = get(x, base + i + l, wide);
            sum[l] += v;
            if (linear) tilt[l] += v * ((double)(int32_t)(i + l) - middle);
        }
    for (int l = 0; i < n; i++, l++) {
        double v = get(x, base + i, wide);
        sum[l] += v;
        if (linear) tilt[l] += v * ((double)(int32_t)i - middle);
    }
    double mean = 0, slope = 0, count = (double)n;
    for (int l = 0; l < 8; l++) mean += sum[l], slope += tilt[l];
    mean /= count;
    slope = linear && n > 1 ? slope * 12 / (count * (count * count - 1)) : 0;
    if (!isfinite(mean) || !isfinite(slope)) {
        for (i = 0; i < n; i++) put(out, base + i, NAN, wide);
        return;
    }
    for (i = 0; i < n; i++) put(out, base + i, get(x, base + i, wide) - mean - slope * ((double)(int32_t)i - middle), wide);
}

static int detrend(const void *x, size_t rows, size_t n, int linear, void *out, int wide) {
    if (n > INT32_MAX) return LL_RANGE;
    for (size_t row = 0; row < rows; row++) {
        if (wide) detrend_row(x, row * n, n, linear, out, 1);
        else detrend_row(x, row * n, n, linear, out, 0);
    }
    return LL_OK;
}

const ll_filters_api LL_FN(ll_filters_api) = {.sosfilt = sosfilt, .detrend = detrend};
