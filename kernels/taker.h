/* A reader's short way to samples: a function that takes them where they lie, without an object of Python for each block.
 *
 *     rings  -->  hand-out (handout.c)  -->  taker  1: taken, nothing to say       no copy, no Python
 *                                            taker  0: left alone  -->  Block  -->  push of its detector
 *
 * A taker answers 1 only where its detector would have answered the same samples with nothing and would stand where the taker now
 * leaves it; otherwise it has changed nothing. A reader may need several: the first may refuse, those behind it take what it took.
 * What was taken last is noted in the first, for whoever asks for times later. */
#ifndef LL_TAKER_H
#define LL_TAKER_H

#include <stddef.h>
#include <stdint.h>

/* Samples of a work is brief, some 0.2 to 0.5 ms: to let go of the interpreter's lock for less may cost a wait for another thread
 * that is longer than the work. Where a sample costs much more than a statistic or a filter, a kernel has its own number. */
enum { LL_BRIEF = 100000 };

/* Bytes of a piece that is shown to all takers before the next: what the first cache holds beside their states. */
enum { LL_PIECE_BYTES = 20480, LL_PIECE_LEAST = 256 };
static inline size_t ll_piece_most(size_t rows) {
    size_t n = LL_PIECE_BYTES / sizeof(float) / (rows ? rows : 1);
    return n > LL_PIECE_LEAST ? n : LL_PIECE_LEAST;
}

/* A piece of regular samples: row r is x[r][0 .. n); sample i is at anchor_ns + floor((index + i) * rate_den * 1e9 / rate_num). */
typedef struct {
    const float *const *x;
    uint32_t rows;
    size_t n; /* at most ll_piece_most(rows) */
    int64_t anchor_ns, index;
    uint32_t rate_num, rate_den, clock_sd_us;
    uint8_t flags;
} ll_given;

typedef struct ll_taker ll_taker;
struct ll_taker {
    int (*take)(ll_taker *t, const ll_given *g);
    void (*fetch)(const ll_taker *t, size_t n); /* NULL, or asks the caches for what the next take of n samples will write */
    uint64_t pieces; /* taken since somebody asked, and of the last of them: */
    int64_t anchor_ns, end; /* `end` is the index behind its last sample */
    uint32_t rate_num, rate_den;
    uint8_t flags;
    uint8_t shut; /* its detector wants everything for now */
};

/* Asks for n floats from x on, to be written. */
static inline void ll_fetch(const float *x, size_t n) {
    for (size_t i = 0; i < n; i += 64 / sizeof(float)) __builtin_prefetch(x + i, 1, 2);
}

#endif
