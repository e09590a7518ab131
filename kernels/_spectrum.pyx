# serves: lifeline_core.dsp
# with: fft.c trend.c sums.c
"""Memory for kernels/spectrum.c: one stream of rows and the sums of its segments' spectra."""

from libc.stdint cimport int64_t, uint32_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset
from taker cimport LL_BRIEF, ll_given, ll_taker, offered

import numpy as np

from lifeline_core.errors import raise_status

cdef extern from "spectrum.h":
    ctypedef struct ll_spectrum_sums:
        pass
    ctypedef struct ll_spectrum_plan:
        uint32_t n, hop, n_ch, detrend, cross, skip, part
        double keep
    ctypedef struct ll_spectrum_api:
        ll_spectrum_sums *(*open)(const ll_spectrum_plan *, const float *) nogil
        void (*close)(ll_spectrum_sums *) nogil
        int (*push)(ll_spectrum_sums *, const float *const *, size_t) noexcept nogil
        void (*fetch)(const ll_spectrum_sums *, size_t) noexcept nogil
        void (*reset)(ll_spectrum_sums *) nogil
        void (*restart)(ll_spectrum_sums *) nogil
        int (*power)(ll_spectrum_sums *, double *, int64_t *) nogil
        int (*matrix)(ll_spectrum_sums *, double *, int64_t *) nogil
        int (*average)(ll_spectrum_sums *, const double *, float *) nogil
        int (*merge)(ll_spectrum_sums *, ll_spectrum_sums *) nogil
        int (*weights)(ll_spectrum_sums *, double *) nogil
        int (*each)(ll_spectrum_sums *, const float *, Py_ssize_t, size_t, const double *, float *) nogil
        size_t (*size)(const ll_spectrum_sums *) nogil
        int (*save)(const ll_spectrum_sums *, unsigned char *) nogil
        int (*load)(ll_spectrum_sums *, const unsigned char *, size_t) nogil
    const ll_spectrum_api *ll_spectrum() nogil

cdef const ll_spectrum_api *K = ll_spectrum()


cdef struct lanes_taker:
    ll_taker head
    ll_spectrum_sums *sums


cdef int take_lanes(ll_taker *t, const ll_given *g) noexcept nogil:
    cdef lanes_taker *s = <lanes_taker *> t
    K.push(s.sums, g.x, g.n)
    return 1


cdef void fetch_lanes(const ll_taker *t, size_t n) noexcept nogil:
    K.fetch((<const lanes_taker *> t).sums, n)


cdef class Lanes:
    """Segments of float32 rows through the batched transform; dsp/spectrum.py gives it meaning."""

    cdef ll_spectrum_sums *s
    cdef const float **rows
    cdef lanes_taker own
    cdef size_t effort  # of a sample of every row
    cdef readonly int n, hop, n_ch, n_f
    cdef readonly bint cross

    def __cinit__(self, const float[::1] window, int hop, int n_ch, int detrend, bint cross, bint skip, unsigned int part=8,
                  double keep=1.0):
        cdef ll_spectrum_plan plan
        memset(&plan, 0, sizeof(plan))
        plan.n, plan.hop, plan.n_ch, plan.detrend = window.shape[0], hop, n_ch, detrend
        plan.cross, plan.skip, plan.part, plan.keep = cross, skip, part, keep
        self.s = K.open(&plan, &window[0])
        if self.s is NULL:
            raise_status(-3, f"spectrum of n={window.shape[0]} hop={hop} n_ch={n_ch} part={part} keep={keep}")
        self.rows = <const float **> malloc(n_ch * sizeof(float *))
        if self.rows is NULL:
            raise MemoryError("spectrum: the system gave no memory")
        self.own.head.take, self.own.head.fetch, self.own.sums = take_lanes, fetch_lanes, self.s
        self.cross, self.effort = cross, n_ch * (1 + n_ch // 4 if cross else 1)
        self.n, self.hop, self.n_ch, self.n_f = plan.n, hop, n_ch, plan.n // 2 + 1

    def __dealloc__(self):
        K.close(self.s)
        free(self.rows)

    def taker(self):
        """What takes every piece of n_ch rows; it never refuses."""
        return offered(self, &self.own.head)

    def push(self, const float[:, :] x):
        """Take x float32[n_ch, n] in; samples of a row lie side by side in memory."""
        cdef size_t n = x.shape[1]
        cdef int status, c
        if x.shape[0] != self.n_ch or (n > 1 and x.strides[1] != sizeof(float)):
            raise_status(-2, f"spectrum of {self.n_ch} rows")
        if n == 0:
            return
        for c in range(self.n_ch):
            self.rows[c] = &x[c, 0]
        if n * self.effort < LL_BRIEF:
            status = K.push(self.s, self.rows, n)
        else:
            with nogil:
                status = K.push(self.s, self.rows, n)
        raise_status(status, "spectrum")

    def reset(self):
        K.reset(self.s)

    def restart(self):
        if 4 * self.n * self.effort < LL_BRIEF:  # half a group
            K.restart(self.s)
        else:
            with nogil:
                K.restart(self.s)

    def merge(self, Lanes other not None):
        """A seam here, then all of other's sums as one part."""
        cdef int status
        with nogil:
            status = K.merge(self.s, other.s)
        raise_status(status, "spectrum: merge needs two equal plans")

    def weights(self):
        """Sum of keep^age of the segments, float64[n_ch], with cross float64[n_ch, n_ch]; equals `used` at keep = 1."""
        out = np.empty((self.n_ch, self.n_ch if self.cross else 1))
        cdef double[:, ::1] o = out
        cdef int status
        with nogil:
            status = K.weights(self.s, &o[0, 0])
        raise_status(status, "spectrum")
        return out if self.cross else out[:, 0]

    def power(self, out=None):
        """Sums of |X|^2 float64[n_ch, n_f] and the segments in each, int64[n_ch]."""
        out = np.empty((self.n_ch, self.n_f)) if out is None else out
        used = np.empty(self.n_ch, np.int64)
        if out.shape != (self.n_ch, self.n_f):
            raise_status(-2, f"spectrum of {self.n_ch} rows")
        cdef double[:, ::1] o = out
        cdef int64_t[::1] u = used
        cdef int status
        if 4 * self.n * self.effort < LL_BRIEF:  # half a group
            status = K.power(self.s, &o[0, 0], &u[0])
        else:
            with nogil:
                status = K.power(self.s, &o[0, 0], &u[0])
        raise_status(status, "spectrum")
        return out, used

    def matrix(self, out=None):
        """Sums of conj(X_i) X_j complex128[n_f, n_ch, n_ch] and the segments in each, int64[n_ch, n_ch]."""
        out = np.empty((self.n_f, self.n_ch, self.n_ch), np.complex128) if out is None else out
        used = np.empty((self.n_ch, self.n_ch), np.int64)
        if out.shape != (self.n_f, self.n_ch, self.n_ch):
            raise_status(-2, f"spectrum of {self.n_ch} rows")
        cdef double complex[:, :, ::1] o = out
        cdef int64_t[:, ::1] u = used
        cdef int status
        with nogil:
            status = K.matrix(self.s, <double *> &o[0, 0, 0], &u[0, 0])
        raise_status(status, "spectrum")
        return out, used

    def average(self, const double[::1] scale):
        """`matrix` times scale float64[n_f] over `weights`, complex64[n_f, n_ch, n_ch]; NaN where the weight is 0."""
        out = np.empty((self.n_f, self.n_ch, self.n_ch), np.complex64)
        if scale.shape[0] != self.n_f:
            raise_status(-2, f"spectrum of {self.n_f} frequencies")
        cdef float complex[:, :, ::1] o = out
        cdef int status
        with nogil:
            status = K.average(self.s, &scale[0], <float *> &o[0, 0, 0])
        raise_status(status, "spectrum")
        return out

    def each(self, const float[:, :] x, const double[::1] scale):
        """scale * |X|^2 of every whole segment of x, float32[n_ch, n_segments, n_f]."""
        cdef Py_ssize_t stride = x.strides[0] // sizeof(float)
        cdef size_t n_seg = 1 + (x.shape[1] - self.n) // self.hop if x.shape[1] >= self.n else 0
        if x.shape[0] != self.n_ch or scale.shape[0] != self.n_f or x.strides[1] != sizeof(float):
            raise_status(-2, f"spectrum of {self.n_ch} rows")
        if n_seg == 0:
            raise_status(-1, "spectrum")
        out = np.empty((self.n_ch, n_seg, self.n_f), np.float32)
        cdef float[:, :, ::1] o = out
        cdef int status
        with nogil:
            status = K.each(self.s, &x[0, 0], stride, n_seg, &scale[0], &o[0, 0, 0])
        raise_status(status, "spectrum")
        return out

    def save(self):
        cdef bytearray out = bytearray(K.size(self.s))
        cdef unsigned char[::1] o = out
        raise_status(K.save(self.s, &o[0]), "spectrum")
        return bytes(out)

    def load(self, const unsigned char[::1] state):
        if state.shape[0] == 0:
            raise_status(-5, "spectrum")
        raise_status(K.load(self.s, &state[0], state.shape[0]), "spectrum")
