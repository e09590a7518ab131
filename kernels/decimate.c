/* One answer is a scalar product of L taps and L neighbouring samples, so lanes run along the taps and AT answers go
 * together, which share each vector of taps:
 *
 *     taps, last first     [ g0 .. g7 ][ g8 .. g15 ] ...  [ .. gL-1 ]    the last vector may overlap the one before; taps
 *     answer k             x[kq ..    ][           ] ...               counted there already are 0 in it, so that nothing
 *     answer k + 1           x[kq + q ..                               outside of the window is ever read or multiplied
 *
 * float: products and sums of PART vectors in float, the parts among each other in double. A lane adds 16 times, so were
 * every rounding to fall the same way, the error would be 8.5 * 2^-24 of the sum of |tap x|: 1e-6 of full scale for the own
 * taps, whose magnitudes sum to 2.05; found are 1e-7. double: all in double. The order of the additions depends on the taps
 * alone, never on where a window lies. */
#include "decimate.h"

#include <math.h>

#include "denormals.h"
#include "lanes.h"

enum { AT = 8, PART = 16 };

#define UNROLL _Pragma("GCC unroll 8")

#if defined(__FMA__)
#define MADDF(a, b, c) ((ll_vf)_mm256_fmadd_ps((__m256)(a), (__m256)(b), (__m256)(c)))
#define MADDD(a, b, c) ((ll_vd)_mm256_fmadd_pd((__m256d)(a), (__m256d)(b), (__m256d)(c)))
#else
#define MADDF(a, b, c) ((a) * (b) + (c))
#define MADDD(a, b, c) ((a) * (b) + (c))
#endif

typedef struct {
    size_t L, q, vectors, last; /* vectors of taps; where the last one begins */
    void *taps;                 /* vectors * lanes, reversed, 0 where the last vector overlaps */
} fir;

/* The sum over the lanes of each of AT vectors, as doubles; what is not finite becomes NaN. */
LL_INLINE void close_sums(const ll_vd sum[AT], void *out, size_t count, int wide) {
    double y[AT];
    UNROLL
    for (int a = 0; a < AT; a += LL_D) {
        ll_vd r[LL_D];
        UNROLL
        for (int l = 0; l < LL_D; l++) r[l] = sum[a + l];
        ll_transpose(r);
        ll_vd total = r[0] + r[1];
#if defined(__AVX__)
        total += r[2] + r[3];
#endif
        total = ll_choose(total - total == 0, total, ll_all(NAN));
        memcpy(y + a, &total, sizeof total);
    }
    for (size_t a = 0; a < count; a++) {
        float narrow = (float)y[a];
        if (wide) ((double *)out)[a] = y[a];
        else ((float *)out)[a] = isfinite(narrow) ? narrow : NAN;
    }
}

/* AT answers from windows that begin at x, x + q, ..; those from `count` on repeat the last and are not kept. */
LL_INLINE void some_narrow(const fir *f, const float *x, float *out, size_t count) {
    const float *from[AT], *g = f->taps;
    ll_vd sum[AT];
    for (size_t a = 0; a < AT; a++) from[a] = x + (a < count ? a : count - 1) * f->q, sum[a] = (ll_vd){0};
    for (size_t v = 0; v < f->vectors; v += PART) {
        size_t end = v + PART < f->vectors ? v + PART : f->vectors;
        ll_vf part[AT];
        UNROLL
        for (int a = 0; a < AT; a++) part[a] = (ll_vf){0};
        for (size_t i = v; i < end; i++) {
            size_t at = i + 1 < f->vectors ? i * LL_F : f->last;
            ll_vf tap = ll_loadf(g + i * LL_F);
            UNROLL
            for (int a = 0; a < AT; a++) part[a] = MADDF(tap, ll_loadf(from[a] + at), part[a]);
        }
        UNROLL
        for (int a = 0; a < AT; a++) {
            ll_vh half[2];
            memcpy(half, &part[a], sizeof half);
            sum[a] += ll_widen(half[0]) + ll_widen(half[1]);
        }
    }
    close_sums(sum, out, count, 0);
}

LL_INLINE void some_wide(const fir *f, const double *x, double *out, size_t count) {
    const double *from[AT], *g = f->taps;
    ll_vd sum[AT];
    for (size_t a = 0; a < AT; a++) from[a] = x + (a < count ? a : count - 1) * f->q;
    UNROLL
    for (int a = 0; a < AT; a++) sum[a] = (ll_vd){0};
    for (size_t i = 0; i < f->vectors; i++) {
        size_t at = i + 1 < f->vectors ? i * LL_D : f->last;
        ll_vd tap = ll_load(g, i * LL_D, 1);
        UNROLL
        for (int a = 0; a < AT; a++) sum[a] = MADDD(tap, ll_load(from[a], at, 1), sum[a]);
    }
    close_sums(sum, out, count, 1);
}

/* Too few taps for a vector. */
LL_INLINE void one_short(const fir *f, const void *x, void *out, int wide) {
    double sum = 0;
    for (size_t i = 0; i < f->L; i++) sum += ll_get(f->taps, i, wide) * ll_get(x, i, wide);
    if (!wide) sum = (float)sum;
    ll_put(out, 0, isfinite(sum) ? sum : NAN, wide);
}

/* `count` answers from windows that begin at x, x + q, .. */
static void answers(const fir *f, const void *x, void *out, size_t count, int wide) {
    for (size_t k = 0; k < count; k += f->vectors ? AT : 1) {
        const void *from = ll_skip(x, k * f->q, wide);
        void *to = ll_skip_out(out, k, wide);
        size_t some = count - k < AT ? count - k : AT;
        if (!f->vectors) one_short(f, from, to, wide);
        else if (wide) some_wide(f, from, to, some);
        else some_narrow(f, from, to, some);
    }
}

static void prepare(fir *f, const double *taps, int wide) {
    size_t lanes = wide ? LL_D : LL_F, L = f->L, whole = L / lanes;
    f->vectors = whole ? whole + (L % lanes != 0) : 0;
    f->last = L > lanes ? L - lanes : 0;
    for (size_t i = 0; i < (f->vectors ? f->vectors * lanes : L); i++) {
        size_t at = f->vectors && i >= (f->vectors - 1) * lanes ? f->last + i - (f->vectors - 1) * lanes : i;
        int counted = at < i / lanes * lanes; /* only in a last vector that overlaps */
        ll_put(f->taps, i, counted ? 0 : taps[L - 1 - at], wide);
    }
}

/* hist and then x, as one row of the samples' own type. */
LL_INLINE void join(void *line, const double *hist, size_t before, const void *x, size_t m, int wide) {
    for (size_t i = 0; i < before; i++) ll_put(line, i, hist[i], wide);
    if (m) memcpy(ll_skip_out(line, before, wide), x, m * (wide ? 8 : 4)); /* a flush gives no x */
}

LL_INLINE void remember(double *hist, size_t before, const void *x, size_t n, int wide) {
    size_t kept = n < before ? before - n : 0, from = n < before ? 0 : n - before;
    if (kept) memmove(hist, hist + before - kept, kept * sizeof *hist); /* a filter of one tap has no history */
    for (size_t i = kept; i < before; i++) hist[i] = ll_get(x, from + i - kept, wide);
}

static LL_APART void all_rows(const fir *f, size_t skip, double *hist, const void *x, size_t rows, size_t n, void *out,
                              size_t stride, void *line, int wide) {
    size_t before = f->L - 1, count = ll_kept(n, f->q, skip), m = n < before ? n : before;
    size_t early = ll_kept(m, f->q, skip); /* windows that begin in the history */
    for (size_t r = 0; r < rows; r++, hist += before, x = ll_skip(x, n, wide), out = ll_skip_out(out, stride, wide)) {
        if (early) {
            join(line, hist, before, x, m, wide);
            answers(f, ll_skip(line, skip, wide), out, early, wide);
        }
        if (early < count)
            answers(f, ll_skip(x, skip + early * f->q - before, wide), ll_skip_out(out, early, wide), count - early, wide);
        remember(hist, before, x, n, wide);
    }
}

static int decimate(const double *taps, size_t L, size_t q, size_t skip, double *hist, const void *x, size_t rows, size_t n,
                    void *out, size_t stride, int wide) {
    if (L < 1 || q < 1 || L > (size_t)1 << 40) return LL_RANGE;
    size_t size = wide ? 8 : 4, room = (L + LL_F) * size;
    char *memory = malloc(room + 2 * L * size);
    if (!memory) return LL_NOMEM;
    fir f = {.L = L, .q = q, .taps = memory};
    prepare(&f, taps, wide);
    ll_float_mode mode = ll_flush();
    if (wide) all_rows(&f, skip, hist, x, rows, n, out, stride, memory + room, 1);
    else all_rows(&f, skip, hist, x, rows, n, out, stride, memory + room, 0);
    ll_restore(mode);
    free(memory);
    return LL_OK;
}

const ll_decimate_api LL_FN(ll_decimate_api) = {.decimate = decimate};
