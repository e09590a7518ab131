# serves: lifeline_core.dsp
"""Memory for kernels/rainflow.c: the stack of one history, cycles as arrays, bins of them."""

from libc.stdint cimport int32_t, int64_t
from libc.string cimport memcpy

import struct

import numpy as np

from lifeline_core.errors import StateError, raise_status

cdef extern from "rainflow.h":
    ctypedef struct ll_history:
        double *stack
        size_t top, cap
        double last
        int64_t seen, bad
        int32_t begun, direction
    ctypedef struct ll_cycles:
        double *ranges
        double *means
        double *counts
        size_t n
        double gate
    ctypedef struct ll_rainflow_bins:
        double range_width, mean_low, mean_width
        size_t n_ranges, n_means
    ctypedef struct ll_rainflow_api:
        size_t (*room)(const ll_history *, size_t) nogil
        int (*push)(ll_history *, const void *, int, size_t, ll_cycles *) nogil
        void (*residue)(const ll_history *, double *, ll_cycles *) nogil
        void (*bin)(const ll_cycles *, const ll_rainflow_bins *, double *) nogil
        int (*reserve)(ll_history *, size_t) nogil
        void (*close)(ll_history *) nogil
    const ll_rainflow_api *ll_rainflow() nogil

cdef const ll_rainflow_api *K = ll_rainflow()

HEAD = struct.Struct("<4sIQqqdii")
MOST = 1 << 62  # samples: a state that says more goes on from here, so that what is counted then still has room
TAG, VERSION = b"LLrf", 1
# Below so many samples the GIL is kept: giving it back costs more than the work.
cdef Py_ssize_t FEW = 4096

ctypedef fused sample:
    float
    double


cdef class History:
    """The open part of one load history."""

    cdef ll_history s
    cdef readonly double gate

    def __cinit__(self, double gate):
        self.gate = gate

    def __dealloc__(self):
        K.close(&self.s)

    @property
    def seen(self):
        return self.s.seen

    @property
    def bad(self):
        return self.s.bad

    @property
    def top(self):
        return self.s.top

    cdef object _room(self, size_t n, ll_cycles *c):
        made = [np.empty(n), np.empty(n), np.empty(n)]
        cdef double[::1] ranges = made[0], means = made[1], counts = made[2]
        c.ranges, c.means, c.counts, c.n, c.gate = &ranges[0], &means[0], &counts[0], 0, self.gate
        return made

    def push(self, const sample[::1] x, bint finish):
        """Ranges, means and counts of what these samples close; with ``finish`` of the residue, too. The state is as without it."""
        cdef ll_cycles c
        cdef size_t n = x.shape[0]
        cdef int status = 0
        made = self._room(K.room(&self.s, n), &c)
        if n >= <size_t> FEW:
            with nogil:
                status = K.push(&self.s, &x[0], sample is double, n, &c)
        elif n:
            status = K.push(&self.s, &x[0], sample is double, n, &c)
        raise_status(status, "rainflow")
        if finish:
            self._finish(&c)
        return _cut(made, c.n)

    cdef _finish(self, ll_cycles *c):
        cdef double[::1] scratch = np.empty(self.s.top + 1)
        K.residue(&self.s, &scratch[0], c)

    def residue(self):
        """Ranges, means and counts of what would be told if the history ended here."""
        cdef ll_cycles c
        made = self._room(K.room(&self.s, 0), &c)
        self._finish(&c)
        return _cut(made, c.n)

    def restart(self):
        self.s.top = 0
        self.s.seen = self.s.bad = 0
        self.s.begun = self.s.direction = 0

    def copy(self):
        cdef History other = History(self.gate)
        cdef double *stack
        raise_status(K.reserve(&other.s, self.s.top), "rainflow")
        if self.s.top:
            memcpy(other.s.stack, self.s.stack, self.s.top * sizeof(double))
        other.s.top, other.s.last, other.s.seen, other.s.bad = self.s.top, self.s.last, self.s.seen, self.s.bad
        other.s.begun, other.s.direction = self.s.begun, self.s.direction
        return other

    def save(self):
        cdef size_t bytes_ = self.s.top * sizeof(double)
        return HEAD.pack(TAG, VERSION, self.s.top, self.s.seen, self.s.bad, self.s.last, self.s.begun,
                         self.s.direction) + (<char *> self.s.stack)[:bytes_]

    def load(self, const unsigned char[::1] data):
        """Go on from what `save` gave; how many of these bytes that were."""
        cdef size_t top, size = data.shape[0], head = HEAD.size
        if size < head or bytes(data[:8]) != HEAD.pack(TAG, VERSION, 0, 0, 0, 0.0, 0, 0)[:8]:
            raise StateError(f"rainflow: saved state is of another version, size or build ({size} bytes)")
        _, _, top, seen, bad, last, begun, direction = HEAD.unpack(bytes(data[:head]))
        stack = np.frombuffer(data, np.uint8, offset=head)
        if (top > (size - head) // sizeof(double) or not 0 <= bad <= seen or begun not in (0, 1)
                or direction not in (-1, 0, 1) or (top > 0) != begun or (direction and not begun)
                or not (np.abs([last, *stack[:top * sizeof(double)].view(np.float64)]) < 2.0**1023).all()):
            raise StateError(f"rainflow: saved state is damaged ({size} bytes)")
        raise_status(K.reserve(&self.s, top), "rainflow")
        if top:
            memcpy(self.s.stack, &data[head], top * sizeof(double))
        self.s.top, self.s.seen, self.s.bad, self.s.last = top, min(seen, MOST), min(bad, MOST), last
        self.s.begun, self.s.direction = begun, direction
        return head + top * sizeof(double)


cdef object _cut(list made, size_t n):
    """The arrays shortened in place: what was never written never took memory."""
    for a in made:
        a.resize(n, refcheck=False)
    return made


def bin_cycles(const double[::1] ranges, const double[::1] means, const double[::1] counts, double range_width, double mean_low,
               double mean_width, double[:, ::1] out):
    """Add cycles to out[n_ranges, n_means]."""
    cdef ll_cycles c
    cdef ll_rainflow_bins b
    if ranges.shape[0] != means.shape[0] or ranges.shape[0] != counts.shape[0] or out.shape[0] < 1 or out.shape[1] < 1:
        raise_status(-2, f"bins of {ranges.shape[0]} cycles")
    if not (range_width > 0.0 and mean_width > 0.0):
        raise_status(-3, f"bins of {range_width} and {mean_width}")
    if ranges.shape[0] == 0:
        return
    c.ranges, c.means, c.counts, c.n = <double *> &ranges[0], <double *> &means[0], <double *> &counts[0], ranges.shape[0]
    b.range_width, b.mean_low, b.mean_width, b.n_ranges, b.n_means = range_width, mean_low, mean_width, out.shape[0], out.shape[1]
    K.bin(&c, &b, &out[0, 0])
