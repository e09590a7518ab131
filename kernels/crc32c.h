/* CRC-32C (Castagnoli), reflected, polynomial 0x82F63B78: three streams of the instruction where there is one, else tables. */
#ifndef LL_CRC32C_H
#define LL_CRC32C_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

#define LOAD(type, p) ({ type v_; memcpy(&v_, (p), sizeof v_); v_; })

#if defined(__SSE4_2__) && defined(__x86_64__)
#include <nmmintrin.h>
#include <wmmintrin.h>

/* One stream: the instruction takes 8 bytes in 3 cycles. */
static inline uint64_t crc_one(uint64_t c, const uint8_t *p, size_t len) {
    for (; len >= 8; p += 8, len -= 8) c = _mm_crc32_u64(c, LOAD(uint64_t, p));
    for (; len; p++, len--) c = _mm_crc32_u8((uint32_t)c, *p);
    return c;
}

/* Three streams of `words` 8-byte words side by side hide the 3 cycles. Their sums are joined by
 *     c = a x^(128 words) + b x^(64 words) + d   (mod P),
 * where `shift1` = x^(64 words - 33) and `shift2` = x^(128 words - 33): a carry-less product of two reflected words stands one
 * bit low, and taking the crc of the 64-bit product multiplies by x^32 and reduces. */
__attribute__((target("sse4.2,pclmul"))) static inline uint64_t
crc_three(uint64_t a, const uint8_t *p, size_t words, uint32_t shift1, uint32_t shift2) {
    uint64_t b = 0, d = 0;
    const uint8_t *q = p + 8 * words, *r = q + 8 * words;
    for (size_t i = 0; i < 8 * words; i += 8) {
        a = _mm_crc32_u64(a, LOAD(uint64_t, p + i));
        b = _mm_crc32_u64(b, LOAD(uint64_t, q + i));
        d = _mm_crc32_u64(d, LOAD(uint64_t, r + i));
    }
    __m128i hi = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)a), _mm_cvtsi32_si128((int)shift2), 0);
    __m128i lo = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)b), _mm_cvtsi32_si128((int)shift1), 0);
    return _mm_crc32_u64(0, (uint64_t)_mm_cvtsi128_si64(_mm_xor_si128(hi, lo))) ^ d;
}

__attribute__((target("sse4.2,pclmul"))) static uint64_t crc_wide(uint64_t c, const uint8_t *p, size_t len) {
    for (; len >= 3072; p += 3072, len -= 3072) c = crc_three(c, p, 128, 0x170076fau, 0xa51b6135u);
    for (; len >= 768; p += 768, len -= 768) c = crc_three(c, p, 32, 0xb9e02b86u, 0xdd7e3b0cu);
    for (; len >= 192; p += 192, len -= 192) c = crc_three(c, p, 8, 0x9e4addf8u, 0x0d3b6092u);
    return crc_one(c, p, len);
}

static uint32_t crc32c(uint32_t crc, const void *bytes, size_t len) {
    uint64_t c = (uint32_t)~crc;
    /* x86-64-v2 promises SSE4.2 but not the carry-less product. */
    c = len >= 192 && __builtin_cpu_supports("pclmul") ? crc_wide(c, bytes, len) : crc_one(c, bytes, len);
    return ~(uint32_t)c;
}
#else
/* Slicing by 8: TABLE[k][b] is byte b followed by k zero bytes. Filled when the library is loaded; where this branch is compiled
 * there is only one variant, so the filling never runs on a processor it was not compiled for. */
static uint32_t TABLE[8][256];

__attribute__((constructor)) static void fill_table(void) {
    for (uint32_t i = 0; i < 256; i++) {
        uint32_t c = i;
        for (int bit = 0; bit < 8; bit++) c = (c >> 1) ^ (0x82F63B78u & -(c & 1));
        TABLE[0][i] = c;
    }
    for (int k = 1; k < 8; k++)
        for (uint32_t i = 0; i < 256; i++) TABLE[k][i] = (TABLE[k - 1][i] >> 8) ^ TABLE[0][TABLE[k - 1][i] & 255];
}

static uint32_t crc32c(uint32_t crc, const void *bytes, size_t len) {
    const uint8_t *p = bytes;
    uint32_t c = ~crc;
    for (; len >= 8; p += 8, len -= 8) {
        uint64_t w = LOAD(uint64_t, p) ^ c;
        c = 0;
        for (int k = 0; k < 8; k++) c ^= TABLE[7 - k][(w >> (8 * k)) & 255];
    }
    for (; len; p++, len--) c = (c >> 8) ^ TABLE[0][(c ^ *p) & 255];
    return ~c;
}
#endif

#endif
