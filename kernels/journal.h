/* The segments of the frame journal: records in a preallocated file, written a stage at a time and read through a map.
 *
 * A segment of `size` bytes holds the logical positions [start, start + size); byte b of the file is position start + b.
 *
 *     |<------ 64 ----->|<-- records, each a multiple of 8 bytes -->|  unused  |<------- 64 ------->|
 *     | segment header  | record | record | ... | end mark          |          | copy of the header |
 *
 * Segment header, little endian: char[4] "LLJ1", u32 version, u64 start, u64 size, u64 salt, zeros, u32 crc32c at 60 over the
 * 60 bytes before it. The salt is drawn anew whenever the file is used for another part of the journal.
 *
 * Record header, 24 bytes, then the payload, then zeros up to a multiple of 8:
 *      0  u64 commit    bits 0-31 payload length, 32-39 kind, 40-63 0x4a4c4c
 *      8  u64 position  start + offset of this record
 *     16  u32 source
 *     20  u32 crc32c    going on from the segment header's crc, over bytes 0..19, then the payload
 *
 * What an earlier use of the file left behind has another position, and another salt below its crc: it is never taken for a
 * record, not even where a payload imitates one. The end mark is a record of kind 255 and length 0: here the writer went on to
 * the next segment. It is left out where fewer than 24 bytes remain. */
#ifndef LL_JOURNAL_H
#define LL_JOURNAL_H

#include <stddef.h>
#include <stdint.h>

#include "isa.h"
#include "status.h"

enum { LL_SEGMENT_HEADER = 64, LL_RECORD_HEADER = 24, LL_KIND_END = 255, LL_JOURNAL_VERSION = 1 };

typedef struct {
    uint64_t start, size, salt;
    uint32_t version, seed; /* seed: the header's crc, on which the crc of every record goes on */
    int repaired;           /* one of the two copies was unreadable */
} ll_segment;

/* One writer. `end` is the only word another thread may read, and only through `end()`.
 *
 *     file   | ... records ... |<- offset                 |
 *     stage                    | filled bytes | room      |    whoever owns the file writes them there, then publishes */
typedef struct {
    uint8_t *stage;          /* at least 24 bytes */
    uint64_t room, filled;
    uint64_t start, size;    /* of the segment being written; size 0: none */
    uint64_t offset;         /* of the file: where the stage goes */
    uint64_t end;            /* position after the last published record */
    uint32_t seed;
} ll_writer;

typedef struct {
    /* Makes the header (64 bytes); seg->start, size and salt are given, version and seed are filled in. */
    void (*format)(uint8_t *header, ll_segment *seg);
    /* Reads the header, or its copy at the end; LL_STATE where neither is sound. The version is the caller's to judge. */
    int (*inspect)(const uint8_t *base, uint64_t len, ll_segment *seg);
    /* How many fresh segments of `fresh` bytes n records need beyond the one being written.
     * LL_SHAPE: a payload outside the buffer (of which nothing is asked where `offsets` is NULL); LL_RANGE: one that no segment
     * can hold. */
    long (*fit)(const ll_writer *w, const int64_t *offsets, const int64_t *lengths, size_t n, uint64_t buf_len, uint64_t fresh);
    /* Puts records first..n-1 on the stage until that or the segment is full; the index of the first one left. */
    long (*append)(ll_writer *w, uint8_t kind, const uint8_t *buf, const int64_t *offsets, const int64_t *lengths,
                   const uint32_t *sources, size_t first, size_t n);
    /* The same of payloads that lie anywhere: record i at at[i]. */
    long (*gather)(ll_writer *w, uint8_t kind, const uint8_t *const *at, const int64_t *lengths, const uint32_t *sources,
                   size_t first, size_t n);
    /* Bytes of stage that the next record of this length takes; 0: the segment has no room for it. */
    uint64_t (*needs)(const ll_writer *w, uint64_t length);
    /* Puts the end mark on the empty stage, where the segment has room for one. */
    void (*seal)(ll_writer *w);
    /* Position after the last published record; what lies before it may be read (acquire). */
    uint64_t (*end)(const ll_writer *w);
    void (*publish)(ll_writer *w, uint64_t end);
    /* Offset after the last of the unbroken run of sound records that begins at `from`. *sealed: an end mark follows it. */
    uint64_t (*walk)(const uint8_t *base, const ll_segment *seg, uint64_t from, uint64_t *records, int *sealed);
    /* Offset of the next sound record at or after `from`, or 0. */
    uint64_t (*resume)(const uint8_t *base, const ll_segment *seg, uint64_t from);
    /* Offset after the last thing that looks like a record of this very place, sound or not; `from` where there is none. */
    uint64_t (*trace)(const uint8_t *base, const ll_segment *seg, uint64_t from);
    /* How many published records of [from, limit) make at most max_bytes (one at least); *next = offset after them.
     * LL_STATE: `from` is not the beginning of a record. */
    long (*count)(const uint8_t *base, uint64_t start, uint64_t from, uint64_t limit, uint64_t max_bytes, uint64_t *next);
    /* Kinds, payload offsets (from `from`), lengths and sources of the n records that begin at `from`. */
    void (*index)(const uint8_t *base, uint64_t from, size_t n, uint8_t *kinds, int64_t *offsets, int64_t *lengths, uint32_t *sources);
    uint32_t (*crc32c)(uint32_t crc, const void *bytes, size_t len);
} ll_journal_api;

LL_API(journal)

#endif
