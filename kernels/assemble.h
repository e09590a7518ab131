/* From frames to channels: order, duplicates, holes, overlaps, epochs, clocks (DESIGN 3.1, 3.2).
 *
 * A **stream** is (device, channel, n_channels, epoch) and numbers its frames without gaps; frames that arrive ahead of a hole are
 * held for 64 frames or 2 s of sample time, then the hole is lost. A **lane** is where a device's channel set writes: lane 0 goes
 * forward in time (live), lane 1 takes what lies behind it (back-fill, late frames, an epoch that is over), so that history never
 * disturbs the present. Every decision has a counter. */
#ifndef LL_ASSEMBLE_H
#define LL_ASSEMBLE_H

#include "ring.h"
#include "taker.h"
#include "wire.h"

#define LL_COUNTERS(X)                                                                                                  \
    X(frames)            /* data frames taken, whatever then became of their samples */                               \
    X(samples)           /* samples written to channels */                                                            \
    X(duplicates)        /* frames seen before */                                                                     \
    X(reordered)         /* frames that came early and were held */                                                   \
    X(late)              /* frames of a hole that had been given up: to lane 1 */                                     \
    X(lost_frames)       /* frames that never came in time */                                                         \
    X(gaps)              /* breaks by missing samples */                                                              \
    X(lost_samples)      /* samples missing in gaps, per channel set */                                               \
    X(overlaps)          /* frames that began before the end of what was there: trimmed */                            \
    X(overlap_samples)   /* samples trimmed so */                                                                     \
    X(epochs)            /* boots seen */                                                                             \
    X(clock_steps)       /* time jumped by more than a second */                                                      \
    X(clock_drifts)      /* time was put right by less */                                                             \
    X(backfilled)        /* frames to lane 1 */                                                                       \
    X(overflow_samples)  /* samples that readers lost because a partner never came */                                 \
    X(unconfigured)      /* rows of channels nobody configured */                                                     \
    X(hellos) X(byes) X(reports)

typedef struct {
#define X(name) uint64_t name;
    LL_COUNTERS(X)
#undef X
    uint64_t refused[LL_REFUSED_COUNT];
} ll_counters;

enum { LL_HOLD_FRAMES = 64, LL_SPENT = 32, LL_HOLES = 32, LL_EPOCHS = 4, LL_MAX_SAMPLES = 1 << 20 };

typedef struct {
    uint64_t seq;
    uint8_t *bytes; /* NULL: refused when it came, but its number is taken */
    size_t len;
} ll_held;

typedef struct {
    uint64_t first, last;
} ll_hole;

/* Where one channel set writes in one lane. */
typedef struct {
    uint64_t next_index;                       /* sample_index expected */
    uint64_t anchor_index;                     /* sample_index whose time is anchor_ns */
    int64_t anchor_ns;
    uint32_t rate_num, rate_den, clock_sd_us;
    uint8_t begun, flags;
} ll_lane;

typedef struct {
    uint32_t device, epoch;
    uint16_t channel, n_channels;
    uint8_t begun, over, touched; /* over: a newer epoch of the device covers these channels */
    uint64_t next_seq;
    uint64_t born;
    int64_t record; /* of the batch: the last frame of this stream */
    uint32_t n_held, n_holes, quiet;
    ll_held held[LL_HOLD_FRAMES + 1 + LL_SPENT]; /* frames, and refused numbers among them */
    ll_hole holes[LL_HOLES];
    ll_lane lane[2];
    int32_t *rows; /* channel per row, -1: nobody configured it */
} ll_stream;

typedef struct {
    uint32_t device;
    uint16_t number;
    double scale, offset, rate_hz; /* rate_hz 0: timed */
} ll_channel;

typedef struct {
    ll_channel *channels;
    ll_ring *rings; /* 2 per channel: lane 0, lane 1 */
    ll_join *joins; /* 2 per join likewise */
    ll_stream **streams;
    uint32_t *devices;   /* of each stream, beside it: looking for a device's streams reads this and not all of them */
    int32_t *table;      /* hash of streams */
    int32_t *by_number;  /* channels sorted by (device, number) */
    int32_t *fresh_streams;
    int32_t *dirty; /* joins that were written to: only these are looked at */
    int32_t n_channels, n_joins, n_streams, cap_streams, table_size, n_fresh, cap_fresh, n_dirty;
    uint64_t born, turn; /* streams begun; blocks given in lane 0 */
    uint64_t feeds;      /* calls of feed that began with a record of their own */
    int32_t ripe, wanted; /* a join with much to hand out, or -1; the one that LL_NEEDS_READERS speaks of */
    ll_stream *unsettled; /* held frames that waited for room */
    int32_t *unpacked;    /* one row of a packed frame, grown to the longest so far: at most LL_MAX_SAMPLES */
    uint32_t cap_unpacked;
    ll_counters count;
} ll_assembler;

/* What became of the frames of one call. The caller provides arrays of as many entries as there are records. */
typedef struct {
    int64_t n_refused;
    int64_t *refused_record;
    int32_t *refused_reason;
    int64_t n_greetings; /* hello frames: the sender wants its credit */
    int64_t *greeting_record;
} ll_outcome;

enum {
    LL_FED = 0,
    LL_NEEDS_ROOM = 1,
    LL_NEEDS_PYTHON = 2, /* a gateway's map or header extensions: Python's part */
    LL_NEEDS_READERS = 3 /* much waits in a join (`wanted`) that Python must read; -1: for a stream that is new, and may split it */
};

typedef struct {
    ll_assembler *(*make)(int32_t n_channels, int32_t n_joins);
    void (*destroy)(ll_assembler *a);
    int (*set_channel)(ll_assembler *a, int32_t i, const ll_channel *c, uint64_t max_cap);
    int (*set_join)(ll_assembler *a, int32_t j, const int32_t *channels, int32_t n, int maskable);
    int (*seal)(ll_assembler *a); /* after all channels and joins are set */
    /* Takes records [*next, n); stops early with LL_NEEDS_ROOM (take blocks, call again; `force` lets readers lose instead),
     * LL_NEEDS_PYTHON at record *next (`checked` lets that one record pass as it is) or LL_NEEDS_READERS (see to new streams, call
     * again). */
    int (*feed)(ll_assembler *a, const uint8_t *buf, const int64_t *offsets, const int64_t *lengths, int64_t n, int64_t *next,
                int force, int checked, ll_outcome *out);
    uint64_t (*ack)(const ll_stream *s); /* one past the highest number below which nothing is missing */
    /* A record that Python refused: if it is a sound frame of a known stream, its number is taken. */
    void (*spend)(ll_assembler *a, const uint8_t *bytes, size_t len);
    int (*put)(ll_assembler *a, int32_t channel, int64_t t0_ns, uint32_t num, uint32_t den, const float *x, uint64_t n, int force);
    /* Gives up holes nobody fills; LL_FULL: take blocks, call again with force. `all`: at the end of everything. */
    int (*settle)(ll_assembler *a, uint32_t patience, int all, int force);
    int (*tick)(ll_assembler *a, uint32_t patience); /* after settle */
    /* Takers of the readers of a join (taker.h), n[r] each, as ll_crowd_set of handout.h. */
    int (*offer)(ll_assembler *a, int32_t join, const int32_t *n, int32_t readers, ll_taker *const *takers);
    uint64_t (*waiting)(const ll_assembler *a); /* samples that wait for takers */
    void (*give)(ll_assembler *a); /* takers get all there is; of a->dirty, now in order, what is dirty still has something for Python */
    /* *from: for each reader the first sample of the block that it has not had; NULL: nobody has had any. */
    int (*next)(ll_assembler *a, int32_t join, int lane, ll_piece *out, double *skew_s, const int64_t **from);
    void (*copy)(ll_assembler *a, int32_t join, int lane, const ll_piece *piece, float *x, int64_t *t_ns);
    int (*split)(ll_assembler *a, int32_t join, const int32_t *channels, int32_t n); /* these leave `join`; the new one's number */
    long (*save)(const ll_assembler *a, uint8_t *out, size_t cap); /* bytes needed; written when cap is enough */
    int (*load)(ll_assembler *a, const uint8_t *bytes, size_t len);
} ll_assemble_api;

LL_API(assemble)

#define ll_assemble_save LL_FN(ll_assemble_save)
#define ll_assemble_load LL_FN(ll_assemble_load)
#define ll_assemble_reserve LL_FN(ll_assemble_reserve)
#define ll_assemble_adopt LL_FN(ll_assemble_adopt)
#define ll_assemble_channel LL_FN(ll_assemble_channel)
#define ll_assemble_fits LL_FN(ll_assemble_fits)
long ll_assemble_save(const ll_assembler *a, uint8_t *out, size_t cap);
int ll_assemble_load(ll_assembler *a, const uint8_t *bytes, size_t len);
/* Room for join number j. */
int ll_assemble_reserve(ll_assembler *a, int32_t j);
/* Takes a stream into the table. */
int ll_assemble_adopt(ll_assembler *a, ll_stream *s);
/* The channel of a number on the wire, or -1. */
int32_t ll_assemble_channel(const ll_assembler *a, uint32_t device, uint16_t number);
/* Are these bytes a frame that the stream could have held under that number? */
int ll_assemble_fits(const ll_assembler *a, const ll_stream *s, uint64_t seq, const uint8_t *bytes, size_t len);

#endif
