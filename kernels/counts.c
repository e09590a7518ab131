/* Counts to floats; counts.h says what they are.
 *
 * Four counts at a time: 8, 12 or 16 bytes become four int32, these four doubles, scaled, and four floats. Three bytes are
 * shuffled into the upper three of a word, and the shift down carries their sign:
 *
 *     bytes  a a a b b b c c c d d d . . . .   ->   0 a a a | 0 b b b | 0 c c c | 0 d d d   ->   >> 8
 *
 * That load takes 16 bytes and uses 12, so the last counts of a payload go one by one.
 * Interleaved samples are taken in tiles of 4 samples x 4 channels and turned over, a strip of samples at a time, so that the
 * strip stays in the nearest cache until its last channel. */
#include "counts.h"

#if defined(__SSE4_1__) && defined(__x86_64__)
#include <immintrin.h>
#define LL_FOURS 1
#endif

#define INLINE static inline __attribute__((always_inline))

enum { STRIP = 128 };

INLINE size_t width_of(int kind) { return kind == LL_INT16 ? 2 : kind == LL_INT24 ? 3 : 4; }

INLINE int32_t one(int kind, const uint8_t *p) {
    if (kind == LL_INT16) return (int16_t)(p[0] | p[1] << 8);
    uint32_t low = (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16;
    if (kind == LL_INT24) return (int32_t)(low << 8) >> 8;
    return (int32_t)(low | (uint32_t)p[3] << 24);
}

INLINE float scaled(int32_t count, double scale, double offset) { return (float)(scale * (double)count + offset); }

#ifdef LL_FOURS

#define UP _mm_setr_epi8(-1, 0, 1, 2, -1, 3, 4, 5, -1, 6, 7, 8, -1, 9, 10, 11)

INLINE __m128i four(int kind, const uint8_t *p) {
    if (kind == LL_INT16) return _mm_cvtepi16_epi32(_mm_loadl_epi64((const __m128i *)p));
    __m128i raw = _mm_loadu_si128((const __m128i *)p);
    if (kind == LL_INT32) return raw;
    return _mm_srai_epi32(_mm_shuffle_epi8(raw, UP), 8);
}

#ifdef __AVX2__
INLINE __m256i eight(int kind, const uint8_t *p) {
    const __m128i *low = (const __m128i *)p, *high = (const __m128i *)(p + 12);
    if (kind == LL_INT16) return _mm256_cvtepi16_epi32(_mm_loadu_si128(low));
    __m256i raw = _mm256_inserti128_si256(_mm256_castsi128_si256(_mm_loadu_si128(low)), _mm_loadu_si128(high), 1);
    return _mm256_srai_epi32(_mm256_shuffle_epi8(raw, _mm256_broadcastsi128_si256(UP)), 8);
}
#endif

#ifdef __AVX__
typedef __m256d d4;
INLINE d4 load_d4(const double *p) { return _mm256_loadu_pd(p); }
INLINE d4 all_d4(double v) { return _mm256_set1_pd(v); }
#else
typedef struct {
    __m128d low, high;
} d4;
INLINE d4 load_d4(const double *p) { return (d4){_mm_loadu_pd(p), _mm_loadu_pd(p + 2)}; }
INLINE d4 all_d4(double v) { return (d4){_mm_set1_pd(v), _mm_set1_pd(v)}; }
#endif

#ifdef __AVX2__
/* The bytes of a count, its sign turned, are put into the mantissa of 2^52, which says 2^52 + 2^(bits-1) + count: one
 * subtraction is cheaper than a conversion. */
INLINE __m256d doubles(int kind, const uint8_t *p) {
    if (kind == LL_INT32) return _mm256_cvtepi32_pd(four(kind, p));
    const int64_t away = (int64_t)0xffffffffff000000, sign = kind == LL_INT16 ? 1 << 15 : 1 << 23; /* away: bytes that become 0 */
    const __m256i apart = _mm256_setr_epi64x(away | 0x020100, away | 0x050403, away | 0x080706, away | 0x0b0a09);
    __m256i raw = kind == LL_INT16 ? _mm256_cvtepu16_epi64(_mm_loadl_epi64((const __m128i *)p))
                                   : _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(_mm_loadu_si128((const __m128i *)p)), apart);
    __m256i bits = _mm256_xor_si256(raw, _mm256_set1_epi64x(0x4330000000000000 + sign));
    return _mm256_sub_pd(_mm256_castsi256_pd(bits), _mm256_set1_pd(0x1p52 + (double)sign));
}

INLINE __m128 scaled4(int kind, const uint8_t *p, d4 scale, d4 offset) {
    return _mm256_cvtpd_ps(_mm256_add_pd(_mm256_mul_pd(doubles(kind, p), scale), offset));
}
#elif defined(__AVX__)
INLINE __m128 scaled4(int kind, const uint8_t *p, d4 scale, d4 offset) {
    return _mm256_cvtpd_ps(_mm256_add_pd(_mm256_mul_pd(_mm256_cvtepi32_pd(four(kind, p)), scale), offset));
}
#else
INLINE __m128 scaled4(int kind, const uint8_t *p, d4 scale, d4 offset) {
    __m128i v = four(kind, p);
    __m128d low = _mm_cvtepi32_pd(v), high = _mm_cvtepi32_pd(_mm_unpackhi_epi64(v, v));
    low = _mm_add_pd(_mm_mul_pd(low, scale.low), offset.low), high = _mm_add_pd(_mm_mul_pd(high, scale.high), offset.high);
    return _mm_movelh_ps(_mm_cvtpd_ps(low), _mm_cvtpd_ps(high));
}
#endif

/* How many of n counts may be taken by fours: the last load ends with the last count. */
INLINE size_t by_fours(int kind, size_t n) { return kind == LL_INT24 ? (n < 6 ? 0 : (n - 2) / 4 * 4) : n / 4 * 4; }

INLINE size_t row_doubles(int kind, const uint8_t *p, size_t n, double scale, double offset, float *out) {
    const size_t w = width_of(kind), m = by_fours(kind, n);
    const d4 s = all_d4(scale), o = all_d4(offset);
    size_t i = 0;
    for (; i + 8 <= m; i += 8) {
        _mm_storeu_ps(out + i, scaled4(kind, p + w * i, s, o));
        _mm_storeu_ps(out + i + 4, scaled4(kind, p + w * (i + 4), s, o));
    }
    for (; i < m; i += 4) _mm_storeu_ps(out + i, scaled4(kind, p + w * i, s, o));
    return m;
}

/* int16 and int24 with a scale that is a float and no offset: count and scale have 24 bits each, so the float product is the
 * exact product rounded once, as the double's is. + 0 makes of a -0 what adding the offset makes of it. */
INLINE size_t row_floats(int kind, const uint8_t *p, size_t n, float scale, float *out) {
    const size_t w = width_of(kind), m = by_fours(kind, n);
    const __m128 s = _mm_set1_ps(scale), zero = _mm_setzero_ps();
    size_t i = 0;
#ifdef __AVX2__
    const __m256 s8 = _mm256_set1_ps(scale), zero8 = _mm256_setzero_ps();
    for (; i + 8 <= m; i += 8) {
        _mm256_storeu_ps(out + i, _mm256_add_ps(_mm256_mul_ps(_mm256_cvtepi32_ps(eight(kind, p + w * i)), s8), zero8));
    }
#endif
    for (; i < m; i += 4)
        _mm_storeu_ps(out + i, _mm_add_ps(_mm_mul_ps(_mm_cvtepi32_ps(four(kind, p + w * i)), s), zero));
    return m;
}

/* A tile of 4 samples from p on, `step` bytes apart, turned over into 4 rows. */
INLINE void tile(int kind, const uint8_t *p, size_t step, d4 scale, d4 offset, float *out, ptrdiff_t stride) {
    __m128 a = scaled4(kind, p, scale, offset), b = scaled4(kind, p + step, scale, offset);
    __m128 c = scaled4(kind, p + 2 * step, scale, offset), d = scaled4(kind, p + 3 * step, scale, offset);
    _MM_TRANSPOSE4_PS(a, b, c, d);
    _mm_storeu_ps(out, a), _mm_storeu_ps(out + stride, b), _mm_storeu_ps(out + 2 * stride, c), _mm_storeu_ps(out + 3 * stride, d);
}

#else

#define row_doubles(kind, p, n, scale, offset, out) ((size_t)0)
#define row_floats(kind, p, n, scale, out) ((size_t)0)

#endif

INLINE void row_of(int kind, const uint8_t *p, size_t n, double scale, double offset, float *out) {
    const size_t w = width_of(kind);
    size_t i = kind != LL_INT32 && offset == 0.0 && (double)(float)scale == scale ? row_floats(kind, p, n, (float)scale, out)
                                                                                  : row_doubles(kind, p, n, scale, offset, out);
    for (; i < n; i++) out[i] = scaled(one(kind, p + w * i), scale, offset);
}

static int row(int kind, const uint8_t *p, size_t n, double scale, double offset, float *out) {
    switch (kind) {
    case LL_INT16: row_of(LL_INT16, p, n, scale, offset, out); return LL_OK;
    case LL_INT24: row_of(LL_INT24, p, n, scale, offset, out); return LL_OK;
    case LL_INT32: row_of(LL_INT32, p, n, scale, offset, out); return LL_OK;
    default: return LL_RANGE;
    }
}

/* Channels c .. c + count - 1 of samples i .. stop - 1, one by one. */
INLINE void singly(int kind, const uint8_t *p, size_t n_ch, size_t c, size_t count, size_t i, size_t stop, const double *scale,
                   const double *offset, float *out, ptrdiff_t stride) {
    const size_t w = width_of(kind);
    for (size_t k = c; k < c + count; k++)
        for (size_t j = i; j < stop; j++)
            out[(ptrdiff_t)k * stride + (ptrdiff_t)j] = scaled(one(kind, p + (j * n_ch + k) * w), scale[k], offset[k]);
}

INLINE void interleaved_of(int kind, const uint8_t *p, size_t n, size_t n_ch, size_t begin, size_t end, const double *scale,
                           const double *offset, float *out, ptrdiff_t stride) {
    for (size_t first = 0; first < n; first += STRIP) {
        size_t stop = n - first < STRIP ? n : first + STRIP, c = begin;
#ifdef LL_FOURS
        const size_t w = width_of(kind), step = n_ch * w, total = n * step;
        for (; c + 4 <= end; c += 4) {
            d4 s = load_d4(scale + c), o = load_d4(offset + c);
            size_t i = first;
            for (; i + 4 <= stop && (i + 3) * step + c * w + (kind == LL_INT24 ? 16 : 4 * w) <= total; i += 4)
                tile(kind, p + i * step + c * w, step, s, o, out + (ptrdiff_t)c * stride + (ptrdiff_t)i, stride);
            singly(kind, p, n_ch, c, 4, i, stop, scale, offset, out, stride);
        }
#endif
        singly(kind, p, n_ch, c, end - c, first, stop, scale, offset, out, stride);
    }
}

static int interleaved(int kind, const uint8_t *p, size_t n, size_t n_ch, size_t begin, size_t end, const double *scale,
                       const double *offset, float *out, ptrdiff_t stride) {
    if (begin > end || end > n_ch) return LL_SHAPE;
    switch (kind) {
    case LL_INT16: interleaved_of(LL_INT16, p, n, n_ch, begin, end, scale, offset, out, stride); return LL_OK;
    case LL_INT24: interleaved_of(LL_INT24, p, n, n_ch, begin, end, scale, offset, out, stride); return LL_OK;
    case LL_INT32: interleaved_of(LL_INT32, p, n, n_ch, begin, end, scale, offset, out, stride); return LL_OK;
    default: return LL_RANGE;
    }
}

const ll_counts_api LL_FN(ll_counts_api) = {.row = row, .interleaved = interleaved};
