# serves: lifeline_core.dsp
"""Memory for kernels/polarity.c: signs of two channels as bits, counted for every lag."""

from libc.stdint cimport int64_t

import numpy as np

from lifeline_core.errors import raise_status

cdef extern from "polarity.h":
    ctypedef struct ll_polarity_bits:
        pass
    ctypedef struct ll_polarity_api:
        ll_polarity_bits *(*open)(size_t) nogil
        void (*close)(ll_polarity_bits *) nogil
        void (*reset)(ll_polarity_bits *) nogil
        int (*push)(ll_polarity_bits *, const float *, const float *, size_t) nogil
        int (*restart)(ll_polarity_bits *) nogil
        int (*read)(const ll_polarity_bits *, int64_t *, int64_t *) nogil
        size_t (*size)(const ll_polarity_bits *) nogil
        int (*save)(const ll_polarity_bits *, unsigned char *) nogil
        int (*load)(ll_polarity_bits *, const unsigned char *, size_t) nogil
    const ll_polarity_api *ll_polarity() nogil
    enum: LL_POLARITY_MOST

cdef const ll_polarity_api *K = ll_polarity()

MOST = LL_POLARITY_MOST  # largest max_lag
cdef Py_ssize_t SMALL = 4096  # samples: below, giving the GIL away costs more than it is worth


cdef class Bits:
    """The counts of two channels so far, and the bits that wait."""

    cdef ll_polarity_bits *s
    cdef readonly Py_ssize_t max_lag

    def __cinit__(self, Py_ssize_t max_lag):
        if max_lag < 0 or max_lag > LL_POLARITY_MOST:
            raise_status(-3, f"polarity of lags up to {max_lag}")
        self.s, self.max_lag = K.open(max_lag), max_lag
        if self.s is NULL:
            raise_status(-4, "polarity")

    def __dealloc__(self):
        K.close(self.s)

    def push(self, const float[::1] a, const float[::1] b):
        cdef Py_ssize_t n = a.shape[0]
        cdef int status
        if b.shape[0] != n:
            raise_status(-2, "polarity")
        if n == 0:
            return
        if n < SMALL:
            status = K.push(self.s, &a[0], &b[0], n)
        else:
            with nogil:
                status = K.push(self.s, &a[0], &b[0], n)
        raise_status(status, "polarity")

    def restart(self):
        raise_status(K.restart(self.s), "polarity")

    def reset(self):
        K.reset(self.s)

    def read(self):
        """How many pairs there are at each lag, and how many of them are unlike, int64[2 max_lag + 1] each."""
        pairs, unlike = np.empty(2 * self.max_lag + 1, np.int64), np.empty(2 * self.max_lag + 1, np.int64)
        cdef int64_t[::1] p = pairs, u = unlike
        cdef int status
        with nogil:
            status = K.read(self.s, &p[0], &u[0])
        raise_status(status, "polarity")
        return pairs, unlike

    def save(self):
        cdef bytearray out = bytearray(K.size(self.s))
        cdef unsigned char[::1] o = out
        raise_status(K.save(self.s, &o[0]), "polarity")
        return bytes(out)

    def load(self, const unsigned char[::1] state):
        if state.shape[0] == 0:
            raise_status(-5, "polarity")
        raise_status(K.load(self.s, &state[0], state.shape[0]), "polarity")
