/* Frames of 4 channels x 200 samples, as a logger sends them each second. */
#include "wire.h"

#include "count.h"

enum { CHANNELS = 4, SAMPLES = 200, FRAMES = 64, MOST = 64 + CHANNELS * SAMPLES * 8 };

static const struct {
    const char *row;
    uint8_t encoding, width;
} KINDS[] = {{"wire.row int16", 1, 2}, {"wire.row int24", 2, 3}, {"wire.row int32", 3, 4}, {"wire.row float32", 4, 4}};

static ll_frame frame_of(uint8_t encoding, uint8_t width, const uint8_t *payload, uint64_t seq) {
    return (ll_frame){.encoding = encoding, .flags = 1, .device = 7, .n_channels = CHANNELS, .rate_num = SAMPLES, .rate_den = 1,
                      .n_samples = SAMPLES, .seq = seq, .sample_index = seq * SAMPLES, .t0_ns = 1790000000000000000,
                      .payload = payload, .payload_len = (size_t)CHANNELS * SAMPLES * width};
}

void count_wire(void) {
    const ll_wire_api *k = ll_wire();
    uint8_t *payload = count_memory(MOST), *bytes = count_memory((size_t)FRAMES * MOST);
    float *out = count_memory(SAMPLES * sizeof *out);
    uint64_t seed = 1;
    for (size_t i = 0; i < MOST; i++) payload[i] = (uint8_t)(count_random(&seed) * 64.0);

    long len = 0;
    count_begin();
    for (size_t i = 0; i < FRAMES; i++) {
        ll_frame f = frame_of(2, 3, payload, i);
        len = k->pack(&f, bytes + i * MOST, MOST);
    }
    count_end("wire.pack");
    COUNT_IS(len == 64 + CHANNELS * SAMPLES * 3);

    ll_frame got;
    int refused = 0;
    count_begin();
    for (size_t i = 0; i < FRAMES; i++) refused |= k->parse(bytes + i * MOST, (size_t)len, &got);
    count_end("wire.parse");
    COUNT_IS(!refused && got.seq == FRAMES - 1);

    for (size_t j = 0; j < sizeof KINDS / sizeof *KINDS; j++) {
        ll_frame f = frame_of(KINDS[j].encoding, KINDS[j].width, payload, 0);
        int bad = 0;
        count_begin();
        for (uint32_t i = 0; i < CHANNELS * FRAMES; i++) bad |= k->row(&f, i % CHANNELS, 1e-6, 0.5, out);
        count_end(KINDS[j].row);
        COUNT_IS(!bad);
    }

    uint32_t sum = 0;
    count_begin();
    for (int i = 0; i < FRAMES; i++) sum = k->crc32c(sum, bytes, (size_t)len);
    count_end("wire.crc32c");
    COUNT_IS(sum);
    free(payload), free(bytes), free(out);
}
