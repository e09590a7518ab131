/* One record in a segment (see journal.h for the fields):
 *
 *     offset            +24                     +24+length      multiple of 8
 *     | commit pos src crc | payload ............... | zeros |
 *
 * Readers of this process look no further than `end`, which is published when all of the record is in the file. A process that
 * is killed within a write leaves a part of it behind, and a power cut takes pages in any order: then the crc decides.
 *
 * Records are written with pwrite and not through a map: a page that the kernel has brought to the disk costs a map a fault of
 * about a microsecond when it is written again, and whoever syncs another file waits for these. */
#include "journal.h"

#include "wire.h"

#if __BYTE_ORDER__ != __ORDER_LITTLE_ENDIAN__
#error "segments are little endian and this code writes them in place"
#endif

#define LOAD(type, p) ({ type v_; memcpy(&v_, (p), sizeof v_); v_; })
#define STORE(type, p, value) do { type v_ = (value); memcpy((p), &v_, sizeof v_); } while (0)

enum { AT_POSITION = 8, AT_SOURCE = 16, AT_RECORD_CRC = 20, AT_SEGMENT_CRC = 60 };

static const uint64_t MARK = (uint64_t)0x4a4c4c << 40;

static uint32_t crc32c(uint32_t crc, const void *bytes, size_t len) { return LL_FN(ll_wire_api).crc32c(crc, bytes, len); }

static inline uint64_t commit_of(uint8_t kind, uint64_t length) { return MARK | (uint64_t)kind << 32 | length; }
static inline int is_commit(uint64_t word) { return word >> 40 == MARK >> 40; }
static inline uint64_t length_of(uint64_t commit) { return (uint32_t)commit; }
static inline uint8_t kind_of(uint64_t commit) { return (uint8_t)(commit >> 32); }
static inline uint64_t span_of(uint64_t length) { return (LL_RECORD_HEADER + length + 7) & ~(uint64_t)7; }
/* Records lie before this offset. */
static inline uint64_t area_end(uint64_t size) { return size - LL_SEGMENT_HEADER; }

/* ---- the segment's header ---- */

static void format(uint8_t *header, ll_segment *seg) {
    uint8_t h[LL_SEGMENT_HEADER] = "LLJ1";
    seg->version = LL_JOURNAL_VERSION;
    STORE(uint32_t, h + 4, seg->version);
    STORE(uint64_t, h + 8, seg->start);
    STORE(uint64_t, h + 16, seg->size);
    STORE(uint64_t, h + 24, seg->salt);
    seg->seed = crc32c(0, h, AT_SEGMENT_CRC);
    STORE(uint32_t, h + AT_SEGMENT_CRC, seg->seed);
    memcpy(header, h, sizeof h);
}

static int header_at(const uint8_t *h, ll_segment *seg) {
    if (memcmp(h, "LLJ1", 4) || crc32c(0, h, AT_SEGMENT_CRC) != LOAD(uint32_t, h + AT_SEGMENT_CRC)) return 0;
    *seg = (ll_segment){.version = LOAD(uint32_t, h + 4), .start = LOAD(uint64_t, h + 8), .size = LOAD(uint64_t, h + 16),
                        .salt = LOAD(uint64_t, h + 24), .seed = LOAD(uint32_t, h + AT_SEGMENT_CRC)};
    return seg->size % 8 == 0 && seg->size >= 2 * LL_SEGMENT_HEADER && seg->start <= UINT64_MAX - seg->size;
}

static int inspect(const uint8_t *base, uint64_t len, ll_segment *seg) {
    ll_segment copy;
    int first = len >= LL_SEGMENT_HEADER && header_at(base, seg);
    uint64_t size = first ? seg->size : len;
    int second = size >= 2 * LL_SEGMENT_HEADER && size <= len && header_at(base + area_end(size), &copy) && copy.size == size;
    if (!first && !second) return LL_STATE;
    if (!first) *seg = copy;
    seg->repaired = !first || !second;
    return LL_OK;
}

/* ---- writing ---- */

static long fit(const ll_writer *w, const int64_t *offsets, const int64_t *lengths, size_t n, uint64_t buf_len, uint64_t fresh) {
    uint64_t at = w->size ? w->offset : 0, stop = w->size ? area_end(w->size) : 0;
    uint64_t room = fresh - 2 * LL_SEGMENT_HEADER;
    long segments = 0;
    for (size_t i = 0; i < n; i++) {
        if (lengths[i] < 0) return LL_SHAPE;
        if (offsets && (offsets[i] < 0 || (uint64_t)offsets[i] > buf_len || (uint64_t)lengths[i] > buf_len - (uint64_t)offsets[i]))
            return LL_SHAPE;
        uint64_t span = span_of((uint64_t)lengths[i]);
        if ((uint64_t)lengths[i] > UINT32_MAX || span > room) return LL_RANGE;
        if (span > stop - at) {
            segments++;
            at = LL_SEGMENT_HEADER;
            stop = area_end(fresh);
        }
        at += span;
    }
    return segments;
}

static uint32_t record_crc(uint32_t seed, const uint8_t *header, const uint8_t *payload, uint64_t length) {
    return crc32c(crc32c(seed, header, AT_RECORD_CRC), payload, length);
}

static void put(uint8_t *at, uint32_t seed, uint64_t position, uint8_t kind, uint32_t source, const uint8_t *payload, uint64_t length) {
    uint8_t h[LL_RECORD_HEADER];
    uint64_t commit = commit_of(kind, length), span = span_of(length);
    STORE(uint64_t, h, commit);
    STORE(uint64_t, h + AT_POSITION, position);
    STORE(uint32_t, h + AT_SOURCE, source);
    STORE(uint32_t, h + AT_RECORD_CRC, record_crc(seed, h, payload, length));
    if (length) memcpy(at + LL_RECORD_HEADER, payload, length);
    memset(at + LL_RECORD_HEADER + length, 0, span - LL_RECORD_HEADER - length);
    memcpy(at, h, LL_RECORD_HEADER);
}

static uint64_t needs(const ll_writer *w, uint64_t length) {
    uint64_t span = span_of(length);
    return w->size && span <= area_end(w->size) - w->offset - w->filled ? span : 0;
}

/* A record on the stage; 0 where that or the segment has no room for it. */
static inline int add(ll_writer *w, uint8_t kind, uint32_t source, const uint8_t *payload, uint64_t length) {
    const uint64_t span = needs(w, length);
    if (!span || span > w->room - w->filled) return 0;
    put(w->stage + w->filled, w->seed, w->start + w->offset + w->filled, kind, source, payload, length);
    w->filled += span;
    return 1;
}

static long append(ll_writer *w, uint8_t kind, const uint8_t *buf, const int64_t *offsets, const int64_t *lengths,
                   const uint32_t *sources, size_t first, size_t n) {
    size_t i = first;
    while (i < n && add(w, kind, sources[i], buf + offsets[i], (uint64_t)lengths[i])) i++;
    return (long)i;
}

static long gather(ll_writer *w, uint8_t kind, const uint8_t *const *at, const int64_t *lengths, const uint32_t *sources,
                   size_t first, size_t n) {
    size_t i = first;
    while (i < n && add(w, kind, sources[i], at[i], (uint64_t)lengths[i])) i++;
    return (long)i;
}

static void seal(ll_writer *w) { add(w, LL_KIND_END, 0, NULL, 0); }

static uint64_t end(const ll_writer *w) { return __atomic_load_n(&w->end, __ATOMIC_ACQUIRE); }
static void publish(ll_writer *w, uint64_t position) { __atomic_store_n(&w->end, position, __ATOMIC_RELEASE); }

/* ---- after a restart: nothing is believed ---- */

/* Does a record's header stand at `at`, of this very place? Its length is not yet believed. */
static inline int claims(const uint8_t *base, const ll_segment *seg, uint64_t at) {
    return is_commit(LOAD(uint64_t, base + at)) && LOAD(uint64_t, base + at + AT_POSITION) == seg->start + at;
}

/* Bytes of the sound record at `at`, or 0. */
static uint64_t sound(const uint8_t *base, const ll_segment *seg, uint64_t at) {
    uint64_t stop = area_end(seg->size);
    if (at > stop || stop - at < LL_RECORD_HEADER || !claims(base, seg, at)) return 0;
    const uint8_t *p = base + at;
    uint64_t length = length_of(LOAD(uint64_t, p)), span = span_of(length);
    if (span > stop - at) return 0;
    return record_crc(seg->seed, p, p + LL_RECORD_HEADER, length) == LOAD(uint32_t, p + AT_RECORD_CRC) ? span : 0;
}

static uint64_t walk(const uint8_t *base, const ll_segment *seg, uint64_t from, uint64_t *records, int *sealed) {
    uint64_t at = from, span;
    *records = 0;
    *sealed = 0;
    while ((span = sound(base, seg, at))) {
        if (kind_of(LOAD(uint64_t, base + at)) == LL_KIND_END) {
            *sealed = 1;
            return at;
        }
        at += span;
        ++*records;
    }
    *sealed = area_end(seg->size) - at < LL_RECORD_HEADER;
    return at;
}

static uint64_t resume(const uint8_t *base, const ll_segment *seg, uint64_t from) {
    for (uint64_t at = (from + 7) & ~(uint64_t)7; at + LL_RECORD_HEADER <= area_end(seg->size); at += 8)
        if (claims(base, seg, at) && sound(base, seg, at)) return at;
    return 0;
}

static uint64_t trace(const uint8_t *base, const ll_segment *seg, uint64_t from) {
    uint64_t last = from, stop = area_end(seg->size);
    for (uint64_t at = from; at + LL_RECORD_HEADER <= stop; at += 8)
        if (claims(base, seg, at)) {
            uint64_t span = span_of(length_of(LOAD(uint64_t, base + at)));
            uint64_t till = span > stop - at ? at + LL_RECORD_HEADER : at + span;
            if (till > last) last = till;
        }
    return last;
}

/* ---- reading what has been published ---- */

static long count(const uint8_t *base, uint64_t start, uint64_t from, uint64_t limit, uint64_t max_bytes, uint64_t *next) {
    uint64_t at = from;
    long n = 0;
    while (at < limit && limit - at >= LL_RECORD_HEADER) {
        uint64_t commit = __atomic_load_n((const uint64_t *)(const void *)(base + at), __ATOMIC_ACQUIRE);
        if (!is_commit(commit) || LOAD(uint64_t, base + at + AT_POSITION) != start + at) {
            if (!n) return LL_STATE;
            break;
        }
        uint64_t span = span_of(length_of(commit));
        if (kind_of(commit) == LL_KIND_END || span > limit - at || (n && at + span - from > max_bytes)) break;
        at += span;
        n++;
    }
    *next = at;
    return n;
}

static void index_(const uint8_t *base, uint64_t from, size_t n, uint8_t *kinds, int64_t *offsets, int64_t *lengths, uint32_t *sources) {
    uint64_t at = from;
    for (size_t i = 0; i < n; i++) {
        uint64_t commit = LOAD(uint64_t, base + at);
        kinds[i] = kind_of(commit);
        offsets[i] = (int64_t)(at - from + LL_RECORD_HEADER);
        lengths[i] = (int64_t)length_of(commit);
        sources[i] = LOAD(uint32_t, base + at + AT_SOURCE);
        at += span_of(length_of(commit));
    }
}

const ll_journal_api LL_FN(ll_journal_api) = {
    .format = format, .inspect = inspect, .fit = fit, .append = append, .gather = gather, .needs = needs, .seal = seal, .end = end,
    .publish = publish, .walk = walk, .resume = resume, .trace = trace, .count = count, .index = index_, .crc32c = crc32c,
};
