# serves: lifeline_core.dsp
"""Binds kernels/envelope.c. Arrays are float32 or float64, C-contiguous, rows first. Short work keeps the GIL: to release it
would cost more than it gives."""

from lifeline_core.errors import raise_status

cdef extern from "envelope.h":
    enum:
        LL_ENVELOPE_RUN
    ctypedef struct ll_envelope_api:
        int (*magnitude)(const void *, const void *, size_t, void *, int) noexcept nogil
        int (*push)(const double *, size_t, size_t, double *, const void *, size_t, size_t, void *, double *, int) noexcept nogil
    const ll_envelope_api *ll_envelope() nogil

cdef const ll_envelope_api *K = ll_envelope()
cdef size_t SHORT = 4096  # samples
WORK = LL_ENVELOPE_RUN + 64

ctypedef fused real:
    float
    double


def magnitude(const real[:, ::1] x, const real[:, ::1] h, real[:, ::1] out):
    """sqrt(x^2 + h^2) into ``out``."""
    cdef size_t rows = x.shape[0], n = x.shape[1]
    cdef int status
    cdef bint wide = real is double
    if <size_t>h.shape[0] != rows or <size_t>h.shape[1] != n or <size_t>out.shape[0] != rows or <size_t>out.shape[1] != n:
        raise ValueError(f"h and out must fit x of {rows} rows and {n} samples")
    if rows == 0 or n == 0:
        return
    with nogil:
        status = K.magnitude(&x[0, 0], &h[0, 0], rows * n, &out[0, 0], wide)
    raise_status(status, "envelope")


def push(const double[::1] taps, const real[:, ::1] x, double[:, ::1] past, real[:, ::1] out, double[::1] work):
    """Fills ``out`` and moves ``past[rows, 2 d]`` on; ``work`` holds 2 d + WORK."""
    cdef size_t rows = x.shape[0], n = x.shape[1], d = past.shape[1] // 2
    cdef int status
    cdef bint wide = real is double
    if <size_t>past.shape[0] != rows or <size_t>past.shape[1] != 2 * d or \
            <size_t>out.shape[0] != rows or <size_t>out.shape[1] != n or <size_t>work.shape[0] < 2 * d + WORK:
        raise ValueError(f"past, out and work must fit x of {rows} rows and {n} samples")
    if rows == 0 or n == 0:
        return
    if rows * n < SHORT:
        status = K.push(&taps[0], taps.shape[0], d, &past[0, 0], &x[0, 0], rows, n, &out[0, 0], &work[0], wide)
    else:
        with nogil:
            status = K.push(&taps[0], taps.shape[0], d, &past[0, 0], &x[0, 0], rows, n, &out[0, 0], &work[0], wide)
    raise_status(status, "envelope")
