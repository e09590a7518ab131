/* 16 channels of 4,096 samples in lanes, one channel alone, and a window of 8,192 for the picker. */
#include "onset.h"

#include "count.h"

enum { ROWS = 16, N = 4096, STA = 50, LTA = 1000, WINDOW = 8192 };

static void count_recursive(const ll_onset_api *k, const float *x, float *out) {
    ll_sta_state *s = count_memory(ROWS * sizeof *s);
    COUNT_IS(k->recursive(s, STA, LTA, x, ROWS, N, out, 0) == LL_OK);
    count_begin();
    int status = k->recursive(s, STA, LTA, x, ROWS, N, out, 0);
    count_end("onset.recursive");
    COUNT_IS(status == LL_OK && s[ROWS - 1].count == 2 * N && out[0] > 0);

    count_begin();
    status = k->recursive(s, STA, LTA, x, 1, N, out, 0);
    count_end("onset.recursive alone");
    COUNT_IS(status == LL_OK && s[0].count == 3 * N && out[N - 1] > 0);
    free(s);
}

static void count_classic(const ll_onset_api *k, const float *x, float *out) {
    void *s = count_memory(ROWS / 4 * k->classic_size(STA, LTA));
    count_begin();
    int status = k->classic(s, STA, LTA, x, ROWS, N, out, 0);
    count_end("onset.classic");
    COUNT_IS(status == LL_OK && out[N - 1] > 0 && out[LTA - 2] == 0);
    free(s);
    s = count_memory(k->classic_size(STA, LTA));
    count_begin();
    status = k->classic(s, STA, LTA, x, 1, N, out, 0);
    count_end("onset.classic alone");
    COUNT_IS(status == LL_OK && out[N - 1] > 0);
    free(s);
}

static void count_cusum(const ll_onset_api *k, const float *x, float *up, float *down) {
    ll_cusum_state *s = count_memory(ROWS * sizeof *s);
    count_begin();
    int status = k->cusum(s, 0.25, 3.0, x, ROWS, N, up, down, 0);
    count_end("onset.cusum");
    COUNT_IS(status == LL_OK && s[0].up >= 0 && s[0].down >= 0);
    free(s);
}

static void count_aic(const ll_onset_api *k, float *x) {
    double *work = count_memory((3 * WINDOW + 12) * sizeof *work), quality = 0;
    int64_t index = -1;
    for (size_t i = 0; i < WINDOW * 3 / 4; i++) x[i] *= 0.1f;
    count_begin();
    int status = k->aic(x, WINDOW, 0, work, &index, &quality);
    count_end("onset.aic");
    COUNT_IS(status == LL_OK && llabs(index - WINDOW * 3 / 4) < 8 && quality > 0.5);
    free(work);
}

void count_onset(void) {
    const ll_onset_api *k = ll_onset();
    float *x = count_noise(ROWS * N, 1), *up = count_memory(ROWS * N * sizeof *up), *down = count_memory(ROWS * N * sizeof *down);
    count_recursive(k, x, up);
    count_classic(k, x, up);
    count_cusum(k, x, up, down);
    count_aic(k, x);
    free(x), free(up), free(down);
}
