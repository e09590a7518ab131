/* A cascade of second-order sections over doubles in memory, in two arrangements that do the same operations:
 *
 *     ll_abreast   a lane a row, samples [t][8 rows]; the sections of a sample overlap by themselves
 *     ll_skewed    a lane a section, for one or two rows: while section 0 is at sample k, section s is at k - s
 *     ll_careful   one row, sample by sample, where something is not finite
 *
 * c[sections][5] = b0 b1 b2 -a1 -a2. `step` is the way from one sample to the next, negative when going back in time. */
#ifndef LL_SECTIONS_H
#define LL_SECTIONS_H

#include <math.h>

#include "lanes.h"

enum { LL_ROWS = 8, LL_MOST = 4, LL_SECTIONS = 64 };

#define LL_UNROLL _Pragma("GCC unroll 8")

/* a b + c as ll_fma, by name: left to find it in a loop over lanes, gcc unrolls that loop to scalar code here. */
#if defined(__FMA__)
#define LL_MADD(a, b, c) ((ll_vd)_mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c)))
#else
#define LL_MADD(a, b, c) ((a) * (b) + (c))
#endif

/* One section at one sample of LL_D rows. */
#define LL_SECTION(b0, b1, b2, a1, a2, x, z1, z2, y, n1, n2)                                                                \
    ll_vd y = LL_MADD(b0, x, z1);                                                                                          \
    ll_vd n1 = LL_MADD(a1, y, LL_MADD(b1, x, z2)), n2 = LL_MADD(a2, y, (b2) * (x));

/* S sections over m samples of `groups` vectors; S, groups and masked are constants where this is inlined. State i of
 * section s of lane l is z[(2 s + i) 8 + l]. */
LL_INLINE void ll_abreast_of(double *at, ptrdiff_t step, size_t m, const double *c, double *z, int S, int groups, int masked) {
    ll_vd state[2 * LL_MOST][LL_ROWS / LL_D], k[LL_MOST][5];
    LL_UNROLL
    for (int s = 0; s < S; s++) {
        LL_UNROLL
        for (int i = 0; i < 5; i++) k[s][i] = ll_all(c[5 * s + i]);
    }
    LL_UNROLL
    for (int i = 0; i < 2 * S; i++) {
        LL_UNROLL
        for (int g = 0; g < groups; g++) memcpy(&state[i][g], z + i * LL_ROWS + g * LL_D, sizeof(ll_vd));
    }
    for (size_t t = 0; t < m; t++, at += step) {
        LL_UNROLL
        for (int g = 0; g < groups; g++) {
            ll_vd x;
            memcpy(&x, at + g * LL_D, sizeof x);
            ll_vi sound = x - x == 0;
            LL_UNROLL
            for (int s = 0; s < S; s++) {
                ll_vd *z1 = &state[2 * s][g], *z2 = &state[2 * s + 1][g];
                LL_SECTION(k[s][0], k[s][1], k[s][2], k[s][3], k[s][4], x, *z1, *z2, y, n1, n2)
                *z1 = masked ? ll_choose(sound, n1, *z1) : n1;
                *z2 = masked ? ll_choose(sound, n2, *z2) : n2;
                x = y;
            }
            if (masked) x = ll_choose(sound, x, ll_all(NAN));
            memcpy(at + g * LL_D, &x, sizeof x);
        }
    }
    LL_UNROLL
    for (int i = 0; i < 2 * S; i++) {
        LL_UNROLL
        for (int g = 0; g < groups; g++) memcpy(z + i * LL_ROWS + g * LL_D, &state[i][g], sizeof(ll_vd));
    }
}

#define LL_ABREAST_CASES(groups, masked)                                                                                   \
    switch (S) {                                                                                                           \
        case 1: ll_abreast_of(at, step, m, c, z, 1, groups, masked); break;                                                \
        case 2: ll_abreast_of(at, step, m, c, z, 2, groups, masked); break;                                                \
        case 3: ll_abreast_of(at, step, m, c, z, 3, groups, masked); break;                                                \
        default: ll_abreast_of(at, step, m, c, z, 4, groups, masked);                                                      \
    }

#if defined(__AVX512F__)
enum { LL_BOTH = 1 }; /* 32 registers hold the states of two quads */
#else
enum { LL_BOTH = 0 };
#endif

/* All sections, up to LL_MOST at a time, over lanes 0 to 3 (quads 1) or 0 to 7 (quads 2). */
static void ll_abreast(double *at, ptrdiff_t step, size_t m, const double *c, size_t sections, double *z, int quads, int masked) {
    if (quads == 2 && (!LL_BOTH || masked)) {
        ll_abreast(at, step, m, c, sections, z, 1, masked);
        ll_abreast(at + 4, step, m, c, sections, z + 4, 1, masked);
        return;
    }
    for (; sections; c += 5 * LL_MOST, z += 2 * LL_MOST * LL_ROWS) {
        int S = (int)(sections < LL_MOST ? sections : LL_MOST);
        sections -= (size_t)S;
        if (masked) {
            LL_ABREAST_CASES(4 / LL_D, 1)
        } else if (quads == 1) {
            LL_ABREAST_CASES(4 / LL_D, 0)
        } else if (LL_BOTH) {
            LL_ABREAST_CASES(LL_ROWS / LL_D, 0)
        }
    }
}

typedef struct {
    ll_vd z1[4 / LL_D], z2[4 / LL_D], y[4 / LL_D];
} ll_skew;
typedef struct {
    ll_vd c[5][4 / LL_D]; /* coefficient i of section s in lane s */
} ll_skew_rule;

/* What each lane takes in: the answer of the lane before it, one sample ago; lane 0 takes `in`. */
LL_INLINE ll_vd ll_handed(ll_vd before, ll_vd y) {
#if defined(__AVX__)
    return LL_SHUFFLE(ll_vi, before, y, 3, 4, 5, 6);
#else
    return LL_SHUFFLE(ll_vi, before, y, 1, 2);
#endif
}

/* Moment k of m samples; `edge` says that not all of the S sections have a sample now. */
LL_INLINE void ll_skew_step(ll_skew *q, const ll_skew_rule *r, double *p, ptrdiff_t step, ptrdiff_t k, ptrdiff_t m, int S,
                            int edge) {
    ll_vd x[4 / LL_D];
    ll_vd in = ll_all(edge && k >= m ? 0 : p[k * step]);
    for (int w = 0; w < 4 / LL_D; w++) x[w] = ll_handed(w ? q->y[w - 1] : in, q->y[w]);
    for (int w = 0; w < 4 / LL_D && w * LL_D < S; w++) {
        LL_SECTION(r->c[0][w], r->c[1][w], r->c[2][w], r->c[3][w], r->c[4][w], x[w], q->z1[w], q->z2[w], y, n1, n2)
        if (edge) {
            ll_vi busy;
            for (int l = 0; l < LL_D; l++) busy[l] = -(int64_t)(k >= w * LL_D + l && k - (w * LL_D + l) < m);
            n1 = ll_choose(busy, n1, q->z1[w]), n2 = ll_choose(busy, n2, q->z2[w]);
        }
        q->z1[w] = n1, q->z2[w] = n2, q->y[w] = y;
    }
    if (k >= S - 1) p[(k - (S - 1)) * step] = q->y[(S - 1) / LL_D][(S - 1) % LL_D];
}

/* `rows` is 1 or 2, S 1 to 4; both constants where this is inlined. */
LL_INLINE void ll_skewed_of(double *const p[2], ptrdiff_t step, ptrdiff_t m, const double *c, double *const z[2], int rows, int S) {
    ll_skew q[2];
    ll_skew_rule r;
    double wide[5][4] = {{0}};
    memset(q, 0, sizeof q);
    for (int s = 0; s < S; s++)
        for (int i = 0; i < 5; i++) wide[i][s] = c[5 * s + i];
    memcpy(r.c, wide, sizeof wide);
    for (int s = 0; s < S; s++) {
        for (int l = 0; l < rows; l++) q[l].z1[s / LL_D][s % LL_D] = z[l][2 * s], q[l].z2[s / LL_D][s % LL_D] = z[l][2 * s + 1];
    }
    ptrdiff_t k = 0, end = m + S - 1;
    for (; k < S - 1; k++)
        for (int l = 0; l < rows; l++) ll_skew_step(&q[l], &r, p[l], step, k, m, S, 1);
    for (; k < m; k++)
        for (int l = 0; l < rows; l++) ll_skew_step(&q[l], &r, p[l], step, k, m, S, 0);
    for (; k < end; k++)
        for (int l = 0; l < rows; l++) ll_skew_step(&q[l], &r, p[l], step, k, m, S, 1);
    for (int s = 0; s < S; s++)
        for (int l = 0; l < rows; l++) z[l][2 * s] = q[l].z1[s / LL_D][s % LL_D], z[l][2 * s + 1] = q[l].z2[s / LL_D][s % LL_D];
}

#define LL_SKEWED_CASES(rows)                                                                                              \
    switch (S) {                                                                                                           \
        case 1: ll_skewed_of(p, step, m, c, z, rows, 1); break;                                                            \
        case 2: ll_skewed_of(p, step, m, c, z, rows, 2); break;                                                            \
        case 3: ll_skewed_of(p, step, m, c, z, rows, 3); break;                                                            \
        default: ll_skewed_of(p, step, m, c, z, rows, 4);                                                                  \
    }

/* All sections over m finite samples of one or two rows; z0[rows][sections][2]. */
static void ll_skewed(double *const p[2], ptrdiff_t step, ptrdiff_t m, const double *c, size_t sections, double *z0, int rows) {
    double *z[2] = {z0, z0 + 2 * sections};
    for (; sections; c += 5 * LL_MOST, z[0] += 2 * LL_MOST, z[1] += 2 * LL_MOST) {
        int S = (int)(sections < LL_MOST ? sections : LL_MOST);
        sections -= (size_t)S;
        if (rows == 1) {
            LL_SKEWED_CASES(1)
        } else {
            LL_SKEWED_CASES(2)
        }
    }
}

static void ll_careful(double *p, ptrdiff_t step, size_t m, const double *c, size_t sections, double *z) {
    for (size_t t = 0; t < m; t++, p += step) {
        double x = *p;
        if (!isfinite(x)) {
            *p = NAN;
            continue;
        }
        for (size_t s = 0; s < sections; s++) {
            const double *k = c + 5 * s;
            double y = ll_fma1(k[0], x, z[2 * s]);
            z[2 * s] = ll_fma1(k[3], y, ll_fma1(k[1], x, z[2 * s + 1]));
            z[2 * s + 1] = ll_fma1(k[4], y, k[2] * x);
            x = y;
        }
        *p = x;
    }
}

#endif
