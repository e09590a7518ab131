/* Signs packed to bits, XOR and population count; polarity.h says what is counted.
 *
 * Sample t of a row is bit t % 64 of word t / 64, so reading 64 bits from byte u on is a shift by 8 u samples. A copy of b's
 * window shifted by 0 .. 7 bits makes every eighth lag a read at some byte: the loop over words has no shifts.
 *
 *     all there:            pairs += CHUNK,               unlike += popcount(a ^ b)
 *     something missing:    pairs += popcount(va & vb),   unlike += popcount((a ^ b) & va & vb)
 *
 * GROUP lags share what is read of a. A chunk of a and one shifted window of b lie in L1 for max_lag up to about 60,000.
 */
#include "polarity.h"

#include <float.h>

#if defined(__x86_64__)
#include <immintrin.h>
#endif

#define INLINE static inline __attribute__((always_inline))
#define CHUNK 32768
#define WORDS (CHUNK / 64)
#define GROUP 4 /* lags */
#define VERSION 1u
static const char TAG[4] = {'L', 'L', 'P', 'O'};

/* Bits from sample `start` on: b from start - reach. fill samples of a are there, reach + fill of b; the rest of the bits is 0. */
struct ll_polarity_bits {
    size_t max_lag, reach, words_b; /* words of b's window: WORDS + 2 reach / 64 */
    size_t fill, cap;               /* samples of a; at most CHUNK + reach wait */
    int64_t *pairs, *unlike;        /* [2 max_lag + 1] */
    uint64_t *a, *va, *b, *vb;      /* bits and which are there; of a WORDS + reach/64, of b that + reach/64 */
    uint64_t *shifted, *valid;      /* one copy of b's window and of what is there, words_b + 1 */
};

static void close_(ll_polarity_bits *s) {
    if (!s) return;
    free(s->pairs), free(s->a), free(s->shifted), free(s);
}

INLINE size_t words_kept(const ll_polarity_bits *s) { return 4 * (s->cap / 64) + 2 * (s->reach / 64); }

static void empty(ll_polarity_bits *s) {
    s->fill = 0;
    memset(s->a, 0, words_kept(s) * sizeof(uint64_t));
}

static void reset(ll_polarity_bits *s) {
    empty(s);
    memset(s->pairs, 0, 2 * (2 * s->max_lag + 1) * sizeof(int64_t));
}

static ll_polarity_bits *open_(size_t max_lag) {
    if (max_lag > LL_POLARITY_MOST) return NULL;
    ll_polarity_bits *s = calloc(1, sizeof *s);
    if (!s) return NULL;
    s->max_lag = max_lag, s->reach = (max_lag + 63) / 64 * 64;
    s->words_b = WORDS + 2 * s->reach / 64, s->cap = CHUNK + s->reach;
    s->pairs = calloc(2 * (2 * max_lag + 1), sizeof(int64_t));
    s->a = calloc(words_kept(s), sizeof(uint64_t));
    s->shifted = calloc(2 * (s->words_b + 1), sizeof(uint64_t));
    if (!s->pairs || !s->a || !s->shifted) {
        close_(s);
        return NULL;
    }
    s->unlike = s->pairs + 2 * max_lag + 1;
    s->va = s->a + s->cap / 64, s->b = s->va + s->cap / 64, s->vb = s->b + (s->cap + s->reach) / 64;
    s->valid = s->shifted + s->words_b + 1;
    return s;
}

/* ---- packing ----------------------------------------------------------------------------------------------------- */

/* Bits of 64 samples: which are above 0, and which are finite and not 0. */
INLINE void pack64(const float *x, uint64_t *up, uint64_t *there) {
    uint64_t p = 0, m = 0;
#if defined(__AVX512F__)
    for (int i = 0; i < 4; i++) {
        __m512 v = _mm512_loadu_ps(x + 16 * i), zero = _mm512_setzero_ps(), most = _mm512_set1_ps(FLT_MAX);
        uint64_t above = _mm512_mask_cmp_ps_mask(_mm512_cmp_ps_mask(v, zero, _CMP_GT_OQ), v, most, _CMP_LE_OQ);
        uint64_t below = _mm512_mask_cmp_ps_mask(_mm512_cmp_ps_mask(v, zero, _CMP_LT_OQ), v, _mm512_set1_ps(-FLT_MAX), _CMP_GE_OQ);
        p |= above << 16 * i, m |= (above | below) << 16 * i;
    }
#elif defined(__AVX__)
    for (int i = 0; i < 8; i++) {
        __m256 v = _mm256_loadu_ps(x + 8 * i), zero = _mm256_setzero_ps();
        __m256 above = _mm256_and_ps(_mm256_cmp_ps(v, zero, _CMP_GT_OQ), _mm256_cmp_ps(v, _mm256_set1_ps(FLT_MAX), _CMP_LE_OQ));
        __m256 below = _mm256_and_ps(_mm256_cmp_ps(v, zero, _CMP_LT_OQ), _mm256_cmp_ps(v, _mm256_set1_ps(-FLT_MAX), _CMP_GE_OQ));
        p |= (uint64_t)(unsigned)_mm256_movemask_ps(above) << 8 * i;
        m |= (uint64_t)(unsigned)_mm256_movemask_ps(_mm256_or_ps(above, below)) << 8 * i;
    }
#elif defined(__x86_64__)
    for (int i = 0; i < 16; i++) {
        __m128 v = _mm_loadu_ps(x + 4 * i), zero = _mm_setzero_ps();
        __m128 above = _mm_and_ps(_mm_cmpgt_ps(v, zero), _mm_cmple_ps(v, _mm_set1_ps(FLT_MAX)));
        __m128 below = _mm_and_ps(_mm_cmplt_ps(v, zero), _mm_cmpge_ps(v, _mm_set1_ps(-FLT_MAX)));
        p |= (uint64_t)(unsigned)_mm_movemask_ps(above) << 4 * i;
        m |= (uint64_t)(unsigned)_mm_movemask_ps(_mm_or_ps(above, below)) << 4 * i;
    }
#else
    for (int i = 0; i < 64; i++) {
        uint64_t above = x[i] > 0.0f && x[i] <= FLT_MAX, below = x[i] < 0.0f && x[i] >= -FLT_MAX;
        p |= above << i, m |= (above | below) << i;
    }
#endif
    *up = p, *there = m;
}

/* n samples become bits at, at+1, ..; the bits from `at` on are 0 before. */
static void pack(const float *x, size_t n, size_t at, uint64_t *up, uint64_t *there) {
    while (n) {
        size_t shift = at % 64, take = n < 64 - shift ? n : 64 - shift;
        uint64_t p, m;
        if (take == 64) pack64(x, &p, &m);
        else {
            float some[64] = {0};
            memcpy(some, x, take * sizeof(float));
            pack64(some, &p, &m);
        }
        up[at / 64] |= p << shift, there[at / 64] |= m << shift;
        x += take, n -= take, at += take;
    }
}

/* ---- counting ---------------------------------------------------------------------------------------------------- */

/* Words of BITS bits, and how their ones are added to sums. */
#if defined(__AVX2__)
#define BITS 256
typedef __m256i bits;
#define LOAD(p) _mm256_loadu_si256((const __m256i *)(const void *)(p))
#define XOR(x, y) _mm256_xor_si256(x, y)
#define AND(x, y) _mm256_and_si256(x, y)
#define NONE _mm256_setzero_si256()
INLINE int64_t total(bits x) {
    return (_mm256_extract_epi64(x, 0) + _mm256_extract_epi64(x, 1)) + (_mm256_extract_epi64(x, 2) + _mm256_extract_epi64(x, 3));
}
/* W. Mula's count by nibbles: two table look-ups for 32 bytes. */
INLINE bits ones(bits x) {
    const bits table = _mm256_setr_epi8(0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4, 0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4);
    const bits low = _mm256_set1_epi8(15);
    bits few = _mm256_shuffle_epi8(table, AND(x, low)), more = _mm256_shuffle_epi8(table, AND(_mm256_srli_epi16(x, 4), low));
    return _mm256_sad_epu8(_mm256_add_epi8(few, more), NONE);
}
#define ADD(sum, x) _mm256_add_epi64(sum, ones(x))
#else
#define BITS 64
typedef uint64_t bits;
INLINE bits word(const void *p) {
    bits w;
    memcpy(&w, p, sizeof w);
    return w;
}
#define LOAD(p) word(p)
#define XOR(x, y) ((x) ^ (y))
#define AND(x, y) ((x) & (y))
#define NONE 0
#define ADD(sum, x) ((sum) + (bits)__builtin_popcountll(x))
INLINE int64_t total(bits x) { return (int64_t)x; }
#endif

typedef struct { const uint64_t *a, *va; const unsigned char *b, *vb; } sides; /* b and vb begin at any byte */

/* Ones of a ^ b for GROUP lags, b beginning one byte later for each; n words, a multiple of 4. */
#define UNLIKE(NAME, TARGET, MORE)                                                                                       \
    TARGET static void NAME(const sides *x, size_t n, int64_t *unlike) {                                                 \
        bits sum[GROUP] = {NONE, NONE, NONE, NONE};                                                                      \
        for (size_t i = 0; i < 8 * n; i += BITS / 8) {                                                                   \
            bits a = LOAD((const unsigned char *)x->a + i);                                                              \
            for (size_t g = 0; g < GROUP; g++) sum[g] = MORE(sum[g], XOR(a, LOAD(x->b + i + g)));                        \
        }                                                                                                                \
        for (size_t g = 0; g < GROUP; g++) unlike[g] = total(sum[g]);                                                    \
    }
/* The same of what is there on both sides, and how much that is. */
#define THERE(NAME, TARGET, MORE)                                                                                        \
    TARGET static void NAME(const sides *x, size_t n, int64_t *unlike, int64_t *pairs) {                                 \
        bits sum[GROUP] = {NONE, NONE, NONE, NONE}, both[GROUP] = {NONE, NONE, NONE, NONE};                              \
        for (size_t i = 0; i < 8 * n; i += BITS / 8) {                                                                   \
            bits a = LOAD((const unsigned char *)x->a + i), va = LOAD((const unsigned char *)x->va + i);                 \
            for (size_t g = 0; g < GROUP; g++) {                                                                         \
                bits v = AND(va, LOAD(x->vb + i + g));                                                                   \
                sum[g] = MORE(sum[g], AND(XOR(a, LOAD(x->b + i + g)), v)), both[g] = MORE(both[g], v);                   \
            }                                                                                                            \
        }                                                                                                                \
        for (size_t g = 0; g < GROUP; g++) unlike[g] = total(sum[g]), pairs[g] = total(both[g]);                         \
    }

typedef struct {
    void (*unlike)(const sides *, size_t, int64_t *);
    void (*there)(const sides *, size_t, int64_t *, int64_t *);
} counters;

UNLIKE(unlike_of, , ADD)
THERE(there_of, , ADD)

#if defined(__AVX512F__)
/* Not every processor with this instruction set has the vector count: it is asked for at run time. */
#define ADD_VECTOR(sum, x) _mm256_add_epi64(sum, _mm256_popcnt_epi64(x))
#define VECTOR __attribute__((target("avx512vpopcntdq")))
UNLIKE(unlike_vector, VECTOR, ADD_VECTOR)
THERE(there_vector, VECTOR, ADD_VECTOR)
#endif

static counters best_counters(void) {
#if defined(__AVX512F__)
    if (__builtin_cpu_supports("avx512vpopcntdq")) return (counters){unlike_vector, there_vector};
#endif
    return (counters){unlike_of, there_of};
}

/* words words of `from`, `by` bits earlier */
static void shift(const uint64_t *from, size_t words, size_t by, uint64_t *to) {
    for (size_t i = 0; i < words; i++) to[i] = by ? from[i] >> by | (i + 1 < words ? from[i + 1] << (64 - by) : 0) : from[i];
}

/* The run of ones around bit `middle` of n words, [from, to) in bits, to the nearest word. */
static void run(const uint64_t *v, size_t n, size_t middle, size_t *from, size_t *to) {
    size_t i = middle / 64, j = i;
    while (j < n && v[j] == ~(uint64_t)0) j++;
    while (i > 0 && j > middle / 64 && v[i - 1] == ~(uint64_t)0) i--;
    *from = 64 * i, *to = 64 * j;
}

/* Adds what the first CHUNK samples of a say to pairs and unlike; words hold all there are, a multiple of 4. Lags that differ by 8
 * read one shifted copy of b at successive bytes; those whose b is all there need not look what is missing. */
static void count(const ll_polarity_bits *s, size_t words, int64_t *pairs, int64_t *unlike) {
    size_t lags = 2 * s->max_lag + 1, first = s->reach - s->max_lag, words_b = words + 2 * s->reach / 64, from, to, from_a, to_a;
    counters of = best_counters();
    run(s->vb, words_b, s->reach + 32 * words, &from, &to);
    run(s->va, words, 32 * words, &from_a, &to_a);
    if (from_a > 0 || to_a < 64 * words) from = to = 0;
    for (size_t by = 0; by < 8; by++) {
        size_t l = (by + 8 - first % 8) % 8;
        int masked = l + first < from || l + first + 64 * words + 8 * lags > to; /* some may be: the copy is cheap */
        if (l >= lags) continue;
        shift(s->b, words_b, by, s->shifted);
        if (masked) shift(s->vb, words_b, by, s->valid);
        for (; l < lags; l += 8 * GROUP) {
            size_t at = l + first, n = (lags - l + 7) / 8 < GROUP ? (lags - l + 7) / 8 : GROUP;
            int64_t more[GROUP], there[GROUP];
            sides x = {s->a, s->va, (const unsigned char *)s->shifted + at / 8, (const unsigned char *)s->valid + at / 8};
            if (at >= from && at + 8 * (n - 1) + 64 * words <= to) {
                of.unlike(&x, words, more);
                for (size_t g = 0; g < n; g++) there[g] = (int64_t)(64 * words);
            } else of.there(&x, words, more, there);
            for (size_t g = 0; g < n; g++) unlike[l + 8 * g] += more[g], pairs[l + 8 * g] += there[g];
        }
    }
}

/* Leaves the first CHUNK samples behind. */
static void advance(ll_polarity_bits *s) {
    size_t ca = s->cap / 64, cb = (s->cap + s->reach) / 64;
    uint64_t *rows[4] = {s->a, s->va, s->b, s->vb};
    for (int i = 0; i < 4; i++) {
        size_t words = i < 2 ? ca : cb;
        memmove(rows[i], rows[i] + WORDS, (words - WORDS) * sizeof(uint64_t));
        memset(rows[i] + words - WORDS, 0, WORDS * sizeof(uint64_t));
    }
    s->fill = s->fill > CHUNK ? s->fill - CHUNK : 0;
}

static int push(ll_polarity_bits *s, const float *a, const float *b, size_t n) {
    while (n) {
        size_t take = n < s->cap - s->fill ? n : s->cap - s->fill;
        pack(a, take, s->fill, s->a, s->va);
        pack(b, take, s->fill + s->reach, s->b, s->vb);
        s->fill += take, a += take, b += take, n -= take;
        if (s->fill == s->cap) {
            count(s, WORDS, s->pairs, s->unlike);
            advance(s);
        }
    }
    return LL_OK;
}

/* Counts what waits: on a copy of the bits, for looking must not change the state. */
static int rest(const ll_polarity_bits *s, int64_t *pairs, int64_t *unlike) {
    ll_polarity_bits *t = open_(s->max_lag);
    if (!t) return LL_NOMEM;
    memcpy(t->a, s->a, words_kept(s) * sizeof(uint64_t));
    for (t->fill = s->fill; t->fill; advance(t)) count(t, t->fill < CHUNK ? (t->fill + 255) / 256 * 4 : WORDS, pairs, unlike);
    close_(t);
    return LL_OK;
}

static int read_(const ll_polarity_bits *s, int64_t *pairs, int64_t *unlike) {
    size_t bytes = (2 * s->max_lag + 1) * sizeof(int64_t);
    memcpy(pairs, s->pairs, bytes), memcpy(unlike, s->unlike, bytes);
    return rest(s, pairs, unlike);
}

static int restart(ll_polarity_bits *s) {
    int status = rest(s, s->pairs, s->unlike);
    if (status == LL_OK) empty(s);
    return status;
}

/* ---- saving ------------------------------------------------------------------------------------------------------ */

typedef struct { char tag[4]; uint32_t version; uint64_t size, max_lag, fill; } head;

static size_t size_(const ll_polarity_bits *s) { return sizeof(head) + (2 * (2 * s->max_lag + 1) + words_kept(s)) * 8; }

static int save(const ll_polarity_bits *s, unsigned char *out) {
    head h = {{TAG[0], TAG[1], TAG[2], TAG[3]}, VERSION, size_(s), s->max_lag, s->fill};
    size_t counts = 2 * (2 * s->max_lag + 1) * 8;
    memcpy(out, &h, sizeof h), memcpy(out + sizeof h, s->pairs, counts);
    memcpy(out + sizeof h + counts, s->a, words_kept(s) * 8);
    return LL_OK;
}

static int load(ll_polarity_bits *s, const unsigned char *bytes, size_t len) {
    head h;
    size_t counts = 2 * (2 * s->max_lag + 1) * 8;
    if (len != size_(s)) return LL_STATE;
    memcpy(&h, bytes, sizeof h);
    if (memcmp(h.tag, TAG, 4) || h.version != VERSION || h.size != len || h.max_lag != s->max_lag || h.fill >= s->cap) return LL_STATE;
    memcpy(s->pairs, bytes + sizeof h, counts), memcpy(s->a, bytes + sizeof h + counts, words_kept(s) * 8);
    s->fill = h.fill;
    return LL_OK;
}

const ll_polarity_api LL_FN(ll_polarity_api) = {open_, close_, reset, push, restart, read_, size_, save, load};
