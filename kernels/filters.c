/* A recursion waits for itself: multiply, add, multiply, add. So up to 8 rows run side by side in lanes and the sections of
 * a cascade overlap in time; one or two rows left over run with a lane a section (sections.h). Either way a row meets the same
 * operations in the same order: its answer does not depend on its neighbours.
 *
 *     x[rows][n]  ->  tile[t][8 rows] or line[t] in double  ->  filtered in place  ->  out[rows][n]
 *
 * A tile stays in the first cache. To and fro, all of a row is kept in double between the passes, and the second pass walks
 * the same memory backwards: nothing is reversed or turned twice. */
#include "filters.h"

#include "denormals.h"
#include "sections.h"

enum { TILE = 128, LINE = 512, PARTS = 4 / LL_D };

/* Up to 8 rows of x from sample `from` on, as row pointers; missing rows repeat the first, and nobody reads their lanes. */
LL_INLINE void point(const void *row[LL_ROWS], const void *x, size_t rows, size_t n, size_t from, int wide) {
    for (size_t l = 0; l < LL_ROWS; l++) row[l] = ll_skip(x, (l < rows ? l : 0) * n + from, wide);
}

/* m samples of `rows` rows of x[.][n], from sample `from`, into tile[t][8]. */
LL_INLINE void turn_in(double *tile, const void *x, size_t rows, size_t n, size_t from, size_t m, int wide) {
    const void *row[LL_ROWS];
    point(row, x, rows, n, from, wide);
    for (size_t g = 0; g < rows; g += 4) {
        size_t t = 0;
        for (; t + 4 <= m; t += 4) {
            ll_quad q[4];
            ll_load4(row + g, t, q, wide);
            LL_UNROLL
            for (int i = 0; i < 4; i++) {
                double *at = tile + (t + i) * LL_ROWS + g;
                LL_UNROLL
                for (int p = 0; p < PARTS; p++) memcpy(at + p * LL_D, &q[i].v[p], sizeof(ll_vd));
            }
        }
        for (; t < m; t++)
            for (int l = 0; l < 4; l++) tile[t * LL_ROWS + g + l] = ll_get(row[g + l], t, wide);
    }
}

LL_INLINE void turn_out(const double *tile, void *out, size_t rows, size_t n, size_t from, size_t m, int wide) {
    for (size_t g = 0; g < rows; g += 4) {
        void *row[4];
        size_t t = 0, whole = rows >= g + 4 ? m & ~(size_t)3 : 0;
        for (size_t l = 0; l < 4; l++) row[l] = ll_skip_out(out, (g + l < rows ? g + l : 0) * n + from, wide);
        for (; t < whole; t += 4) {
            ll_quad q[4];
            LL_UNROLL
            for (int i = 0; i < 4; i++) {
                const double *at = tile + (t + i) * LL_ROWS + g;
                LL_UNROLL
                for (int p = 0; p < PARTS; p++) memcpy(&q[i].v[p], at + p * LL_D, sizeof(ll_vd));
            }
            ll_store4(row, t, q, wide);
        }
        for (size_t l = 0; l < 4 && g + l < rows; l++)
            for (size_t i = t; i < m; i++) ll_put(row[l], i, tile[i * LL_ROWS + g + l], wide);
    }
}

LL_INLINE int calm(const void *x, size_t rows, size_t n, size_t from, size_t m, int wide) {
    int finite = 1;
    for (size_t l = 0; l < rows; l++) finite &= ll_calm(ll_skip(x, l * n + from, wide), m, wide);
    return finite;
}

LL_INLINE void exchange(double *z, double *state, size_t sections, size_t rows, int in) {
    for (size_t l = 0; l < rows; l++)
        for (size_t s = 0; s < 2 * sections; s++) {
            double *mine = &state[s * LL_ROWS + l], *saved = &z[l * 2 * sections + s];
            if (in) *mine = *saved;
            else *saved = *mine;
        }
}

/* 3 to 8 rows, lanes over rows. */
LL_INLINE void abreast(const double *c, size_t sections, double *z, const void *x, size_t rows, size_t n, void *out, int wide) {
    double tile[TILE * LL_ROWS] __attribute__((aligned(64))), state[2 * LL_SECTIONS * LL_ROWS];
    int quads = rows > 4 ? 2 : 1;
    memset(tile, 0, sizeof tile), memset(state, 0, 2 * sections * LL_ROWS * sizeof *state);
    exchange(z, state, sections, rows, 1);
    for (size_t from = 0; from < n; from += TILE) {
        size_t m = n - from < TILE ? n - from : TILE;
        int finite = calm(x, rows, n, from, m, wide);
        turn_in(tile, x, rows, n, from, m, wide);
        ll_abreast(tile, LL_ROWS, m, c, sections, state, quads, !finite);
        turn_out(tile, out, rows, n, from, m, wide);
    }
    exchange(z, state, sections, rows, 0);
}

/* One or two rows, lanes over sections. */
LL_INLINE void skewed(const double *c, size_t sections, double *z, const void *x, size_t rows, size_t n, void *out, int wide) {
    double line[2][LINE];
    double *p[2] = {line[0], line[1]};
    for (size_t from = 0; from < n; from += LINE) {
        size_t m = n - from < LINE ? n - from : LINE;
        for (size_t l = 0; l < rows; l++)
            for (size_t t = 0; t < m; t++) p[l][t] = ll_get(x, l * n + from + t, wide);
        if (calm(x, rows, n, from, m, wide)) ll_skewed(p, 1, (ptrdiff_t)m, c, sections, z, (int)rows);
        else
            for (size_t l = 0; l < rows; l++) ll_careful(p[l], 1, m, c, sections, z + l * 2 * sections);
        for (size_t l = 0; l < rows; l++)
            for (size_t t = 0; t < m; t++) ll_put(out, l * n + from + t, p[l][t], wide);
    }
}

/* Recursions add a1 y and a2 y with their signs turned. */
static void turn_signs(const double *sos, size_t sections, double *c) {
    for (size_t i = 0; i < 5 * sections; i++) c[i] = i % 5 < 3 ? sos[i] : -sos[i];
}

LL_INLINE void filter_rows(const double *c, size_t sections, double *z, const void *x, size_t rows, size_t n, void *out, int wide) {
    for (size_t row = 0; row < rows; row += LL_ROWS) {
        size_t lanes = rows - row < LL_ROWS ? rows - row : LL_ROWS;
        double *zr = z + row * 2 * sections;
        if (lanes > 2) abreast(c, sections, zr, ll_skip(x, row * n, wide), lanes, n, ll_skip_out(out, row * n, wide), wide);
        else skewed(c, sections, zr, ll_skip(x, row * n, wide), lanes, n, ll_skip_out(out, row * n, wide), wide);
    }
}

static LL_APART void filter_wide(const double *c, size_t sections, double *z, const void *x, size_t rows, size_t n, void *out) {
    filter_rows(c, sections, z, x, rows, n, out, 1);
}
static LL_APART void filter_narrow(const double *c, size_t sections, double *z, const void *x, size_t rows, size_t n, void *out) {
    filter_rows(c, sections, z, x, rows, n, out, 0);
}

static int sosfilt(const double *sos, size_t sections, double *z, const void *x, size_t rows, size_t n, void *out, int wide) {
    double c[5 * LL_SECTIONS];
    if (sections < 1 || sections > LL_SECTIONS) return LL_RANGE;
    turn_signs(sos, sections, c);
    ll_float_mode before = ll_flush();
    (wide ? filter_wide : filter_narrow)(c, sections, z, x, rows, n, out);
    ll_restore(before);
    return LL_OK;
}

/* To and fro. `work` holds n + 2 pad samples of `stride` lanes (8 abreast, 1 skewed). */
typedef struct {
    const double *c, *zi;
    size_t sections, n, pad, stride;
    int kind;
} journey;

LL_INLINE void lengthen(const journey *j, double *lane) {
    size_t n = j->n, pad = j->pad, step = j->stride;
    double *first = lane + pad * step, *last = lane + (pad + n - 1) * step;
    for (size_t i = 1; i <= pad; i++) {
        double before = j->kind == LL_PAD_CONSTANT ? *first : first[i * step];
        double after = j->kind == LL_PAD_CONSTANT ? *last : last[-(ptrdiff_t)(i * step)];
        first[-(ptrdiff_t)(i * step)] = j->kind == LL_PAD_ODD ? 2 * *first - before : before;
        last[i * step] = j->kind == LL_PAD_ODD ? 2 * *last - after : after;
    }
}

/* The first finite sample of a lane on the way from p; 0 where there is none. */
LL_INLINE double level(const double *p, ptrdiff_t step, size_t m) {
    for (; m; m--, p += step)
        if (isfinite(*p)) return *p;
    return 0;
}

LL_INLINE void pass_abreast(const journey *j, double *work, size_t rows, int backwards, int masked) {
    double state[2 * LL_SECTIONS * LL_ROWS];
    size_t m = j->n + 2 * j->pad;
    ptrdiff_t step = backwards ? -LL_ROWS : LL_ROWS;
    double *at = backwards ? work + (m - 1) * LL_ROWS : work;
    memset(state, 0, 2 * j->sections * LL_ROWS * sizeof *state);
    for (size_t l = 0; l < rows; l++) {
        double start = level(at + l, step, m);
        for (size_t s = 0; s < 2 * j->sections; s++) state[s * LL_ROWS + l] = j->zi[s] * start;
    }
    /* In stretches that stay in the first cache while the sections go over them four at a time. */
    for (size_t t = 0; t < m; t += TILE)
        ll_abreast(at + (ptrdiff_t)t * step, step, m - t < TILE ? m - t : TILE, j->c, j->sections, state, rows > 4 ? 2 : 1, masked);
}

LL_INLINE void pass_skewed(const journey *j, double *const p[2], size_t rows, int backwards, int masked) {
    size_t m = j->n + 2 * j->pad;
    ptrdiff_t step = backwards ? -1 : 1;
    double z[2 * 2 * LL_SECTIONS], *at[2];
    for (size_t l = 0; l < rows; l++) {
        at[l] = backwards ? p[l] + m - 1 : p[l];
        double start = level(at[l], step, m);
        for (size_t s = 0; s < 2 * j->sections; s++) z[l * 2 * j->sections + s] = j->zi[s] * start;
    }
    for (size_t t = 0; t < m; t += LINE) {
        size_t part = m - t < LINE ? m - t : LINE;
        double *here[2] = {at[0] + (ptrdiff_t)t * step, rows > 1 ? at[1] + (ptrdiff_t)t * step : NULL};
        if (!masked) ll_skewed(here, step, (ptrdiff_t)part, j->c, j->sections, z, (int)rows);
        else
            for (size_t l = 0; l < rows; l++) ll_careful(here[l], step, part, j->c, j->sections, z + l * 2 * j->sections);
    }
}

LL_INLINE void to_and_fro(journey *j, const void *x, size_t rows, double *work, void *out, int wide) {
    size_t n = j->n, m = n + 2 * j->pad;
    int masked = !calm(x, rows, n, 0, n, wide);
    j->stride = rows > 2 ? LL_ROWS : 1;
    if (rows > 2) {
        turn_in(work + j->pad * LL_ROWS, x, rows, n, 0, n, wide);
        for (size_t l = 0; l < (rows + 3) / 4 * 4; l++) lengthen(j, work + l);
        for (int backwards = 0; backwards < 2; backwards++) pass_abreast(j, work, rows, backwards, masked);
        turn_out(work + j->pad * LL_ROWS, out, rows, n, 0, n, wide);
        return;
    }
    double *p[2] = {work, work + m};
    for (size_t l = 0; l < rows; l++) {
        for (size_t t = 0; t < n; t++) p[l][j->pad + t] = ll_get(x, l * n + t, wide);
        lengthen(j, p[l]);
    }
    for (int backwards = 0; backwards < 2; backwards++) pass_skewed(j, p, rows, backwards, masked);
    for (size_t l = 0; l < rows; l++)
        for (size_t t = 0; t < n; t++) ll_put(out, l * n + t, p[l][j->pad + t], wide);
}

static LL_APART void both_ways(journey *j, const void *x, size_t rows, double *work, void *out, int wide) {
    for (size_t row = 0; row < rows; row += LL_ROWS) {
        size_t lanes = rows - row < LL_ROWS ? rows - row : LL_ROWS;
        if (wide) to_and_fro(j, ll_skip(x, row * j->n, 1), lanes, work, ll_skip_out(out, row * j->n, 1), 1);
        else to_and_fro(j, ll_skip(x, row * j->n, 0), lanes, work, ll_skip_out(out, row * j->n, 0), 0);
    }
}

static int sosfiltfilt(const double *sos, size_t sections, const double *zi, const void *x, size_t rows, size_t n, int kind,
                       size_t pad, void *out, int wide) {
    double c[5 * LL_SECTIONS];
    if (sections < 1 || sections > LL_SECTIONS || kind < LL_PAD_NONE || kind > LL_PAD_CONSTANT) return LL_RANGE;
    if (pad >= n || n > (size_t)PTRDIFF_MAX / 512) return LL_SHAPE;
    turn_signs(sos, sections, c);
    journey j = {c, zi, sections, n, kind == LL_PAD_NONE ? 0 : pad, LL_ROWS, kind};
    size_t bytes = (n + 2 * j.pad) * (rows > 2 ? LL_ROWS : rows) * sizeof(double);
    double *work = aligned_alloc(64, (bytes + 63) / 64 * 64);
    if (!work) return LL_NOMEM;
    ll_float_mode before = ll_flush();
    both_ways(&j, x, rows, work, out, wide);
    ll_restore(before);
    free(work);
    return LL_OK;
}

/* Sums in SUMS lanes by sample number: the order is fixed, and no lane waits for the one before. Samples are numbered from the
 * middle of the row, so that the slope is the sum of number * sample over that of number^2. */
enum { SUMS = 16 };

LL_INLINE ll_vd numbers(size_t i, double middle) {
    ll_vd d;
    for (int l = 0; l < LL_D; l++) d[l] = (double)l - middle;
    return d + (double)i;
}

LL_INLINE void detrend_row(const void *x, size_t n, int linear, void *out, int wide) {
    ll_vd sum[SUMS / LL_D], tilt[SUMS / LL_D];
    double last[SUMS] = {0}, middle = 0.5 * (double)(n - 1), mean = 0, slope = 0, count = (double)n;
    size_t i = 0;
    LL_UNROLL
    for (int v = 0; v < SUMS / LL_D; v++) sum[v] = tilt[v] = (ll_vd){0};
    for (; i + SUMS <= n; i += SUMS) {
        LL_UNROLL
        for (int v = 0; v < SUMS / LL_D; v++) {
            ll_vd d = ll_load(x, i + v * LL_D, wide);
            sum[v] += d;
            if (linear) tilt[v] += d * numbers(i + v * LL_D, middle);
        }
    }
    for (size_t l = 0; i + l < n; l++) last[l] = ll_get(x, i + l, wide);
    LL_UNROLL
    for (int v = 0; v < SUMS / LL_D; v++) {
        ll_vd d = ll_load(last, v * LL_D, 1);
        sum[v] += d;
        if (linear) tilt[v] += d * numbers(i + v * LL_D, middle);
        for (int l = 0; l < LL_D; l++) mean += sum[v][l], slope += tilt[v][l];
    }
    mean /= count;
    slope = linear && n > 1 ? slope * 12 / (count * (count * count - 1)) : 0;
    if (!isfinite(mean) || !isfinite(slope)) {
        for (i = 0; i < n; i++) ll_put(out, i, NAN, wide);
        return;
    }
    i = 0;
    if (!wide && !linear) { /* the mean as two floats: both roundings are of the size of the answer */
        float high = (float)mean, low = (float)(mean - (double)high);
        const float *from = x;
        for (; i + LL_F <= n; i += LL_F) ll_storef((float *)out + i, ll_loadf(from + i) - high - low);
        for (; i < n; i++) ((float *)out)[i] = from[i] - high - low;
        return;
    }
    for (; i + LL_D <= n; i += LL_D) {
        ll_vd d = ll_load(x, i, wide) - mean;
        ll_store(out, i, linear ? d - slope * numbers(i, middle) : d, wide);
    }
    for (; i < n; i++) ll_put(out, i, ll_get(x, i, wide) - mean - slope * ((double)i - middle), wide);
}

static int detrend(const void *x, size_t rows, size_t n, int linear, void *out, int wide) {
    for (size_t row = 0; row < rows; row++, x = ll_skip(x, n, wide), out = ll_skip_out(out, n, wide)) {
        if (wide) linear ? detrend_row(x, n, 1, out, 1) : detrend_row(x, n, 0, out, 1);
        else linear ? detrend_row(x, n, 1, out, 0) : detrend_row(x, n, 0, out, 0);
    }
    return LL_OK;
}

const ll_filters_api LL_FN(ll_filters_api) = {.sosfilt = sosfilt, .sosfiltfilt = sosfiltfilt, .detrend = detrend};
