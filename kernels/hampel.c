/* Binds the ordered windows of ranks.h to float and to double. */
#include "hampel.h"

#include <math.h>

#include "lanes.h"

#define COMPANIONS 1 /* others as large nearby that a spike may have; of an event there are more */
#define SIGMA 1.4826 /* MAD times this estimates the standard deviation of the normal distribution */

#define T float
#define N(name) name##_float
#define VEC ll_vf
#define LANES LL_F
#define ALL(v) ((v) - (ll_vf){0})
#if defined(__AVX__)
#define VMIN(a, b) ((ll_vf)_mm256_min_ps((__m256)(a), (__m256)(b)))
#define VMAX(a, b) ((ll_vf)_mm256_max_ps((__m256)(a), (__m256)(b)))
#define BELOW(a, b, c, d) ((ll_vf)_mm256_blendv_ps((__m256)(d), (__m256)(c), _mm256_cmp_ps((__m256)(a), (__m256)(b), _CMP_LT_OQ)))
#define AFTER(a, b) LL_SHUFFLE(ll_vm, a, b, 1, 2, 3, 4, 5, 6, 7, 8)
#define BEFORE(a, b) LL_SHUFFLE(ll_vm, a, b, 7, 8, 9, 10, 11, 12, 13, 14)
#else
#define CHOOSE4(yes, a, b) ((ll_vf)(((yes) & (ll_vm)(a)) | (~(yes) & (ll_vm)(b))))
#define VMIN(a, b) MIN4(a, b)
#define VMAX(a, b) MAX4(a, b)
#if defined(__SSE4_1__)
#define BELOW(a, b, c, d) ((ll_vf)_mm_blendv_ps((__m128)(d), (__m128)(c), _mm_cmplt_ps((__m128)(a), (__m128)(b))))
#else
#define BELOW(a, b, c, d) CHOOSE4((ll_vm)((a) < (b)), c, d)
#endif
#define AFTER(a, b) LL_SHUFFLE(ll_vm, a, b, 1, 2, 3, 4)
#define BEFORE(a, b) LL_SHUFFLE(ll_vm, a, b, 3, 4, 5, 6)
#if defined(__x86_64__)
#define MIN4(a, b) ((ll_vf)_mm_min_ps((__m128)(a), (__m128)(b)))
#define MAX4(a, b) ((ll_vf)_mm_max_ps((__m128)(a), (__m128)(b)))
#else
LL_INLINE ll_vf MIN4(ll_vf a, ll_vf b) { return CHOOSE4((ll_vm)(a < b), a, b); }
LL_INLINE ll_vf MAX4(ll_vf a, ll_vf b) { return CHOOSE4((ll_vm)(a > b), a, b); }
#endif
#endif
#include "ranks.h"

#define T double
#define N(name) name##_double
#define VEC ll_vd
#define LANES LL_D
#define ALL(v) ll_all(v)
#if defined(__AVX__)
#define VMIN(a, b) ((ll_vd)_mm256_min_pd((__m256d)(a), (__m256d)(b)))
#define VMAX(a, b) ((ll_vd)_mm256_max_pd((__m256d)(a), (__m256d)(b)))
#define BELOW(a, b, c, d) \
    ((ll_vd)_mm256_blendv_pd((__m256d)(d), (__m256d)(c), _mm256_cmp_pd((__m256d)(a), (__m256d)(b), _CMP_LT_OQ)))
#define AFTER(a, b) LL_SHUFFLE(ll_vi, a, b, 1, 2, 3, 4)
#define BEFORE(a, b) LL_SHUFFLE(ll_vi, a, b, 3, 4, 5, 6)
#else
#if defined(__SSE4_1__)
#define BELOW(a, b, c, d) ((ll_vd)_mm_blendv_pd((__m128d)(d), (__m128d)(c), _mm_cmplt_pd((__m128d)(a), (__m128d)(b))))
#else
#define BELOW(a, b, c, d) ll_choose((ll_vi)((a) < (b)), c, d)
#endif
#define AFTER(a, b) LL_SHUFFLE(ll_vi, a, b, 1, 2)
#define BEFORE(a, b) LL_SHUFFLE(ll_vi, a, b, 1, 2)
#if defined(__x86_64__)
#define VMIN(a, b) ((ll_vd)_mm_min_pd((__m128d)(a), (__m128d)(b)))
#define VMAX(a, b) ((ll_vd)_mm_max_pd((__m128d)(a), (__m128d)(b)))
#else
LL_INLINE ll_vd MIN2(ll_vd a, ll_vd b) { return ll_choose((ll_vi)(a < b), a, b); }
LL_INLINE ll_vd MAX2(ll_vd a, ll_vd b) { return ll_choose((ll_vi)(a > b), a, b); }
#define VMIN(a, b) MIN2(a, b)
#define VMAX(a, b) MAX2(a, b)
#endif
#endif
#include "ranks.h"

static size_t size(size_t window, int wide) { return wide ? size_double(window) : size_float(window); }

static void begin(void *state, size_t window, int wide) {
    if (wide) begin_double(state, window);
    else begin_float(state, window);
}

static int64_t push(void *states, const void *x, size_t rows, size_t n, int verb, double limit, void *out, uint8_t *marks,
                    size_t stride, int wide) {
    if (verb < LL_MEDIAN || verb > LL_REPLACE) return LL_RANGE;
    return wide ? push_double(states, x, rows, n, verb, limit, out, marks, stride)
                : push_float(states, x, rows, n, verb, limit, out, marks, stride);
}

static int whole(void *state, size_t window, const void *x, size_t rows, size_t n, int verb, double limit, void *out,
                 uint8_t *marks, int wide) {
    if (verb < LL_MEDIAN || verb > LL_REPLACE || window % 2 == 0 || window > (size_t)1 << 28) return LL_RANGE;
    if (wide) whole_double(state, window, x, rows, n, verb, limit, out, marks);
    else whole_float(state, window, x, rows, n, verb, limit, out, marks);
    return LL_OK;
}

static size_t window(const void *state, double *out, int wide) {
    return wide ? window_double(state, out) : window_float(state, out);
}

static int64_t clean(void *xs, void *rs, uint8_t *reasons, ll_still *still, const void *x, size_t rows, size_t n,
                     const double *range, const ll_cleaning *how, void *out, uint8_t *marks, size_t stride, int64_t *counts,
                     int wide) {
    return wide ? clean_double(xs, rs, reasons, still, x, rows, n, range, how, out, marks, stride, counts)
                : clean_float(xs, rs, reasons, still, x, rows, n, range, how, out, marks, stride, counts);
}

const ll_hampel_api LL_FN(ll_hampel_api) = {.size = size, .begin = begin, .push = push, .whole = whole, .window = window,
                                           .clean = clean};
