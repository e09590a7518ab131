/* Instructions of one piece of work, counted by callgrind: they repeat exactly where seconds do not.
 *
 *     void count_onset(void) {                     // bench/counts/onset.c: one such function per stem, found by its file name
 *         const ll_onset_api *k = ll_onset();      // always the avx2 objects here: valgrind knows no AVX-512
 *         float *x = count_noise(64 * 4096, 1);    // the same numbers in every run
 *         count_begin();
 *         k->sta_lta(...);
 *         count_end("onset.sta_lta");              // stem.verb, the name in bench/budgets.toml
 *         free(x);
 *     }
 *
 * Everything between begin and end counts, so memory is taken, filled and freed outside. What a call answers can be held to
 * by COUNT_IS: a kernel that refuses its arguments at once would look fast. Without valgrind's header both are nothing. */
#ifndef LL_COUNT_H
#define LL_COUNT_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#if defined(__has_include)
#if __has_include(<valgrind/callgrind.h>)
#include <valgrind/callgrind.h>
#define LL_CALLGRIND 1
#endif
#endif

static inline void count_begin(void) {
#ifdef LL_CALLGRIND
    CALLGRIND_ZERO_STATS;
    CALLGRIND_TOGGLE_COLLECT;
#endif
}

static inline void count_end(const char *name) {
#ifdef LL_CALLGRIND
    CALLGRIND_TOGGLE_COLLECT;
    CALLGRIND_DUMP_STATS_AT(name);
#endif
    (void)name;
}

/* Ends the run aloud when what was to be counted did not happen. */
#define COUNT_IS(truth)                                                                      \
    do {                                                                                     \
        if (!(truth)) {                                                                      \
            fprintf(stderr, "%s:%d: not so: %s\n", __FILE__, __LINE__, #truth);              \
            exit(1);                                                                         \
        }                                                                                    \
    } while (0)

/* Memory at a cache line, zeroed: what a copy costs depends on where it begins. To be freed with free(). */
static inline void *count_memory(size_t bytes) {
    size_t whole = (bytes + 63) / 64 * 64;
    void *p = aligned_alloc(64, whole ? whole : 64);
    if (!p) abort();
    memset(p, 0, whole);
    return p;
}

/* One step of xorshift64*, as a number in [-1, 1). */
static inline double count_random(uint64_t *state) {
    *state ^= *state >> 12;
    *state ^= *state << 25;
    *state ^= *state >> 27;
    return (double)(int64_t)(*state * 2685821657736338717ull) / 9223372036854775808.0;
}

/* n samples of white noise in [-1, 1), given by the seed (not 0). */
static inline float *count_noise(size_t n, uint64_t seed) {
    float *x = count_memory(n * sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = (float)count_random(&seed);
    return x;
}

static inline double *count_noise64(size_t n, uint64_t seed) {
    double *x = count_memory(n * sizeof *x);
    for (size_t i = 0; i < n; i++) x[i] = count_random(&seed);
    return x;
}

#endif
