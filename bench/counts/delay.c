/* All 28 pairs of 8 channels at 513 lines: one noise with delays, spectra written down directly. */
#include "delay.h"

#include <math.h>

#include "count.h"

enum { F = 513, CH = 8, PAIRS = 28, FINE = 2048, EDGE = 512, STRIDE = FINE / 2 + 1 };

void count_delay(void) {
    const ll_delay_api *k = ll_delay();
    float *s = count_memory(2 * F * CH * CH * sizeof *s);
    double *say = count_memory(F * sizeof *say), *root = count_memory(CH * F * sizeof *root);
    int64_t pairs[2 * PAIRS];
    for (size_t f = 0; f < F; f++) {
        say[f] = f ? f + 1 < F ? 1.0 : 0.5 : 0.0;
        for (size_t i = 0; i < CH; i++)
            for (size_t j = 0; j < CH; j++) {
                double turn = -2.0 * M_PI * (double)f * 3.0 * ((double)j - (double)i) / (2.0 * (F - 1)), size = i == j ? 1.0 : 0.6;
                s[2 * ((f * CH + i) * CH + j)] = (float)(size * cos(turn)), s[2 * ((f * CH + i) * CH + j) + 1] = (float)(size * sin(turn));
            }
    }
    for (int64_t i = 0, q = 0; i < CH; i++)
        for (int64_t j = i + 1; j < CH; j++, q += 2) pairs[q] = i, pairs[q + 1] = j;
    ll_delay_plan p = {.n_f = F, .n_ch = CH, .lo = 1, .hi = F, .weighting = LL_DELAY_HT, .stride = STRIDE, .certain = 1e-6, .say = say};
    float *cross = count_memory(2 * PAIRS * STRIDE * sizeof *cross), *coherence = count_memory(PAIRS * F * sizeof *coherence);
    float *full = count_memory((size_t)PAIRS * FINE * sizeof *full), *r = count_memory(PAIRS * (2 * EDGE + 1) * sizeof *r);
    ll_delay_sums sums[PAIRS];
    double at[PAIRS], peak[PAIRS];

    count_begin();
    int status = k->channels(&p, s, root, NULL);
    count_end("delay.channels");
    COUNT_IS(status == LL_OK && root[5] == 1.0);

    count_begin();
    status = k->weigh(&p, s, root, NULL, pairs, PAIRS, cross, coherence, sums);
    count_end("delay.weigh");
    COUNT_IS(status == LL_OK && fabs(coherence[7] - 0.36) < 1e-6);

    for (size_t q = 0; q < PAIRS; q++) { /* a bump where the transform has its peak: 2 steps to a sample */
        int64_t lag = 6 * (pairs[2 * q + 1] - pairs[2 * q]);
        for (int64_t d = -2; d <= 2; d++) full[q * FINE + (size_t)(lag + d)] = (float)(3 - llabs(d));
    }
    count_begin();
    status = k->peaks(&p, cross, full, FINE, EDGE, sums, PAIRS, r, at, peak);
    count_end("delay.peaks");
    COUNT_IS(status == LL_OK && fabs(at[0] - 6.0) < 1e-4 && fabs(peak[0] - 1.0) < 1e-4);
    free(s), free(say), free(root), free(cross), free(coherence), free(full), free(r);
}
