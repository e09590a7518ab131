# serves: lifeline_core.dsp
"""Binds kernels/filters.c. Arrays are float32 or float64, C-contiguous, rows first."""

from lifeline_core.errors import raise_status

cdef extern from "filters.h":
    ctypedef struct ll_filters_api:
        int (*sosfilt)(const double *, size_t, double *, const void *, size_t, size_t, void *, int) noexcept nogil
        int (*sosfiltfilt)(const double *, size_t, const double *, const void *, size_t, size_t, int, size_t, void *,
                           int) noexcept nogil
        int (*detrend)(const void *, size_t, size_t, int, void *, int) noexcept nogil
    const ll_filters_api *ll_filters() nogil

cdef const ll_filters_api *K = ll_filters()

# Less than this is filtered sooner than the interpreter would be back from another thread.
cdef enum:
    SHORT = 32768

ctypedef fused real:
    float
    double


def sosfilt(const double[:, ::1] sos, double[:, :, ::1] z, const real[:, ::1] x, real[:, ::1] out):
    """Fills ``out`` and moves z[rows, sections, 2] on; sos rows are b0 b1 b2 a1 a2. ``out`` may be ``x``."""
    cdef size_t rows = x.shape[0], n = x.shape[1], sections = sos.shape[0]
    cdef int status, wide = real is double
    if sos.shape[1] != 5 or <size_t>z.shape[0] != rows or <size_t>z.shape[1] != sections or z.shape[2] != 2 or \
            <size_t>out.shape[0] != rows or <size_t>out.shape[1] != n:
        raise ValueError(f"sos[sections, 5], z[rows, sections, 2] and out must fit x of {rows} rows and {n} samples")
    if rows == 0 or n == 0 or sections == 0:
        raise_status(-1, "sosfilt")
    if rows * n < SHORT:
        status = K.sosfilt(&sos[0, 0], sections, &z[0, 0, 0], &x[0, 0], rows, n, &out[0, 0], wide)
    else:
        with nogil:
            status = K.sosfilt(&sos[0, 0], sections, &z[0, 0, 0], &x[0, 0], rows, n, &out[0, 0], wide)
    if status < 0:
        raise_status(status, "sosfilt")


def sosfiltfilt(const double[:, ::1] sos, const double[:, ::1] zi, const real[:, ::1] x, int kind, size_t pad, real[:, ::1] out):
    """Fills ``out``, which may be ``x``; kind is 0 none, 1 odd, 2 even, 3 constant."""
    cdef size_t rows = x.shape[0], n = x.shape[1], sections = sos.shape[0]
    cdef int status, wide = real is double
    if sos.shape[1] != 5 or <size_t>zi.shape[0] != sections or zi.shape[1] != 2 or \
            <size_t>out.shape[0] != rows or <size_t>out.shape[1] != n:
        raise ValueError(f"sos[sections, 5], zi[sections, 2] and out must fit x of {rows} rows and {n} samples")
    if rows == 0 or n == 0 or sections == 0:
        raise_status(-1, "sosfiltfilt")
    with nogil:
        status = K.sosfiltfilt(&sos[0, 0], sections, &zi[0, 0], &x[0, 0], rows, n, kind, pad, &out[0, 0], wide)
    raise_status(status, "sosfiltfilt")


def detrend(const real[:, ::1] x, bint linear, real[:, ::1] out):
    """Fills ``out``, which may be ``x``."""
    cdef size_t rows = x.shape[0], n = x.shape[1]
    cdef int status, wide = real is double
    if <size_t>out.shape[0] != rows or <size_t>out.shape[1] != n:
        raise ValueError(f"out must fit x of {rows} rows and {n} samples")
    if rows == 0 or n == 0:
        raise_status(-1, "detrend")
    with nogil:
        status = K.detrend(&x[0, 0], rows, n, linear, &out[0, 0], wide)
    raise_status(status, "detrend")
