/* Hann segments with half overlap, mean taken off: powers of short and long segments, the matrix, each by itself, a look. */
#include "spectrum.h"

#include <math.h>

#include "count.h"

enum { ROWS = 4, N = 1 << 15 };

static ll_spectrum_sums *stream(const ll_spectrum_api *k, uint32_t n, uint32_t cross) {
    const ll_spectrum_plan plan = {
        .n = n, .hop = n / 2, .n_ch = ROWS, .detrend = LL_DETREND_CONSTANT, .cross = cross, .part = 8, .keep = 1.0};
    float *window = count_memory(n * sizeof *window);
    for (uint32_t t = 0; t < n; t++) window[t] = (float)(0.5 - 0.5 * cos(2.0 * M_PI * t / n));
    ll_spectrum_sums *s = k->open(&plan, window);
    COUNT_IS(s);
    free(window);
    return s;
}

static void count_powers(const ll_spectrum_api *k, const float *const *x, uint32_t n, const char *name) {
    double *out = count_memory(ROWS * (n / 2 + 1) * sizeof *out);
    int64_t used[ROWS];
    ll_spectrum_sums *s = stream(k, n, 0);
    count_begin();
    int status = k->push(s, x, N);
    count_end(name);
    COUNT_IS(status == LL_OK && k->power(s, out, used) == LL_OK && used[ROWS - 1] == 2 * N / n - 1 && out[7] > 0.0);
    k->close(s), free(out);
}

void count_spectrum(void) {
    const ll_spectrum_api *k = ll_spectrum();
    float *x = count_noise(ROWS * N, 1);
    const float *rows[ROWS];
    for (int r = 0; r < ROWS; r++) rows[r] = x + r * N;
    count_powers(k, rows, 512, "spectrum.push 512");
    count_powers(k, rows, 2048, "spectrum.push 2048");
    count_powers(k, rows, 8192, "spectrum.push 8192");

    enum { M = 2048, BINS = M / 2 + 1, SEGMENTS = 2 * N / M - 1 };
    double *out = count_memory(2 * BINS * ROWS * ROWS * sizeof *out), *scale = count_memory(BINS * sizeof *scale);
    float *each = count_memory(ROWS * SEGMENTS * BINS * sizeof *each);
    int64_t used[ROWS * ROWS];
    for (int f = 0; f < BINS; f++) scale[f] = 1.0;
    ll_spectrum_sums *s = stream(k, M, 1);
    count_begin();
    int status = k->push(s, rows, N);
    count_end("spectrum.push cross");
    COUNT_IS(status == LL_OK);
    count_begin();
    status = k->matrix(s, out, used);
    count_end("spectrum.matrix");
    COUNT_IS(status == LL_OK && used[0] == SEGMENTS && out[2 * 7 * ROWS * ROWS] > 0.0);
    count_begin();
    status = k->each(s, x, N, SEGMENTS, scale, each);
    count_end("spectrum.each");
    COUNT_IS(status == LL_OK && each[7] > 0.0f);
    k->close(s), free(x), free(out), free(scale), free(each);
}
