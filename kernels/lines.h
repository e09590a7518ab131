/* What a delay does to the lines of a spectrum, and what the lines say of a delay.
 *
 *     turned     out[i] = c[i] exp(i theta at[i])                               theta = 2 pi delay rate / n, a line's turn
 *     newton     the maximum of f(theta) = sum Re{c[i] exp(i theta at[i])} near a start
 *     standing   mark[i] = power[i] > factor * median of floor[i - half .. i + half], floor[j] the lowest of power[j-1 .. j+1]
 *     lags       r[l] = sum Re{c[i] exp(2 pi i l at[i] / n)} / sum |c[i]|       lags l = -far .. far */
#ifndef LL_LINES_H
#define LL_LINES_H

#include <stddef.h>
#include <stdint.h>

#include "cross.h"

#define ll_lines_turned LL_FN(ll_lines_turned)
#define ll_lines_newton LL_FN(ll_lines_newton)
#define ll_lines_standing LL_FN(ll_lines_standing)
#define ll_lines_open LL_FN(ll_lines_open)
#define ll_lines_close LL_FN(ll_lines_close)
#define ll_lines_lags LL_FN(ll_lines_lags)

/* As the pointers of ll_cross_api. */
void ll_lines_turned(const int64_t *at, size_t n, double theta, const double *c, double *out);
double ll_lines_newton(const int64_t *at, size_t n, const double *c, double theta, double step);
int ll_lines_standing(const double *power, size_t n, double factor, size_t half, double *work, unsigned char *mark);
ll_lags *ll_lines_open(size_t n);
void ll_lines_close(ll_lags *l);
int ll_lines_lags(ll_lags *l, const int64_t *at, size_t n_at, const double *c, size_t far, double *r);

#endif
