/* Four sections over 8 rows, over one row, to and fro, and detrending. */
#include "filters.h"

#include "count.h"

enum { ROWS = 8, N = 8192, SECTIONS = 4 };

/* Two band-passes, about 0.05 to 0.2 of the sampling rate. */
static const double SOS[SECTIONS * 5] = {
    0.0201, 0.0402, 0.0201, -1.1430, 0.4128, 1.0, 2.0, 1.0, -1.4044, 0.7359,
    1.0,   -2.0,   1.0,    -1.6460, 0.7010, 1.0, -2.0, 1.0, -1.8610, 0.9022,
};

void count_filters(void) {
    const ll_filters_api *k = ll_filters();
    float *x = count_noise(ROWS * N, 1), *out = count_memory(ROWS * N * sizeof *out);
    double *z = count_memory(ROWS * SECTIONS * 2 * sizeof *z);
    int status;

    count_begin();
    status = k->sosfilt(SOS, SECTIONS, z, x, ROWS, N, out, 0);
    count_end("filters.sosfilt 8 rows");
    COUNT_IS(status == LL_OK && out[N] == out[N] && out[N] != 0);

    count_begin();
    status = k->sosfilt(SOS, SECTIONS, z, x, 1, N, out, 0);
    count_end("filters.sosfilt 1 row");
    COUNT_IS(status == LL_OK && out[1] != 0);

    memset(z, 0, ROWS * SECTIONS * 2 * sizeof *z);
    count_begin();
    status = k->sosfiltfilt(SOS, SECTIONS, z, x, ROWS, N, LL_PAD_ODD, 27, out, 0);
    count_end("filters.sosfiltfilt");
    COUNT_IS(status == LL_OK && out[N] == out[N] && out[N] != 0);

    count_begin();
    status = k->detrend(x, ROWS, N, 1, out, 0);
    count_end("filters.detrend");
    COUNT_IS(status == LL_OK && out[N] != x[N]);
    free(x), free(out), free(z);
}
