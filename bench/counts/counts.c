/* 64 channels x 500 samples, as frames have them and interleaved. */
#include "counts.h"

#include "count.h"

enum { CHANNELS = 64, SAMPLES = 500 };

static const struct {
    const char *row, *interleaved;
    int kind, width;
} KINDS[] = {{"counts.row int16", "counts.interleaved int16", LL_INT16, 2},
             {"counts.row int24", "counts.interleaved int24", LL_INT24, 3},
             {"counts.row int32", "counts.interleaved int32", LL_INT32, 4}};

void count_counts(void) {
    const ll_counts_api *k = ll_counts();
    float *out = count_memory(CHANNELS * SAMPLES * sizeof *out);
    double *scale = count_noise64(CHANNELS, 1), *offset = count_noise64(CHANNELS, 2);
    uint64_t seed = 1;
    for (size_t j = 0; j < sizeof KINDS / sizeof *KINDS; j++) {
        size_t row = (size_t)SAMPLES * (size_t)KINDS[j].width, size = CHANNELS * row;
        uint8_t *payload = count_memory(size);
        for (size_t i = 0; i < size; i++) payload[i] = (uint8_t)(count_random(&seed) * 127.0);
        int status = 0;
        count_begin();
        for (size_t c = 0; c < CHANNELS; c++)
            status |= k->row(KINDS[j].kind, payload + c * row, SAMPLES, scale[c], offset[c], out + c * SAMPLES);
        count_end(KINDS[j].row);
        COUNT_IS(status == LL_OK && out[1] != out[0]);
        count_begin();
        status = k->interleaved(KINDS[j].kind, payload, SAMPLES, CHANNELS, 0, CHANNELS, scale, offset, out, SAMPLES);
        count_end(KINDS[j].interleaved);
        COUNT_IS(status == LL_OK && out[1] != out[0]);
        free(payload);
    }
    free(out), free(scale), free(offset);
}
