/* Four channels of 8,192 samples: by 63 taps, and the modulus alone. */
#include "envelope.h"

#include "count.h"

enum { ROWS = 4, N = 8192, HALF = 16, D = 2 * HALF - 1 };

void count_envelope(void) {
    const ll_envelope_api *k = ll_envelope();
    float *x = count_noise(ROWS * N, 1), *h = count_noise(ROWS * N, 2), *out = count_memory(ROWS * N * sizeof *out);
    double *past = count_memory(ROWS * 2 * D * sizeof *past), *work = count_memory((2 * D + LL_ENVELOPE_RUN + 64) * sizeof *work);
    double taps[HALF];
    for (int t = 0; t < HALF; t++) taps[t] = 0.63 / (2 * t + 1);

    count_begin();
    int status = k->push(taps, HALF, D, past, x, ROWS, N, out, work, 0);
    count_end("envelope.push");
    COUNT_IS(status == LL_OK && out[N - 1] > 0 && (float)past[2 * D - 1] == x[N - 1]);

    count_begin();
    status = k->magnitude(x, h, ROWS * N, out, 0);
    count_end("envelope.magnitude");
    COUNT_IS(status == LL_OK && out[7] >= h[7]);
    free(x), free(h), free(out), free(past), free(work);
}
