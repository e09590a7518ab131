/* One frame through the decoder: what wire.h, journal.h and llf1.h promise, asked against the plain reading of naive.c. */
#include <math.h>

#include "fuzz.h"
#include "journal.h"

tally count;

/* A copy of its own length: one byte beyond is nobody's. */
static uint8_t *own(const void *bytes, size_t len) {
    uint8_t *copy = malloc(len);
    if (!copy) abort();
    if (len) memcpy(copy, bytes, len);
    return copy;
}

static int same_float(float a, float b) { return a == b || (isnan(a) && isnan(b)); }

static void same_header(const ll_frame *f, const told *t) {
    PROMISE(f->type == t->type && f->encoding == t->encoding && f->flags == t->flags && f->header_len == t->header_len);
    PROMISE(f->device == t->device && f->channel == t->channel && f->n_channels == t->n_channels && f->epoch == t->epoch);
    PROMISE(f->clock_sd_us == t->clock_sd_us && f->seq == t->seq && f->sample_index == t->index && f->t0_ns == (int64_t)t->t0);
    PROMISE(f->rate_num == t->num && f->rate_den == t->den && f->n_samples == t->n && f->crc == t->crc);
    PROMISE(f->payload == t->payload && f->payload_len == t->payload_len);
}

/* ---- samples ---- */

/* Every row of a regular frame scaled, against count after count by hand; all samples of small frames, a share of large ones. */
static void same_rows(chance *c, const ll_frame *f, const told *t) {
    double scale = 1e-3 * (double)(1 + below(c, 100)), offset = (double)below(c, 3) - 1.0;
    uint64_t stride = t->n > 4096 ? 1 + below(c, t->n / 64) : 1;
    float *x = (float *)own(NULL, 0);
    for (uint32_t r = 0; r < f->n_channels; r++) {
        free(x);
        x = malloc(t->n * sizeof *x);
        if (!x) abort();
        PROMISE(ll_wire()->row(f, r, scale, offset, x) == LL_OK);
        for (uint64_t i = 0; i < t->n; i += stride, count.values++)
            PROMISE(same_float(x[i], (float)(scale * naive_value(t, r, i) + offset)));
    }
    PROMISE(ll_wire()->row(f, f->n_channels, scale, offset, x) == LL_SHAPE);
    PROMISE(ll_wire()->timed_row(f, 0, scale, offset, NULL, x) == LL_SHAPE);
    free(x);
}

static void same_timed(chance *c, const ll_frame *f, const told *t) {
    double scale = 0.5 * (double)(1 + below(c, 9)), offset = (double)below(c, 3);
    for (uint32_t r = 0; r < f->n_channels; r++) {
        float *x = malloc(t->n * sizeof *x);
        int64_t *times = malloc(t->n * sizeof *times);
        if (!x || !times) abort();
        PROMISE(ll_wire()->timed_row(f, r, scale, offset, times, x) == LL_OK);
        for (uint64_t i = 0; i < t->n; i++, count.values++)
            PROMISE(times[i] == naive_time(t, r, i) && same_float(x[i], (float)(scale * naive_value(t, r, i) + offset)));
        free(x), free(times);
    }
    PROMISE(ll_wire()->timed_row(f, f->n_channels, 1.0, 0.0, NULL, NULL) == LL_SHAPE);
    PROMISE(ll_wire()->row(f, 0, 1.0, 0.0, NULL) == LL_SHAPE);
}

/* What was unpacked, packed again: no longer than the frame, and the same samples. */
static void packed_again(const ll_frame *f, const int32_t *x) {
    size_t room = ll_wire()->squeeze(NULL, f->n_samples, NULL);
    uint8_t *row = malloc(room);
    int32_t *y = malloc(f->n_samples * sizeof *y);
    if (!row || !y) abort();
    size_t len = ll_wire()->squeeze(x, f->n_samples, row);
    PROMISE(len <= room && len <= f->payload_len);
    uint8_t *exact = own(row, len);
    ll_frame again = *f;
    again.n_channels = 1, again.payload = exact, again.payload_len = len;
    PROMISE(ll_wire()->unpack(&again, exact, y) == exact + len && !memcmp(x, y, f->n_samples * sizeof *y));
    free(row), free(y), free(exact);
}

static void same_packed(chance *c, const ll_frame *f, const told *t) {
    uint64_t n = t->n_channels * t->n;
    int32_t *want = malloc(n * sizeof *want), *got = malloc(t->n * sizeof *got);
    if (!want || !got) abort();
    naive_unpack(t, want);
    const uint8_t *at = f->payload, *walked = f->payload;
    for (uint64_t r = 0; r < t->n_channels; r++, count.values += t->n) {
        at = ll_wire()->unpack(f, at, got);
        walked = ll_wire()->unpack(f, walked, NULL);
        PROMISE(at == walked && !memcmp(got, want + r * t->n, t->n * sizeof *got));
        if (!r && (t->n < 4096 || one_in(c, 16))) packed_again(f, got);
    }
    PROMISE(at == f->payload + f->payload_len);
    PROMISE(ll_wire()->row(f, 0, 1.0, 0.0, NULL) == LL_SHAPE && ll_wire()->timed_row(f, 0, 1.0, 0.0, NULL, NULL) == LL_SHAPE);
    free(want), free(got);
}

void examine(chance *c, const uint8_t *bytes, size_t len) {
    ll_frame f;
    told t;
    stage = "parse";
    int64_t calls = allocated.calls;
    int status = ll_wire()->parse(bytes, len, &f), want = naive_judgement(bytes, len, &t);
    PROMISE(status == -want);
    count.fed++;
    stage = "span";
    size_t span = ll_wire()->span(bytes, len);
    PROMISE(span <= len);
    if (status) {
        PROMISE(-status > LL_REFUSED_NONE && -status <= LL_REFUSED_TIME_RANGE); /* what is behind is found by others */
        count.refused[-status]++;
    } else {
        count.accepted++;
        same_header(&f, &t);
        PROMISE(f.type || span == len);
        if (!f.type && (t.n_channels * t.n < 1 << 16 || one_in(c, 8))) {
            stage = "samples";
            count.compared++;
            if (f.encoding == LLF1_TIMED) same_timed(c, &f, &t);
            else if (f.encoding == LLF1_PACKED) same_packed(c, &f, &t);
            else same_rows(c, &f, &t);
        }
    }
    PROMISE(allocated.calls == calls); /* the decoder asks for no memory at all */
}

/* ---- frames back to back, a segment of the journal, what a service says ---- */

/* Two inputs and noise behind one another, walked as a capture is: forward, and each frame's sum is right. */
void examine_capture(chance *c, const input *a, const input *b) {
    size_t noise = below(c, 70), len = a->len + noise + b->len, at = 0;
    uint8_t *all = malloc(len);
    if (!all) abort();
    stage = "span of a capture";
    memcpy(all, a->bytes, a->len);
    for (size_t i = 0; i < noise; i++) all[a->len + i] = (uint8_t)draw(c);
    memcpy(all + a->len + noise, b->bytes, b->len);
    for (; at < len; at++) {
        size_t n = ll_wire()->span(all + at, len - at);
        PROMISE(n <= len - at);
        if (n) {
            PROMISE(n >= HEADER && naive_crc(all + at, n) == field_of(all + at, 60, 4));
            at += n - 1;
        }
    }
    count.captures++;
    free(all);
}

void examine_reply(chance *c, const input *in) {
    static const uint8_t sound[] = "\x86\xa3" "ack\x05\xa6" "credit\xcd\x01\x00\xa7" "refused\xa3" "crc\xa3" "seq\xcf\0\0\0\0\0\0\1\0"
                                   "\xa6" "device\x11\xa5" "epoch\xcc\xff";
    size_t n = sizeof sound - 1, cut = in->len < 200 ? in->len : 200;
    int plain = one_in(c, 3);
    uint8_t *bytes = plain ? own(in->bytes, cut) : own(sound, n = one_in(c, 3) ? below(c, n + 1) : n);
    for (uint64_t k = below(c, 4); !plain && n && k; k--) bytes[below(c, n)] = (uint8_t)draw(c);
    llf1_said said;
    stage = "llf1_reply";
    PROMISE(llf1_reply(bytes, plain ? cut : n, &said) <= 1 && memchr(said.refused, 0, sizeof said.refused));
    count.replies++;
    free(bytes);
}

/* Kinds, places and lengths of records that `walk` has found sound, into memory for so many. */
static void read_records(const uint8_t *base, long n, uint64_t end) {
    uint8_t *kinds = malloc((size_t)n);
    int64_t *offsets = malloc((size_t)n * 8), *lengths = malloc((size_t)n * 8);
    uint32_t *sources = malloc((size_t)n * 4);
    if (!kinds || !offsets || !lengths || !sources) abort();
    ll_journal()->index(base, LL_SEGMENT_HEADER, (size_t)n, kinds, offsets, lengths, sources);
    for (long k = 0; k < n; k++)
        PROMISE(offsets[k] >= 0 && lengths[k] >= 0 && 64 + offsets[k] + lengths[k] <= (int64_t)end && kinds[k] != LL_KIND_END);
    count.records_read += (uint64_t)n;
    free(kinds), free(offsets), free(lengths), free(sources);
}

/* A number at `at`, and where the next one goes. */
static uint8_t *put(uint8_t *at, uint64_t value, int bytes) { return llf1_put(at, value, bytes); }

/* A segment as journal.h draws it, made by hand: its header twice, then n records and perhaps the end mark. Its last offset. */
static uint64_t write_segment(chance *c, uint8_t *base, uint64_t size, const input *const *from, uint64_t n) {
    uint64_t start = below(c, 1000) * 8, at = 64;
    memcpy(base, "LLJ1", 4);
    put(put(put(put(base + 4, 1, 4), start, 8), size, 8), draw(c), 8);
    uint32_t seed = llf1_crc32c(0, base, 60);
    put(base + 60, seed, 4);
    memcpy(base + size - 64, base, 64);
    for (uint64_t k = 0; k < n; k++) {
        const input *in = from[k % 2];
        uint64_t length = in->len < 900 ? in->len : 900, span = (24 + length + 7) / 8 * 8, kind = below(c, 3);
        if (k + 1 == n && one_in(c, 2)) length = 0, span = 24, kind = 255;
        if (span > size - 64 - at) break;
        uint8_t *p = base + at;
        put(put(put(p, length | kind << 32 | (uint64_t)0x4a4c4c << 40, 8), start + at, 8), 7, 4);
        memcpy(p + 24, in->bytes, length);
        put(p + 20, llf1_crc32c(llf1_crc32c(seed, p, 20), p + 24, length), 4);
        at += span;
    }
    return at;
}

/* A segment that is then damaged: walked, searched and read as after a crash. */
void examine_segment(chance *c, const input *a, const input *b) {
    enum { SIZE = 4096 };
    const input *both[2] = {a, b};
    uint8_t *base = calloc(1, SIZE);
    if (!base) abort();
    stage = "journal";
    uint64_t n = below(c, 8), written = write_segment(c, base, SIZE, both, n), next = 0, records, damage = below(c, 6);
    for (uint64_t k = damage; k; k--) base[one_in(c, 2) ? below(c, SIZE) : below(c, 160)] = (uint8_t)draw(c);
    ll_segment found;
    int sealed;
    if (!ll_journal()->inspect(base, SIZE, &found) && found.size == SIZE) { /* whoever opens a file refuses another size */
        uint64_t end = ll_journal()->walk(base, &found, LL_SEGMENT_HEADER, &records, &sealed);
        PROMISE(end >= LL_SEGMENT_HEADER && end <= SIZE - LL_SEGMENT_HEADER && records <= n);
        PROMISE(damage || end == written || (sealed && end + LL_RECORD_HEADER == written));
        uint64_t on = ll_journal()->resume(base, &found, end + 8), trace = ll_journal()->trace(base, &found, end);
        PROMISE((!on || (on > end && on < SIZE)) && trace >= end && trace <= SIZE);
        long got = ll_journal()->count(base, found.start, LL_SEGMENT_HEADER, end, 1 + below(c, 5000), &next);
        PROMISE(got >= 0 && (uint64_t)got <= records && (got || !records) && next <= end);
        read_records(base, got, end);
    }
    count.segments++;
    free(base);
}
