# serves: lifeline_core.dsp
"""Binds kernels/lagsum.c. Rows are float64, samples side by side."""

import numpy as np

from lifeline_core.errors import raise_status

cdef extern from "lagsum.h":
    size_t ll_lagsum_columns(size_t, size_t) nogil
    size_t ll_lagsum_work(size_t, size_t) nogil
    ctypedef struct ll_lagsum_api:
        int (*add)(const double *, size_t, size_t, const double *, size_t, size_t, double *, double *) noexcept nogil
    const ll_lagsum_api *ll_lagsum() nogil

cdef const ll_lagsum_api *K = ll_lagsum()

cdef enum:
    SHORT = 100_000  # products: fewer are there sooner than the interpreter would be back from another thread


def lag_sums(const double[:, :] x, const double[::1] offset, size_t lags):
    """float64[n_ch, columns]: of rows whose last `lags` samples begin no product; columns beyond (lags + 1) n_ch mean nothing."""
    cdef size_t n_ch = x.shape[0], n = x.shape[1], stride
    cdef int status
    if <size_t> offset.shape[0] != n_ch or n <= lags or (n > 1 and x.strides[1] != sizeof(double)) or x.strides[0] < 0 or \
            x.strides[0] % sizeof(double):
        raise_status(-2, "lag sums")
    if n_ch == 0:
        raise_status(-1, "lag sums")
    out, memory = np.zeros((n_ch, ll_lagsum_columns(n_ch, lags))), np.empty(ll_lagsum_work(n_ch, lags) + 8)
    memory = memory[-(memory.ctypes.data // 8) % 8:]  # at a cache line
    cdef double[:, ::1] to = out
    cdef double[::1] work = memory
    stride = x.strides[0] // sizeof(double)
    if (n - lags) * (lags + 1) * n_ch * n_ch < SHORT:
        status = K.add(&x[0, 0], n_ch, stride, &offset[0], lags, n - lags, &work[0], &to[0, 0])
    else:
        with nogil:
            status = K.add(&x[0, 0], n_ch, stride, &offset[0], lags, n - lags, &work[0], &to[0, 0])
    raise_status(status, "lag sums")
    return out
