"""What kernels/pieces.h declares."""

from libc.stdint cimport int64_t, uint8_t, uint32_t

cdef extern from "pieces.h":
    const char *LL_PIECES
    ctypedef struct ll_pieces:
        const uint8_t *const *at
        const int64_t *lengths
        const uint32_t *sources
        const long *n
