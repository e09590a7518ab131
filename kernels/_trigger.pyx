# serves: lifeline_core.dsp
"""Memory for kernels/trigger.c: the states of a stream's rows. Short work keeps the GIL: another thread may hold it for longer
than the work takes."""

from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset

import numpy as np

cdef extern from "trigger.h":
    enum:
        LL_TRIGGER_ROWS
    ctypedef struct ll_trigger_rule:
        double gain, a1, a2
        double *keep
        double scale, on
        int64_t warm
    ctypedef struct ll_trigger_state:
        double *x
    ctypedef struct ll_trigger_api:
        size_t (*run)(ll_trigger_state *, const ll_trigger_rule *, const float *, size_t, size_t, size_t, float *,
                      float *) noexcept nogil
    const ll_trigger_api *ll_trigger() nogil

cdef const ll_trigger_api *K = ll_trigger()
cdef size_t SHORT = 32768  # samples


cdef class Rows:
    """Rows behind the high-pass g (1 - 1/z)^2 / (1 - a1/z - a2/z^2), and their averages."""

    cdef object memory
    cdef unsigned char[::1] view
    cdef ll_trigger_state *states
    cdef ll_trigger_rule rule
    cdef readonly Py_ssize_t n_rows

    def __cinit__(self, Py_ssize_t n_rows, double gain, double a1, double a2, int64_t n_sta, int64_t n_lta, double on):
        if n_rows < 1:
            raise ValueError(f"trigger: at least one row is needed, are {n_rows}")
        memset(&self.rule, 0, sizeof(self.rule))
        self.n_rows = n_rows
        self.rule.gain, self.rule.a1, self.rule.a2 = gain, a1, a2
        self.rule.keep[0], self.rule.keep[1] = 1.0 - 1.0 / n_sta, 1.0 - 1.0 / n_lta
        self.rule.scale, self.rule.on, self.rule.warm = <double> n_lta / <double> n_sta, on, n_lta
        self.memory = np.zeros((n_rows + LL_TRIGGER_ROWS - 1) // LL_TRIGGER_ROWS * sizeof(ll_trigger_state), np.uint8)
        self.view = self.memory
        self.states = <ll_trigger_state *> &self.view[0]

    def push(self, const float[:, ::1] x, bint whole):
        """y, and ratio or None where it may be below `on` throughout; with ``whole`` the ratio from the first sample on."""
        cdef size_t rows = x.shape[0], n = x.shape[1], c, at, some
        cdef float[:, ::1] out, more
        cdef float *to
        cdef bint brief = rows * n < SHORT
        if x.shape[0] != self.n_rows:
            raise ValueError(f"trigger: x must have {self.n_rows} rows, has {x.shape[0]}")
        y = np.empty((rows, n), np.float32)
        ratio = np.zeros((rows, n), np.float32) if whole else None
        if n == 0:
            return y, ratio
        out = y
        for c in range(0, rows, LL_TRIGGER_ROWS):
            some = rows - c if rows - c < LL_TRIGGER_ROWS else LL_TRIGGER_ROWS
            at = 0 if whole else self._run(c, &x[c, 0], some, n, 0, &out[c, 0], NULL, brief)
            if at == n:
                continue
            if ratio is None:
                ratio = np.zeros((rows, n), np.float32)
            more = ratio
            self._run(c, &x[c, 0], some, n, at, &out[c, 0], &more[c, 0], brief)
        return y, ratio

    cdef size_t _run(self, size_t row, const float *x, size_t rows, size_t n, size_t begin, float *y, float *ratio, bint brief):
        cdef ll_trigger_state *s = self.states + row // LL_TRIGGER_ROWS
        if brief:
            return K.run(s, &self.rule, x, rows, n, begin, y, ratio)
        with nogil:
            begin = K.run(s, &self.rule, x, rows, n, begin, y, ratio)
        return begin

    def reset(self):
        memset(self.states, 0, self.view.shape[0])

    def save(self):
        return self.memory.tobytes()

    def load(self, const unsigned char[::1] state):
        if state.shape[0] != self.view.shape[0]:
            raise ValueError(f"trigger: saved state must be {self.view.shape[0]} bytes, is {state.shape[0]}")
        memcpy(self.states, &state[0], self.view.shape[0])
