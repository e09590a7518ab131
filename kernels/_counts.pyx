# serves: lifeline_core.dsp
"""Memory for kernels/counts.c: integer payloads to scaled float32 rows."""

from libc.stdint cimport uint8_t

from lifeline_core.errors import raise_status

cdef extern from "counts.h":
    ctypedef struct ll_counts_api:
        int (*row)(int, const uint8_t *, size_t, double, double, float *) nogil
        int (*interleaved)(int, const uint8_t *, size_t, size_t, size_t, size_t, const double *, const double *, float *,
                           Py_ssize_t) nogil
    const ll_counts_api *ll_counts() nogil

cdef const ll_counts_api *K = ll_counts()
# Below so many counts the GIL is kept: giving it back costs more than the work.
cdef Py_ssize_t FEW = 4096


cdef int rows(int kind, const uint8_t *p, Py_ssize_t n, Py_ssize_t begin, Py_ssize_t end, const double *scale,
              const double *offset, float *out, Py_ssize_t stride) noexcept nogil:
    cdef int status = 0
    cdef Py_ssize_t c, width = 2 if kind == 1 else 3 if kind == 2 else 4
    for c in range(begin, end):
        status = K.row(kind, p + c * n * width, n, scale[c], offset[c], out + c * stride)
        if status:
            return status
    return status


def fill(int kind, const uint8_t[::1] payload, bint interleaved, Py_ssize_t begin, Py_ssize_t end, const double[::1] scale,
         const double[::1] offset, float[:, :] out):
    """Rows begin .. end of out[n_ch, n] from a payload of exactly n_ch * n counts."""
    cdef Py_ssize_t n_ch = out.shape[0], n = out.shape[1], stride = out.strides[0] // <Py_ssize_t> sizeof(float)
    cdef Py_ssize_t width = 2 if kind == 1 else 3 if kind == 2 else 4
    cdef int status = 0
    if (n < 1 or n_ch < 1 or payload.shape[0] != n * n_ch * width or scale.shape[0] != n_ch or offset.shape[0] != n_ch
            or begin < 0 or begin > end or end > n_ch or (n > 1 and out.strides[1] != sizeof(float))):
        raise_status(-2, f"counts of {n_ch} x {n} from {payload.shape[0]} bytes")
    if begin == end:
        return
    cdef const uint8_t *p = &payload[0]
    cdef float *x = &out[0, 0]
    if n * (end - begin) < FEW:
        if interleaved:
            status = K.interleaved(kind, p, n, n_ch, begin, end, &scale[0], &offset[0], x, stride)
        else:
            status = rows(kind, p, n, begin, end, &scale[0], &offset[0], x, stride)
    else:
        with nogil:
            if interleaved:
                status = K.interleaved(kind, p, n, n_ch, begin, end, &scale[0], &offset[0], x, stride)
            else:
                status = rows(kind, p, n, begin, end, &scale[0], &offset[0], x, stride)
    raise_status(status, "counts")
