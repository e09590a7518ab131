/* Integer counts of a payload as scaled floats, channels first.
 *
 *     out = (float)(scale * (double)count + offset)
 *
 * in double, so that int32 loses nothing before the scale: the product is rounded once to 53 bits, the sum once, and the
 * result once to float (for int16 and int24 with a scale of up to 29 bits the product is exact). Counts are little endian,
 * two's complement, at any address. Nothing beyond the last count is read. */
#ifndef LL_COUNTS_H
#define LL_COUNTS_H

#include <stddef.h>
#include <stdint.h>

#include "isa.h"
#include "status.h"

enum { LL_INT16 = 1, LL_INT24 = 2, LL_INT32 = 3 }; /* the numbers of the wire's encodings */

typedef struct {
    /* n counts of one channel, one behind the other. */
    int (*row)(int kind, const uint8_t *p, size_t n, double scale, double offset, float *out);
    /* n samples of n_ch channels, sample by sample; channels begin .. end of them go to out + channel * stride. */
    int (*interleaved)(int kind, const uint8_t *p, size_t n, size_t n_ch, size_t begin, size_t end, const double *scale,
                       const double *offset, float *out, ptrdiff_t stride);
} ll_counts_api;

LL_API(counts)

#endif
