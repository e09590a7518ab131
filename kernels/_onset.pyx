# serves: lifeline_core.dsp
"""Binds kernels/onset.c. Arrays are float32 or float64, C-contiguous, rows first; states are raw bytes, one row each."""

from libc.stdint cimport int64_t, uint8_t

from lifeline_core.errors import raise_status

cdef extern from "onset.h":
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


def sta_size(bint recursive, size_t n_sta, size_t n_lta):
    """Bytes of one row's state; all zero is a beginning."""
    return sizeof(ll_sta_state) if recursive else K.classic_size(n_sta, n_lta)


def sta_lta(bint recursive, size_t n_sta, size_t n_lta, const real[:, ::1] x, uint8_t[:, ::1] state, real[:, ::1] out):
    """Fills ``out`` and moves ``state`` on."""
    cdef size_t rows = x.shape[0], n = x.shape[1]
    cdef int status, wide = real is double
    if <size_t>state.shape[0] != rows or <size_t>state.shape[1] != <size_t>sta_size(recursive, n_sta, n_lta) or \
            <size_t>out.shape[0] != rows or <size_t>out.shape[1] != n:
        raise ValueError(f"state and out must fit x of {rows} rows and {n} samples")
    if rows == 0 or n == 0:
        return
    with nogil:
        if recursive:
            status = K.recursive(<ll_sta_state *>&state[0, 0], n_sta, n_lta, &x[0, 0], rows, n, &out[0, 0], wide)
        else:
            status = K.classic(&state[0, 0], n_sta, n_lta, &x[0, 0], rows, n, &out[0, 0], wide)
    raise_status(status, "sta_lta")


def cusum(double drift, double threshold, const real[:, ::1] x, uint8_t[:, ::1] state, real[:, ::1] up, real[:, ::1] down):
    """Fills ``up`` and ``down`` and moves ``state`` on."""
    cdef size_t rows = x.shape[0], n = x.shape[1]
    cdef int status, wide = real is double
    if <size_t>state.shape[0] != rows or <size_t>state.shape[1] != sizeof(ll_cusum_state) or \
            <size_t>up.shape[0] != rows or <size_t>up.shape[1] != n or \
            <size_t>down.shape[0] != rows or <size_t>down.shape[1] != n:
        raise ValueError(f"state, up and down must fit x of {rows} rows and {n} samples")
    if rows == 0 or n == 0:
        return
    with nogil:
        status = K.cusum(<ll_cusum_state *>&state[0, 0], drift, threshold, &x[0, 0], rows, n, &up[0, 0], &down[0, 0], wide)
    raise_status(status, "cusum")


def aic(const real[:, ::1] x, double[::1] work, int64_t[::1] index, double[::1] quality):
    """Index and quality of every row; ``work`` holds twice a row."""
    cdef size_t rows = x.shape[0], n = x.shape[1], row
    cdef int status = 0, wide = real is double
    if <size_t>work.shape[0] < 2 * n or <size_t>index.shape[0] != rows or <size_t>quality.shape[0] != rows:
        raise ValueError(f"work, index and quality must fit x of {rows} rows and {n} samples")
    if rows == 0 or n == 0:
        return
    with nogil:
        for row in range(rows):
            status = K.aic(&x[row, 0], n, wide, &work[0], &index[row], &quality[row])
            if status < 0:
                break
    raise_status(status, "aic")
