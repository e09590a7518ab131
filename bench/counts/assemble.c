/* 64 int24 frames of 4 channels x 200 samples each from 4 devices: in through feed, out through next and copy. */
#include "assemble.h"

#include "count.h"

enum { DEVICES = 4, CHANNELS = 4, SAMPLES = 200, ROUNDS = 64, LENGTH = 64 + CHANNELS * SAMPLES * 3, N = DEVICES * ROUNDS };

static const int64_t T0 = 1790000000000000000, SECOND = 1000000000;

static ll_assembler *assembler(const ll_assemble_api *k) {
    ll_assembler *a = k->make(DEVICES * CHANNELS, DEVICES);
    COUNT_IS(a);
    for (int32_t i = 0; i < DEVICES * CHANNELS; i++) {
        ll_channel c = {(uint32_t)(i / CHANNELS), (uint16_t)(i % CHANNELS), 1e-6, 0.0, SAMPLES};
        COUNT_IS(!k->set_channel(a, i, &c, 1 << 20));
    }
    for (int32_t d = 0; d < DEVICES; d++) {
        int32_t members[CHANNELS];
        for (int32_t c = 0; c < CHANNELS; c++) members[c] = d * CHANNELS + c;
        COUNT_IS(!k->set_join(a, d, members, CHANNELS, 1));
    }
    COUNT_IS(!k->seal(a));
    return a;
}

static void make_frames(uint8_t *buf, int64_t *offsets, int64_t *lengths, const uint8_t *payload, uint64_t first) {
    for (uint64_t i = 0; i < N; i++) {
        uint64_t seq = first + i / DEVICES;
        ll_frame f = {.encoding = 2, .flags = 1, .device = (uint32_t)(i % DEVICES), .n_channels = CHANNELS, .rate_num = SAMPLES,
                      .rate_den = 1, .n_samples = SAMPLES, .seq = seq, .sample_index = seq * SAMPLES,
                      .t0_ns = T0 + (int64_t)seq * SECOND, .payload = payload, .payload_len = LENGTH - 64};
        offsets[i] = (int64_t)i * LENGTH, lengths[i] = LENGTH;
        COUNT_IS(ll_wire()->pack(&f, buf + offsets[i], LENGTH) == LENGTH);
    }
}

static uint64_t take_all(const ll_assemble_api *k, ll_assembler *a, float *x) {
    uint64_t taken = 0;
    for (int32_t d = 0; d < DEVICES; d++)
        for (;;) {
            ll_piece piece;
            double skew[CHANNELS];
            const int64_t *had;
            int kind = k->next(a, d, 0, &piece, skew, &had);
            if (kind == LL_NOTHING) break;
            if (kind != LL_BLOCK) continue;
            k->copy(a, d, 0, &piece, x, NULL);
            taken += piece.n;
        }
    return taken;
}

void count_assemble(void) {
    const ll_assemble_api *k = ll_assemble();
    ll_assembler *a = assembler(k);
    uint8_t *buf = count_memory((size_t)N * LENGTH), *payload = count_memory(LENGTH);
    int64_t *offsets = count_memory(N * sizeof *offsets), *lengths = count_memory(N * sizeof *lengths);
    int64_t *refused = count_memory(N * sizeof *refused), *greeting = count_memory(N * sizeof *greeting);
    int32_t *reason = count_memory(N * sizeof *reason);
    float *x = count_memory((size_t)CHANNELS * ROUNDS * SAMPLES * sizeof *x);
    uint64_t taken = 0;
    for (int turn = 0; turn < 2; turn++) { /* in the first one the rings grow */
        int64_t next = 0;
        ll_outcome out = {.refused_record = refused, .refused_reason = reason, .greeting_record = greeting};
        make_frames(buf, offsets, lengths, payload, (uint64_t)turn * ROUNDS);
        if (turn) count_begin();
        int status = k->feed(a, buf, offsets, lengths, N, &next, 0, 0, &out);
        if (turn) count_end("assemble.feed");
        COUNT_IS(status == LL_FED && next == N && !out.n_refused);
        if (turn) count_begin();
        taken = take_all(k, a, x);
        if (turn) count_end("assemble.take");
        COUNT_IS(taken == (uint64_t)DEVICES * ROUNDS * SAMPLES);
    }
    long size = k->save(a, NULL, 0);
    uint8_t *state = count_memory((size_t)size);
    ll_assembler *b = assembler(k);
    count_begin();
    k->save(a, state, (size_t)size);
    int status = k->load(b, state, (size_t)size);
    count_end("assemble.save and load");
    COUNT_IS(status == LL_OK);
    k->destroy(a), k->destroy(b);
    free(buf), free(payload), free(offsets), free(lengths), free(refused), free(greeting), free(reason), free(x), free(state);
}
