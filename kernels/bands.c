/* Windows of neighbouring lines, by differences of running sums; bands.h says of what. */
#include "bands.h"

#include <math.h>

/* s[0] = 0, s[i + 1] = s[i] + x[i]. */
static void add_up(const double *x, size_t n, double *s) {
    double sum = s[0] = 0.0;
    for (size_t i = 0; i < n; i++) s[i + 1] = sum += x[i];
}

/* total[i]: sum over the window about i; count[i], where asked for: how many it holds. */
static void windows(const double *s, size_t n, size_t half, double *total, double *count) {
    half = half < n ? half : n;
    const size_t first = half, last = n > 2 * half ? n - half : first; /* whole windows: first .. last - 1 */
    for (size_t i = first; i < last; i++) total[i] = s[i + half + 1] - s[i - half];
    for (size_t i = first; count && i < last; i++) count[i] = (double)(2 * half + 1);
    for (size_t i = 0; i < n; i++) {
        if (i == first && first < last) i = last;
        if (i >= n) break;
        const size_t from = i < half ? 0 : i - half, end = n - i <= half ? n : i + half + 1;
        total[i] = s[end] - s[from];
        if (count) count[i] = (double)(end - from);
    }
}

/* The next run of sign * z that counts, from i on: its end, its begin in *from; 0: there is none. */
static size_t next_run(const double *z, size_t n, double sign, const ll_band_runs *r, size_t i, size_t *from) {
    while (i < n) {
        int sure = 0;
        while (i < n && !(sign * z[i] > r->holds)) i++;
        for (*from = i; i < n && sign * z[i] > r->holds; i++) sure |= sign * z[i] >= r->sure;
        if (sure) return i;
    }
    return 0;
}

size_t ll_bands_coherency(const ll_band_lines *l, double *work, int64_t *at, double *c, double *size, double *chance,
                          double *alone) {
    size_t n = 0;
    for (size_t k = 0; k < l->n_f; k++) {
        at[n] = (int64_t)k;
        n += l->open[k] && l->s11[k] * l->s22[k] > 0.0;
    }
    for (size_t i = 0; i < n; i++) {
        const size_t k = (size_t)at[i];
        const double product = l->s11[k] * l->s22[k], root = l->sign * sqrt(product);
        const double re = l->s12[2 * k] / root, im = l->s12[2 * k + 1] / root;
        const double power = re * re + im * im, loud = l->q[k] / product, large = sqrt(power);
        c[2 * i] = re, c[2 * i + 1] = im;
        size[i] = large > 1.0 ? 1.0 : large, alone[i] = loud / l->segments;
        chance[i] = loud - power; /* q of a common stationary source is 1 + |C|^2 times the product of the powers */
    }
    double *s = work, *count = work + n + 1;
    const double least = l->spread / l->segments;
    add_up(chance, n, s);
    windows(s, n, l->half, chance, count);
    for (size_t i = 0; i < n; i++) {
        const double mean = chance[i] / count[i] * least;
        chance[i] = mean < least ? least : mean > 1.0 ? 1.0 : mean;
    }
    return n;
}

void ll_bands_common(const double *size, const double *chance, size_t n, const size_t half[2], const ll_band_runs *r, double *work,
                     double *out) {
    double *s = work, *value = s + n + 1, *total = value + n, *count = total + n, *z = count + n, *rest = z + n;
    size_t left = n;
    for (size_t i = 0; i < n; i++) out[i] = 0.0, rest[i] = 1.0;
    for (int pass = 0; pass < 2 && left; pass++) {
        for (size_t i = 0; i < n; i++) value[i] = size[i] * size[i] * rest[i];
        add_up(value, n, s), windows(s, n, half[pass], total, count);
        if (left < n) {
            add_up(rest, n, s), windows(s, n, half[pass], count, NULL);
            for (size_t i = 0; i < n; i++) count[i] = count[i] > 1.0 ? count[i] : 1.0;
        }
        for (size_t i = 0; i < n; i++) total[i] /= count[i], z[i] = (total[i] / chance[i] - 1.0) * sqrt(count[i] / r->spread);
        for (size_t i = 0, from, end; (end = next_run(z, n, 1.0, r, i, &from)); i = end)
            for (size_t k = from; k < end; k++) {
                if (rest[k] == 0.0) continue;
                const double by_chance = chance[k] < 0.5 ? chance[k] : 0.5, more = total[k] - by_chance;
                out[k] = sqrt((more > 0.0 ? more : 0.0) / (1.0 - by_chance));
                rest[k] = 0.0, left--;
            }
    }
}

void ll_bands_closer(const double *x, const double *chance, size_t n, size_t half, const ll_band_runs *r, double *work,
                     double *out) {
    double *s = work, *level = s + n + 1, *deviation = level + n, *z = deviation + n;
    add_up(x, n, s), windows(s, n, half, level, deviation);
    for (size_t i = 0; i < n; i++) {
        level[i] /= deviation[i], deviation[i] = sqrt(r->spread * chance[i] / deviation[i]);
        const double free = 1.0 - level[i] * level[i]; /* the nearer to 1, the better it is known */
        z[i] = (level[i] - out[i]) / (deviation[i] * (free > 1e-3 ? free : 1e-3));
    }
    for (int sign = -1; sign < 2; sign += 2)
        for (size_t i = 0, from, end; (end = next_run(z, n, sign, r, i, &from)); i = end)
            for (size_t k = from; k < end; k++) out[k] = level[k] > r->holds * deviation[k] ? level[k] : 0.0;
}

int ll_bands_best(const ll_band_row *row, const int64_t *edges, size_t n_edges, int64_t least, double *work, ll_band *best) {
    const size_t n = row->n;
    double *told = work, *gain = told + n, *variance = gain + n + 1, highest = 0.0;
    for (size_t e = 0; e < n_edges; e++)
        if (edges[e] < 0 || (size_t)edges[e] > n || (e && edges[e] <= edges[e - 1])) return LL_RANGE;
    for (size_t i = 0; i < n; i++) {
        const double size = row->size[i], even = row->even[i];
        told[i] = size > even ? row->x[i] * (even / (size > 1e-300 ? size : 1e-300)) : row->x[i];
    }
    add_up(told, n, gain), add_up(row->alone, n, variance);
    *best = (ll_band){0, 0, 0.0, 0.0, 0};
    for (size_t a = 0; a < n_edges; a++)
        for (size_t b = a + 1; b < n_edges; b++) {
            const int64_t low = edges[a], high = edges[b];
            if (high - low < least || high == low) continue;
            const double z = (gain[high] - gain[low]) / sqrt((variance[high] - variance[low]) * row->spread);
            const double half = z > 0.0 ? 0.5 * z * z : 0.0;
            if (best->tried++ && half <= highest) continue; /* log(lags) is 0 or more */
            const double lags = row->lags * (double)(row->at[high - 1] - row->at[low]) + 1.0, score = half - log(lags);
            if (best->tried > 1 && !(score > highest)) continue;
            highest = score, best->low = low, best->high = high, best->z = z, best->lags = lags;
        }
    return LL_OK;
}
