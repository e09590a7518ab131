/* 256 records of 2,464 bytes (a frame of 4 x 200 int24 samples) in a segment of 1 MiB. */
#include "journal.h"

#include "count.h"

enum { N = 256, LENGTH = 2464, SIZE = 1 << 20 };

void count_journal(void) {
    const ll_journal_api *k = ll_journal();
    uint8_t *base = count_memory(SIZE), *buf = count_memory((size_t)N * LENGTH), *kinds = count_memory(N);
    int64_t *offsets = count_memory(N * sizeof *offsets), *lengths = count_memory(N * sizeof *lengths);
    uint32_t *sources = count_memory(N * sizeof *sources);
    uint64_t seed = 1;
    for (size_t i = 0; i < (size_t)N * LENGTH; i++) buf[i] = (uint8_t)(count_random(&seed) * 127.0);
    for (int64_t i = 0; i < N; i++) offsets[i] = i * LENGTH, lengths[i] = LENGTH, sources[i] = (uint32_t)i;
    ll_segment seg = {.start = 0, .size = SIZE, .salt = 1};
    k->format(base, &seg);
    memcpy(base + SIZE - LL_SEGMENT_HEADER, base, LL_SEGMENT_HEADER);
    ll_writer w = {.stage = base + LL_SEGMENT_HEADER, .room = SIZE - 2 * LL_SEGMENT_HEADER, .size = SIZE, .offset = LL_SEGMENT_HEADER, .seed = seg.seed};

    count_begin();
    long fresh = k->fit(&w, offsets, lengths, N, (uint64_t)N * LENGTH, SIZE);
    long done = k->append(&w, 1, buf, offsets, lengths, sources, 0, N);
    count_end("journal.append");
    COUNT_IS(fresh == 0 && done == N);

    uint64_t records = 0, end = 0;
    int sealed = 0;
    count_begin();
    end = k->walk(base, &seg, LL_SEGMENT_HEADER, &records, &sealed);
    count_end("journal.walk");
    COUNT_IS(records == N && end == w.offset + w.filled);

    count_begin();
    uint64_t none = k->resume(base, &seg, end);
    count_end("journal.resume");
    COUNT_IS(none == 0);

    uint64_t next = 0;
    count_begin();
    long n = k->count(base, 0, LL_SEGMENT_HEADER, end, SIZE, &next);
    k->index(base, LL_SEGMENT_HEADER, (size_t)n, kinds, offsets, lengths, sources);
    count_end("journal.read");
    COUNT_IS(n == N && next == end && lengths[N - 1] == LENGTH);
    free(base), free(buf), free(kinds), free(offsets), free(lengths), free(sources);
}
