/* What is known of a segment before it is transformed: its level, its slope, whether it is finite, how far it swings. */
#ifndef LL_TREND_H
#define LL_TREND_H

#include <stddef.h>

#include "isa.h"

#define ll_trend_sum LL_FN(ll_trend_sum)
#define ll_trend_line LL_FN(ll_trend_line)
#define ll_trend_peak LL_FN(ll_trend_peak)

/* Sum of x, n a power of two; finite exactly where every sample is (below 4e37). */
double ll_trend_sum(const float *x, size_t n);
/* Sum, and slope per sample by least squares. */
double ll_trend_line(const float *x, size_t n, double *slope);
/* Largest |x - level|; more than any finite number if a sample is not finite. */
float ll_trend_peak(const float *x, size_t n, float level);

#endif
