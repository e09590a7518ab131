# serves: lifeline_core.dsp
# with: classic.c cusum.c aic.c
"""Binds kernels/onset.c. Arrays are float32 or float64, C-contiguous, rows first; states are raw bytes, one row each, or one
row to four channels for classic STA/LTA. Short work keeps the GIL: to release it would cost more than it gives."""

from libc.stdint cimport int64_t, uint8_t
from taker cimport LL_BRIEF

from lifeline_core.errors import raise_status

cdef extern from "onset.h":
    enum:
        LL_STA_BLOCK
    ctypedef struct ll_sta_state:
        double before[2]
    ctypedef struct ll_cusum_state:
        double up, down
    ctypedef struct ll_onset_api:
        int (*recursive)(ll_sta_state *, size_t, size_t, const void *, size_t, size_t, void *, int) noexcept nogil
        size_t (*classic_size)(size_t, size_t) noexcept nogil
        int (*classic)(void *, size_t, size_t, const void *, size_t, size_t, void *, int) noexcept nogil
        int (*cusum)(ll_cusum_state *, double, double, const void *, size_t, size_t, void *, void *, int) noexcept nogil
        int (*aic)(const void *, size_t, int, double *, int64_t *, double *) noexcept nogil
    const ll_onset_api *ll_onset() nogil

cdef const ll_onset_api *K = ll_onset()

ctypedef fused real:
    float
    double

CUSUM_SIZE = sizeof(ll_cusum_state)
STA_BLOCK = LL_STA_BLOCK


def sta_shape(bint recursive, size_t n_sta, size_t n_lta, size_t rows):
    """Shape of the bytes that ``rows`` channels need; all zero is a beginning."""
    if recursive:
        return rows, sizeof(ll_sta_state)
    return (rows + 3) // 4, K.classic_size(n_sta, n_lta)


cdef inline int _sta_lta(bint recursive, size_t n_sta, size_t n_lta, const void *x, size_t rows, size_t n, void *state, void *out,
                         bint wide) noexcept nogil:
    if recursive:
        return K.recursive(<ll_sta_state *>state, n_sta, n_lta, x, rows, n, out, wide)
    return K.classic(state, n_sta, n_lta, x, rows, n, out, wide)


def sta_lta(bint recursive, size_t n_sta, size_t n_lta, const real[:, ::1] x, uint8_t[:, ::1] state, real[:, ::1] out):
    """Fills ``out`` and moves ``state`` on."""
    cdef size_t rows = x.shape[0], n = x.shape[1]
    cdef size_t held = rows if recursive else (rows + 3) // 4
    cdef size_t size = sizeof(ll_sta_state) if recursive else K.classic_size(n_sta, n_lta)
    cdef int status
    cdef bint wide = real is double
    if <size_t>state.shape[0] != held or <size_t>state.shape[1] != size or \
            <size_t>out.shape[0] != rows or <size_t>out.shape[1] != n:
        raise ValueError(f"state and out must fit x of {rows} rows and {n} samples")
    if rows == 0 or n == 0:
        return
    if rows * n < LL_BRIEF:
        status = _sta_lta(recursive, n_sta, n_lta, &x[0, 0], rows, n, &state[0, 0], &out[0, 0], wide)
    else:
        with nogil:
            status = _sta_lta(recursive, n_sta, n_lta, &x[0, 0], rows, n, &state[0, 0], &out[0, 0], wide)
    raise_status(status, "sta_lta")


def cusum(double drift, double threshold, const real[:, ::1] x, uint8_t[:, ::1] state, real[:, ::1] up, real[:, ::1] down):
    """Fills ``up`` and ``down`` and moves ``state`` on."""
    cdef size_t rows = x.shape[0], n = x.shape[1]
    cdef int status
    cdef bint wide = real is double
    if <size_t>state.shape[0] != rows or <size_t>state.shape[1] != sizeof(ll_cusum_state) or \
            <size_t>up.shape[0] != rows or <size_t>up.shape[1] != n or \
            <size_t>down.shape[0] != rows or <size_t>down.shape[1] != n:
        raise ValueError(f"state, up and down must fit x of {rows} rows and {n} samples")
    if rows == 0 or n == 0:
        return
    cdef ll_cusum_state *s = <ll_cusum_state *>&state[0, 0]
    if rows * n < LL_BRIEF:
        status = K.cusum(s, drift, threshold, &x[0, 0], rows, n, &up[0, 0], &down[0, 0], wide)
    else:
        with nogil:
            status = K.cusum(s, drift, threshold, &x[0, 0], rows, n, &up[0, 0], &down[0, 0], wide)
    raise_status(status, "cusum")


cdef int _aic(const void *x, size_t rows, size_t n, bint wide, double *work, int64_t *index, double *quality) noexcept nogil:
    cdef size_t row
    cdef int status = 0
    for row in range(rows):
        status = K.aic(<const char *>x + row * n * (8 if wide else 4), n, wide, work, &index[row], &quality[row])
        if status < 0:
            break
    return status


def aic(const real[:, ::1] x, double[::1] work, int64_t[::1] index, double[::1] quality):
    """Index and quality of every row; ``work`` holds three times a row and 12."""
    cdef size_t rows = x.shape[0], n = x.shape[1]
    cdef int status
    cdef bint wide = real is double
    if <size_t>work.shape[0] < 3 * n + 12 or <size_t>index.shape[0] != rows or <size_t>quality.shape[0] != rows:
        raise ValueError(f"work, index and quality must fit x of {rows} rows and {n} samples")
    if rows == 0 or n == 0:
        return
    if 3 * rows * n < LL_BRIEF:  # logarithms
        status = _aic(&x[0, 0], rows, n, wide, &work[0], &index[0], &quality[0])
    else:
        with nogil:
            status = _aic(&x[0, 0], rows, n, wide, &work[0], &index[0], &quality[0])
    raise_status(status, "aic")
