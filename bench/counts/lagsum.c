/* Products at 60 lags of 16 channels over 512 samples, and of 5, which leave a tile that is not whole. */
#include "lagsum.h"

#include "count.h"

enum { N = 512, LAGS = 59, MOST = 16 };

static void counted(const char *name, size_t n_ch) {
    const ll_lagsum_api *k = ll_lagsum();
    float *noise = count_noise(MOST * (N + LAGS), 1);
    double *x = count_memory(MOST * (N + LAGS) * sizeof *x), *offset = count_memory(MOST * sizeof *offset);
    double *work = count_memory(ll_lagsum_work(n_ch, LAGS) * sizeof *work);
    double *out = count_memory(n_ch * ll_lagsum_columns(n_ch, LAGS) * sizeof *out);
    for (size_t i = 0; i < MOST * (N + LAGS); i++) x[i] = noise[i];
    count_begin();
    int status = k->add(x, n_ch, N + LAGS, offset, LAGS, N, work, out);
    count_end(name);
    double power = 0.0;
    for (size_t t = 0; t < N; t++) power += x[t] * x[t];
    COUNT_IS(status == LL_OK && out[0] > 0.999 * power && out[0] < 1.001 * power);
    free(noise), free(x), free(offset), free(work), free(out);
}

void count_lagsum(void) {
    counted("lagsum.add 16 channels", 16);
    counted("lagsum.add 5 channels", 5);
}
