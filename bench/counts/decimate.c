/* One sample of four kept, 209 taps. */
#include "decimate.h"

#include "count.h"

enum { ROWS = 4, N = 8192, TAPS = 209, Q = 4 };

void count_decimate(void) {
    const ll_decimate_api *k = ll_decimate();
    float *x = count_noise(ROWS * N, 1), *out = count_memory(ROWS * N / Q * sizeof *out);
    double *taps = count_noise64(TAPS, 2), *hist = count_memory(ROWS * (TAPS - 1) * sizeof *hist);
    COUNT_IS(ll_kept(N, Q, 0) == N / Q);

    count_begin();
    int status = k->decimate(taps, TAPS, Q, 0, hist, x, ROWS, N, out, N / Q, 0);
    count_end("decimate.decimate");
    COUNT_IS(status == LL_OK && out[N / Q - 1] != 0 && hist[TAPS - 2] == (double)x[N - 1]);
    free(x), free(out), free(taps), free(hist);
}
