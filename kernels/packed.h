/* Encoding 16: integers as differences in blocks of 128 (DESIGN 3.1). Header only, so that every stem with wire.c has it.
 *
 * A row of n samples: int32 x0, then ceil((n - 1) / 128) blocks of a byte w (0 to 32) and 16 w bytes, which hold 128 codes
 * z = (d << 1) ^ (d >> 31) of d = x[k] - x[k-1] in wrapping int32; code j lies in bits j w .. j w + w - 1, least significant first.
 * The last block is padded with zeros, and that is checked: bits nobody reads are no place to hide what the CRC vouches for. */
#ifndef LL_PACKED_H
#define LL_PACKED_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    LL_PACKED = 16, LL_PACKED_BLOCK = 128, LL_PACKED_WIDEST = 32,
    LL_PACKED_MOST = 1 << 24 /* samples of one frame: a byte may stand for 128 of them, and memory must stay bounded */
};

/* Are all bits of a block's 16 w bytes zero from code `codes` on? */
static inline int ll_packed_padded(const uint8_t *p, unsigned w, uint32_t codes) {
    size_t bit = (size_t)codes * w, at = bit / 8, len = (size_t)16 * w;
    if (at < len && p[at] >> (bit % 8)) return 0;
    for (at++; at < len; at++)
        if (p[at]) return 0;
    return 1;
}

/* Where the row of n samples at p ends; NULL where it has no end before `end` (*wrong 0), or a width above 32 or padding that is not
 * zero (*wrong 1). Takes as many steps as the bytes have blocks, whatever n says. */
static inline const uint8_t *ll_packed_end(const uint8_t *p, const uint8_t *end, uint32_t n, int *wrong) {
    *wrong = 0;
    if (end - p < 4) return NULL;
    p += 4;
    for (uint32_t left = n - 1; left;) {
        if (p == end) return NULL;
        unsigned w = *p++;
        if (w > LL_PACKED_WIDEST) {
            *wrong = 1;
            return NULL;
        }
        if ((size_t)(end - p) < (size_t)16 * w) return NULL;
        if (left < LL_PACKED_BLOCK) {
            if (!ll_packed_padded(p, w, left)) {
                *wrong = 1;
                return NULL;
            }
            left = 0;
        } else left -= LL_PACKED_BLOCK;
        p += (size_t)16 * w;
    }
    return p;
}

/* 128 codes of width w (1 to 32) at p. A code begins within a byte and reaches over at most 39 bits: one load of 8 bytes holds it.
 * `p` must be readable for 8 bytes behind the block. */
static inline void ll_packed_codes(const uint8_t *p, unsigned w, uint32_t *z) {
    const uint64_t mask = (1ull << w) - 1;
    for (unsigned j = 0; j < LL_PACKED_BLOCK; j += 8, p += w)
        for (unsigned k = 0; k < 8; k++) {
            uint64_t v;
            memcpy(&v, p + (k * w >> 3), 8);
            z[j + k] = (uint32_t)(v >> (k * w & 7) & mask);
        }
}

/* Row of n samples at p, which ll_packed_end has found sound; where it ends. */
static inline const uint8_t *ll_packed_read(const uint8_t *p, const uint8_t *end, uint32_t n, int32_t *out) {
    uint32_t x, z[LL_PACKED_BLOCK];
    uint8_t last[16 * LL_PACKED_WIDEST + 8];
    memcpy(&x, p, 4);
    p += 4;
    *out++ = (int32_t)x;
    for (uint32_t left = n - 1; left;) {
        unsigned w = *p++;
        uint32_t m = left < LL_PACKED_BLOCK ? left : LL_PACKED_BLOCK;
        if (!w) {
            for (uint32_t j = 0; j < m; j++) out[j] = (int32_t)x;
        } else {
            const uint8_t *from = p;
            if ((size_t)(end - p) < (size_t)16 * w + 8) {
                memcpy(last, p, (size_t)16 * w);
                from = last;
            }
            ll_packed_codes(from, w, z);
            for (uint32_t j = 0; j < LL_PACKED_BLOCK; j++) z[j] = z[j] >> 1 ^ -(z[j] & 1);
            for (uint32_t j = 0; j < m; j++) out[j] = (int32_t)(x += z[j]);
        }
        p += (size_t)16 * w;
        out += m, left -= m;
    }
    return p;
}

/* Bytes that a row of n samples has at most. */
static inline size_t ll_packed_room(uint32_t n) {
    return 4 + ((size_t)n + LL_PACKED_BLOCK - 2) / LL_PACKED_BLOCK * (1 + 16 * LL_PACKED_WIDEST);
}

/* n samples as a row, each block as narrow as its widest code; where it ends. `out` has ll_packed_room(n) bytes. */
static inline uint8_t *ll_packed_write(const int32_t *x, uint32_t n, uint8_t *out) {
    uint32_t before = (uint32_t)x[0];
    memcpy(out, &before, 4);
    out += 4;
    for (uint32_t at = 1; at < n; at += LL_PACKED_BLOCK) {
        uint32_t m = n - at < LL_PACKED_BLOCK ? n - at : LL_PACKED_BLOCK, z[LL_PACKED_BLOCK], all = 0;
        for (uint32_t j = 0; j < m; j++) {
            uint32_t d = (uint32_t)x[at + j] - before;
            before = (uint32_t)x[at + j];
            all |= z[j] = d << 1 ^ -(d >> 31);
        }
        unsigned w = all ? 32 - (unsigned)__builtin_clz(all) : 0, bits = 0;
        uint64_t word = 0;
        uint8_t *to = out + 1;
        *out = (uint8_t)w;
        memset(to, 0, (size_t)16 * w);
        for (uint32_t j = 0; j < m && w; j++) {
            word |= (uint64_t)z[j] << bits;
            for (bits += w; bits >= 8; bits -= 8, word >>= 8) *to++ = (uint8_t)word;
        }
        if (bits) *to = (uint8_t)word;
        out += 1 + (size_t)16 * w;
    }
    return out;
}

#endif
