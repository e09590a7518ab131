/* A pair of rows of 10 segments of 2048 samples, running and whole, the row's way to float32, and what is read from the lines. */
#include "cross.h"

#include <math.h>
#include <string.h>

#include "count.h"

enum { N = 2048, SEGMENTS = 10, ROW = N / 2 * (SEGMENTS + 1), F = N / 2 + 1, PER_PART = 4, PARTS = 3, SHIFT = 100 };

static void count_bands(const ll_cross_api *k, const double *power, const double *s12) {
    double *work = count_memory((6 * F + 1) * sizeof *work), *c = count_memory(2 * F * sizeof *c);
    double *size = count_memory(3 * F * sizeof *size), *chance = size + F, *alone = size + 2 * F;
    double *out = count_memory(F * sizeof *out);
    int64_t *at = count_memory(F * sizeof *at);
    unsigned char *open = count_memory(F);
    memset(open, 1, F);
    const ll_band_lines lines = {.s11 = power, .s22 = power + F, .s12 = s12, .q = power + 2 * F, .open = open, .n_f = F, .half = 7,
                                 .sign = 1.0, .segments = SEGMENTS - 1, .spread = 1.06};
    const ll_band_runs runs = {.sure = 4.5, .holds = 1.5, .spread = 1.4};
    const int64_t edges[] = {0, 7, 14, 28, 60, 120, 240, 480, 960, 1000};
    const size_t half[2] = {7, 63};
    ll_band best;

    count_begin();
    const size_t n = k->coherency(&lines, work, at, c, size, chance, alone);
    count_end("cross.coherency");
    COUNT_IS(n > 1000 && n <= F);

    count_begin();
    k->common(size, chance, n, half, &runs, work, out);
    count_end("cross.common");
    count_begin();
    k->closer(size, chance, n, 7, &runs, work, out);
    count_end("cross.closer");

    const ll_band_row row = {.x = size, .size = size, .even = chance, .alone = alone, .at = at, .n = n, .spread = 1.0, .lags = 0.1};
    count_begin();
    int status = k->best(&row, edges, 10, 14, work, &best);
    count_end("cross.best");
    COUNT_IS(status == LL_OK && best.tried > 20 && best.high > best.low);

    count_begin();
    status = k->standing(power, F, 10.0, 15, work, open);
    count_end("cross.standing");
    COUNT_IS(status == LL_OK);
    free(work), free(c), free(size), free(out), free(at), free(open);
}

void count_cross(void) {
    const ll_cross_api *k = ll_cross();
    float *a = count_noise(ROW, 1), *b = count_noise(ROW, 2), *row[2] = {count_noise(ROW, 3), count_noise(ROW, 4)};
    int16_t *whole = count_memory(ROW * sizeof *whole);
    for (size_t i = 0; i < ROW; i++) whole[i] = (int16_t)(1000.0f * a[i]);
    double *power = count_memory(3 * F * sizeof(double)), *s12 = count_memory(2 * F * sizeof(double));
    double *parts = count_memory(2 * PARTS * F * sizeof(double)), unit[2];
    float *planes[2] = {count_memory(k->size(N, SEGMENTS) * sizeof(float)), count_memory(k->size(N, SEGMENTS) * sizeof(float))};
    unsigned char sound[2][SEGMENTS];
    ll_bins *work = k->open(N);
    ll_cross_sums *sums = k->begin(N, 0, PER_PART);
    COUNT_IS(work && sums);

    count_begin();
    int status = k->push(sums, a, b, LL_CROSS_F32, ROW);
    count_end("cross.push");
    COUNT_IS(status == LL_OK && k->count(sums).used == SEGMENTS && k->count(sums).n_parts == PARTS);

    count_begin();
    status = k->read(sums, power, s12, parts);
    count_end("cross.read");
    COUNT_IS(status == LL_OK && power[F / 2] > 0.0);

    count_begin();
    unit[0] = k->row(a, LL_CROSS_F32, ROW, row[0]);
    count_end("cross.row");
    count_begin();
    unit[1] = k->row(whole, LL_CROSS_I16, ROW, row[1]);
    count_end("cross.row int16");
    COUNT_IS(unit[0] == 1.0 || unit[0] == 0.5);
    unit[1] = k->row(b, LL_CROSS_F32, ROW, row[1]);

    count_begin();
    double share = k->clipped(whole, LL_CROSS_I16, ROW);
    count_end("cross.clipped");
    COUNT_IS(share == 0.0);

    count_begin();
    status = k->planes(work, row[0], ROW, 0, SEGMENTS, planes[0], sound[0]);
    count_end("cross.planes");
    COUNT_IS(status == LL_OK && sound[0][SEGMENTS - 1]);
    status = k->planes(work, row[1], ROW, SHIFT, SEGMENTS - 1, planes[1], sound[1]);
    COUNT_IS(status == LL_OK);

    ll_cross_rows r = {.a = planes[0], .b = planes[1], .sound_a = sound[0], .sound_b = sound[1], .n_a = SEGMENTS,
                       .n_b = SEGMENTS - 1, .n_seg = SEGMENTS - 1, .per_part = PER_PART, .unit_a = unit[0], .unit_b = unit[1],
                       .shift = SHIFT};
    count_begin();
    status = k->pair(work, &r, power, s12, parts);
    count_end("cross.pair");
    COUNT_IS(status == LL_OK && r.used == SEGMENTS - 1 && power[5] > 0.0);

    count_bands(k, power, s12);

    enum { LINES = N / 2 - 1, FAR = N / 2 };
    int64_t *at = count_memory(LINES * sizeof *at);
    double *c = count_memory(2 * LINES * sizeof *c), *out = count_memory((2 * FAR + 1) * sizeof *out);
    ll_lags *lags = k->open_lags(2 * N);
    for (int64_t i = 0; i < LINES; i++) {
        const double angle = -2.0 * M_PI * 20.3 * (double)(i + 1) / N;
        at[i] = i + 1, c[2 * i] = cos(angle), c[2 * i + 1] = sin(angle);
    }
    COUNT_IS(lags);

    count_begin();
    k->turned(at, LINES, 2.0 * M_PI * 20.3 / N, c, out);
    count_end("cross.turned");
    COUNT_IS(fabs(out[2 * LINES - 2] - 1.0) < 1e-9);

    count_begin();
    const double theta = k->newton(at, LINES, c, 2.0 * M_PI * 20.2 / N, M_PI / N);
    count_end("cross.newton");
    COUNT_IS(fabs(theta * N / (2.0 * M_PI) - 20.3) < 1e-9);

    count_begin();
    status = k->lags(lags, at, LINES, c, FAR, out);
    count_end("cross.lags");
    COUNT_IS(status == LL_OK && out[FAR + 41] > 0.9 && out[FAR + 41] < 1.0);
    k->close(work), k->end(sums), k->close_lags(lags), free(at), free(c), free(out);
    free(a), free(b), free(row[0]), free(row[1]), free(whole), free(power), free(s12), free(parts);
    free(planes[0]), free(planes[1]);
}
