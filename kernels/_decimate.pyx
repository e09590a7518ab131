# serves: lifeline_core.dsp
"""Binds kernels/decimate.c. Arrays are float32 or float64, rows first, samples side by side."""

from lifeline_core.errors import raise_status

cdef extern from "decimate.h":
    size_t ll_kept(size_t, size_t, size_t) nogil
    ctypedef struct ll_decimate_api:
        int (*decimate)(const double *, size_t, size_t, size_t, double *, const void *, size_t, size_t, void *, size_t,
                        int) noexcept nogil
    const ll_decimate_api *ll_decimate() nogil

cdef const ll_decimate_api *K = ll_decimate()

cdef enum:
    SHORT = 4096  # less is filtered sooner than the interpreter would be back from another thread

ctypedef fused real:
    float
    double


def kept(size_t n, size_t q, size_t skip):
    """How many of n samples are kept: those at skip, skip + q, .."""
    return ll_kept(n, q, skip)


def decimate(const double[::1] taps, size_t q, size_t skip, double[:, ::1] hist, const real[:, ::1] x, real[:, :] out):
    """Fills out[rows, kept] and moves hist[rows, taps - 1] on."""
    cdef size_t rows = x.shape[0], n = x.shape[1], L = taps.shape[0], count = ll_kept(n, q, skip) if q else 0, stride
    cdef int status, wide = real is double
    cdef double *before
    cdef void *to
    if <size_t>hist.shape[0] != rows or <size_t>hist.shape[1] + 1 != L or <size_t>out.shape[0] != rows or \
            <size_t>out.shape[1] != count or (count > 1 and out.strides[1] != sizeof(real)):
        raise ValueError(f"hist[rows, {L - 1}] and out[rows, {count}], samples side by side, must fit x of {rows} rows")
    if rows == 0 or n == 0:
        raise_status(-1, "decimate")
    before = &hist[0, 0] if L > 1 else NULL
    to = &out[0, 0] if count else NULL
    stride = out.strides[0] // sizeof(real) if rows > 1 else count
    if rows * n < SHORT:
        status = K.decimate(&taps[0], L, q, skip, before, &x[0, 0], rows, n, to, stride, wide)
    else:
        with nogil:
            status = K.decimate(&taps[0], L, q, skip, before, &x[0, 0], rows, n, to, stride, wide)
    if status < 0:
        raise_status(status, "decimate")
