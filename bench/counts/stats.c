/* 16 rows of 4,096 samples at 100 Hz: described, in bins, and watched for flat lines and clipping. */
#include "stats.h"

#include <math.h>

#include "count.h"

enum { ROWS = 16, N = 4096 };

static size_t watch(const ll_stats_api *k, int clips, const float *x) {
    ll_stats_clock clock = {.anchor_ns = 1790000000000000000, .rate_num = 100, .rate_den = 1};
    ll_stats_rule rule = {.flat_need = 200, .window_ns = 1000000000, .clip_need = 3, .low = -0.999f, .high = 0.999f, .rest = NAN};
    ll_stats_event event;
    size_t events = 0;
    int found;
    for (size_t c = 0; c < ROWS; c++) {
        ll_stats_guard g = {0};
        for (size_t i = 0; i < N; events += (size_t)found)
            i = clips ? k->clip(&g, &rule, x + c * N, i, N, &clock, 0, &event, &found)
                      : k->flat(&g, &rule, x + c * N, i, N, &clock, &event, &found);
    }
    return events;
}

void count_stats(void) {
    const ll_stats_api *k = ll_stats();
    float *x = count_noise(ROWS * N, 1), low[ROWS], high[ROWS];
    double *d = count_noise64(ROWS * N, 1);
    ll_stats_cell *cells = count_memory(ROWS * sizeof *cells);
    ll_stats_row rows[ROWS];
    for (int c = 0; c < ROWS; c++) low[c] = -0.999f, high[c] = 0.999f;

    count_begin();
    for (size_t c = 0; c < ROWS; c++) k->describe(x + c * N, 0, N, rows + c);
    count_end("stats.describe float32");
    COUNT_IS(rows[ROWS - 1].finite == N && fabs(rows[0].kurtosis - 1.8) < 0.1);

    count_begin();
    for (size_t c = 0; c < ROWS; c++) k->describe(d + c * N, 1, N, rows + c);
    count_end("stats.describe float64");
    COUNT_IS(rows[ROWS - 1].finite == N && fabs(rows[0].kurtosis - 1.8) < 0.1);

    k->open(cells, ROWS);
    count_begin();
    for (size_t i = 0; i < N; i += 200) k->add(cells, ROWS, x + i, N, N - i < 200 ? N - i : 200, low, high);
    k->read(cells, ROWS, rows);
    count_end("stats.add, blocks of 200");
    COUNT_IS(rows[ROWS - 1].finite == N && rows[0].clipped);

    for (size_t i = 0; i < ROWS * N; i += 100) x[i] = NAN;
    k->open(cells, ROWS);
    count_begin();
    k->add(cells, ROWS, x, N, N, low, high);
    k->read(cells, ROWS, rows);
    count_end("stats.add, NaN among them");
    COUNT_IS(rows[0].bad == 41);

    count_begin();
    size_t flats = watch(k, 0, x);
    count_end("stats.flat");
    COUNT_IS(!flats);

    count_begin();
    watch(k, 1, x);
    count_end("stats.clip");
    free(x), free(d), free(cells);
}
