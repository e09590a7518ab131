/* Medians of 31 (a line) and of 1,001 (blocks), and Hampel's filter over 31. */
#include "hampel.h"

#include "count.h"

enum { N = 20000 };

static void one(const ll_hampel_api *k, size_t window, int verb, const float *x, const char *name) {
    float *out = count_memory(N * sizeof *out);
    uint8_t *marks = count_memory(N);
    void *state = count_memory(k->size(window, 0));
    count_begin();
    int status = k->whole(state, window, x, 1, N, verb, 3 * 1.4826, out, marks, 0);
    count_end(name);
    COUNT_IS(status == LL_OK && out[N / 2] == out[N / 2] && out[N / 2] != 0);
    free(out), free(marks), free(state);
}

void count_hampel(void) {
    float *x = count_noise(N, 1);
    one(ll_hampel(), 31, LL_MEDIAN, x, "hampel.median of 31");
    one(ll_hampel(), 1001, LL_MEDIAN, x, "hampel.median of 1001");
    one(ll_hampel(), 31, LL_REPLACE, x, "hampel.hampel of 31");
    free(x);
}
