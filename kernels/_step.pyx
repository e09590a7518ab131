# serves: lifeline_core.pipes
"""Binds kernels/step.c: levels of several channels of one rate followed for steps."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport int64_t, uint32_t, uint64_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcmp, memcpy

import numpy as np

from lifeline_core.errors import StateError, raise_status

cdef extern from "step.h":
    enum: LL_STEP_NONE, LL_STEP_ON
    ctypedef struct ll_step_rule:
        uint32_t size, n_pre, n_post, n_rise, n_gate, n_window, n_ring, n_hold
        double drift, trigger, min_step, allowance, z, reference, threshold
    ctypedef struct ll_step_head:
        uint64_t crossings, fed
        int64_t since, back
        uint32_t open, held
        double sigma, noise
        double a[4]
    ctypedef struct ll_step_event:
        uint32_t what, bins, held
        int64_t back
    ctypedef struct ll_step_api:
        size_t (*room)(const ll_step_rule *) noexcept nogil
        void (*start)(const ll_step_rule *, void *) noexcept nogil
        void (*restart)(const ll_step_rule *, void *) noexcept nogil
        int (*push)(const ll_step_rule *, void *, const float *, size_t, size_t *, float *, ll_step_event *) noexcept nogil
        void (*last)(const ll_step_rule *, const void *, size_t, float *) noexcept nogil
        int (*check)(const ll_step_rule *, const void *) noexcept nogil
    const ll_step_api *ll_step() nogil

cdef const ll_step_api *K = ll_step()

COUNTS = ("size", "n_pre", "n_post", "n_rise", "n_gate", "n_window", "n_ring", "n_hold")
SIZES = ("drift", "trigger", "min_step", "allowance", "z", "reference", "threshold")


cdef class Followers:
    """One follower per row, all under one rule: ``counts`` and ``sizes`` are its fields in the order of COUNTS and SIZES."""

    cdef ll_step_rule rule
    cdef char *states
    cdef float *work
    cdef size_t room
    cdef readonly Py_ssize_t rows

    def __cinit__(self, Py_ssize_t rows, counts, sizes):
        cdef ll_step_rule *r = &self.rule
        cdef Py_ssize_t row
        if rows < 1:
            raise ValueError(f"at least one row is needed, are {rows}")
        r.size, r.n_pre, r.n_post, r.n_rise, r.n_gate, r.n_window, r.n_ring, r.n_hold = counts
        r.drift, r.trigger, r.min_step, r.allowance, r.z, r.reference, r.threshold = sizes
        self.room = K.room(r)
        if self.room == 0:
            raise_status(-3, f"steps by the rule {counts}, {sizes}")
        self.states = <char *>calloc(rows, self.room)
        self.work = <float *>calloc(r.size, sizeof(float))
        if self.states == NULL or self.work == NULL:
            raise MemoryError()
        self.rows = rows
        for row in range(rows):
            K.start(r, self.states + row * self.room)

    def __dealloc__(self):
        free(self.states)
        free(self.work)

    def push(self, const float[:, ::1] x):
        """What can be said of the samples x[rows, n]: (samples used, row, what, bins, back, window), by row."""
        cdef size_t n = x.shape[1], used
        cdef Py_ssize_t row
        cdef int what
        cdef ll_step_event e
        if x.shape[0] != self.rows:
            raise ValueError(f"{self.rows} rows are followed, the block has {x.shape[0]}")
        found = []
        if n == 0:
            return found
        for row in range(self.rows):
            used = 0
            while True:
                with nogil:
                    what = K.push(&self.rule, self.states + row * self.room, &x[row, 0], n, &used, self.work, &e)
                if what == LL_STEP_NONE:
                    break
                window = self.last(row, min(e.held, self.rule.n_window) * self.rule.size) if what == LL_STEP_ON else None
                found.append((used, row, what, e.bins, e.back, window))
        return found

    def restart(self):
        """After a seam in all rows."""
        cdef Py_ssize_t row
        for row in range(self.rows):
            K.restart(&self.rule, self.states + row * self.room)

    cdef const ll_step_head *head(self, Py_ssize_t row) except NULL:
        if not 0 <= row < self.rows:
            raise IndexError(f"row is 0 .. {self.rows - 1}, got {row}")
        return <const ll_step_head *>(self.states + row * self.room)

    def last(self, Py_ssize_t row, size_t n):
        """The newest n samples of a row, float32[n], oldest first; NaN where they are not kept."""
        cdef const ll_step_head *s = self.head(row)
        out = np.empty(n, dtype=np.float32)
        cdef float[::1] to = out
        if n:
            K.last(&self.rule, s, n, &to[0])
        return out

    def kept(self, Py_ssize_t row):
        """Samples of a row that `last` can give."""
        cdef const ll_step_head *s = self.head(row)
        return s.held * self.rule.size + s.open

    def back(self, Py_ssize_t row):
        """Samples from the newest one back to where the level before the first step was met; -1: it was not."""
        cdef const ll_step_head *s = self.head(row)
        return s.since - s.back + s.open if s.back >= 0 else -1

    def learnt(self, Py_ssize_t row):
        """(crossings of the CUSUM, bins learnt from, sigma, noise, autoregression) of a row."""
        cdef const ll_step_head *s = self.head(row)
        return s.crossings, s.fed, s.sigma, s.noise, (s.a[0], s.a[1], s.a[2], s.a[3])

    cdef bytes header(self):
        return b"LLst\1\0\0\0" + PyBytes_FromStringAndSize(<char *>&self.rule, sizeof(ll_step_rule))

    def save(self):
        """The states as bytes."""
        return self.header() + PyBytes_FromStringAndSize(self.states, self.rows * self.room)

    def load(self, bytes state):
        """Goes on from what save() gave; nothing is changed where it does not fit."""
        cdef bytes header = self.header()
        cdef Py_ssize_t size = self.rows * self.room, begin = len(header)
        cdef const char *saved = state
        cdef Py_ssize_t row
        if len(state) != begin + size or memcmp(saved, <const char *>header, begin):
            raise StateError(f"steps: saved state is of another kind, version, rule or number of rows ({len(state)} bytes)")
        # A copy first: bytes begin where they like, the states' numbers do not.
        cdef char *fresh = <char *>calloc(self.rows, self.room)
        if fresh == NULL:
            raise MemoryError()
        memcpy(fresh, saved + begin, size)
        for row in range(self.rows):
            if K.check(&self.rule, fresh + row * self.room) < 0:
                free(fresh)
                raise StateError("steps: saved state is damaged")
        free(self.states)
        self.states = fresh
