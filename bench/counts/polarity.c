/* 65,536 samples of two channels, lags up to 200: all there, and with samples missing. */
#include "polarity.h"

#include <math.h>

#include "count.h"

enum { N = 1 << 16, LAG = 200 };

void count_polarity(void) {
    const ll_polarity_api *k = ll_polarity();
    float *a = count_noise(N, 1), *b = count_noise(N, 2);
    int64_t *pairs = count_memory((2 * LAG + 1) * sizeof *pairs), *unlike = count_memory((2 * LAG + 1) * sizeof *unlike);
    ll_polarity_bits *s = k->open(LAG);
    COUNT_IS(s != NULL);

    count_begin();
    int status = k->push(s, a, b, N);
    count_end("polarity.push");
    COUNT_IS(status == LL_OK);

    count_begin();
    status = k->read(s, pairs, unlike);
    count_end("polarity.read");
    COUNT_IS(status == LL_OK && pairs[LAG] == N && pairs[0] == N - LAG && unlike[LAG] > N / 4);

    k->reset(s);
    for (size_t i = 0; i < N; i += 1000) a[i] = NAN;
    count_begin();
    status = k->push(s, a, b, N);
    count_end("polarity.push missing");
    COUNT_IS(status == LL_OK);
    k->close(s), free(a), free(b), free(pairs), free(unlike);
}
