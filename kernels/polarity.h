/* Correlation of signs: how often two channels have the same polarity, for every lag, from one bit per sample.
 *
 *     a[t], b[t] = +1, -1 or nothing (0, NaN, infinity)
 *     pairs[l]   = number of t with a[t] and b[t+l] both there            -max_lag <= l <= max_lag
 *     unlike[l]  = number of those with a[t] != b[t+l]                    r[l] = 1 - 2 unlike / pairs
 *
 * Counts are whole numbers, so a stream in any cut gives the counts of the whole. A chunk of CHUNK samples of a is counted
 * once b is there up to max_lag behind it; what waits is counted in when somebody looks.
 *
 *     b  |<- reach ->|======= CHUNK =======|<- reach ->|        reach = max_lag rounded up to 64
 *     a              |======= CHUNK =======|
 */
#ifndef LL_POLARITY_H
#define LL_POLARITY_H

#include <stddef.h>
#include <stdint.h>

#include "isa.h"
#include "status.h"

enum { LL_POLARITY_MOST = 1 << 24 }; /* largest max_lag */

typedef struct ll_polarity_bits ll_polarity_bits;

typedef struct {
    ll_polarity_bits *(*open)(size_t max_lag); /* NULL: too large, or no memory */
    void (*close)(ll_polarity_bits *s);
    void (*reset)(ll_polarity_bits *s);
    int (*push)(ll_polarity_bits *s, const float *a, const float *b, size_t n);
    int (*restart)(ll_polarity_bits *s); /* a seam: keep the counts; samples before and after are no pairs */
    int (*read)(const ll_polarity_bits *s, int64_t *pairs, int64_t *unlike); /* [2 max_lag + 1] each, lag -max_lag first */
    size_t (*size)(const ll_polarity_bits *s); /* bytes that save writes */
    int (*save)(const ll_polarity_bits *s, unsigned char *out);
    int (*load)(ll_polarity_bits *s, const unsigned char *bytes, size_t len); /* LL_STATE unless max_lag and size agree */
} ll_polarity_api;

LL_API(polarity)

#endif
