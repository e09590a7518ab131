# serves: lifeline_core.dsp
"""Memory for kernels/stats.c: bins of many rows, and guards that look at rows for flat lines and clipping."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint32_t
from libc.string cimport memcpy
from taker cimport LL_BRIEF, ll_given, ll_taker, offered, taken

import struct

import numpy as np

from lifeline_core.errors import StateError, raise_status

cdef extern from "stats.h":
    ctypedef struct ll_stats_clock:
        int64_t anchor_ns, index, rate_num, rate_den
        const int64_t *t_ns
    ctypedef struct ll_stats_cell:
        int64_t seen
    ctypedef struct ll_stats_row:
        int64_t finite, bad, clipped, longest
        double mean, rms, deviation, low, high, sum, square, crest, skewness, kurtosis
    ctypedef struct ll_stats_guard:
        int64_t run
        int32_t flat, clip
    ctypedef struct ll_stats_rule:
        int64_t flat_need, flat_ns, window_ns, clip_need
        float low, high, rest
    ctypedef struct ll_stats_event:
        int64_t active, sample, t_ns, onset_ns, count
        double value
    ctypedef struct ll_stats_api:
        int (*bin)(const ll_stats_clock *, int64_t, int64_t *, int64_t *) nogil
        void (*open)(ll_stats_cell *, size_t) nogil
        void (*add)(ll_stats_cell *, size_t, const float *, Py_ssize_t, size_t, const float *, const float *) nogil
        void (*read)(const ll_stats_cell *, size_t, ll_stats_row *) nogil
        void (*describe)(const void *, int, size_t, ll_stats_row *) nogil
        size_t (*flat)(ll_stats_guard *, const ll_stats_rule *, const float *, size_t, size_t, const ll_stats_clock *,
                       ll_stats_event *, int *) nogil
        size_t (*clip)(ll_stats_guard *, const ll_stats_rule *, const float *, size_t, size_t, const ll_stats_clock *, int,
                       ll_stats_event *, int *) nogil
    const ll_stats_api *ll_stats() nogil

cdef const ll_stats_api *K = ll_stats()

HEAD = struct.Struct("<4sII")
# By tag: what a state of this build looks like.
VERSIONS = {b"LLSC": 2, b"LLSG": 1}
cdef enum:
    HISTORICAL = 8  # of a block's flags
ROW = np.dtype([("count", "i8"), ("bad", "i8"), ("clipped", "i8"), ("flat_run", "i8"), ("mean", "f8"), ("rms", "f8"),
                ("std", "f8"), ("min", "f8"), ("max", "f8"), ("sum", "f8"), ("sum_sq", "f8"), ("crest", "f8"),
                ("skewness", "f8"), ("kurtosis", "f8")])
CELL = sizeof(ll_stats_cell)
GUARD = sizeof(ll_stats_guard)


def bin_of(int64_t anchor_ns, int64_t index, int64_t rate_num, int64_t rate_den, int64_t bin_ns):
    """The number of the clock-aligned bin that sample `index` lies in, and how many samples from it on share that bin."""
    cdef ll_stats_clock clock
    cdef int64_t number = 0, n = 0
    clock.anchor_ns, clock.index, clock.rate_num, clock.rate_den, clock.t_ns = anchor_ns, index, rate_num, rate_den, NULL
    raise_status(K.bin(&clock, bin_ns, &number, &n), f"bins of {bin_ns} ns at a rate of {rate_num}/{rate_den}")
    return number, n


cdef _rows(const float[:, :] x, Py_ssize_t n_ch):
    if x.shape[0] != n_ch or (x.shape[1] > 1 and x.strides[1] != sizeof(float)):
        raise_status(-2, f"stats of {n_ch} rows")


def _packed(tag, memory):
    return HEAD.pack(tag, VERSIONS[tag], memory.nbytes) + memory.tobytes()


def _unpacked(tag, state, memory):
    state = bytes(state)
    if state[:HEAD.size] != HEAD.pack(tag, VERSIONS[tag], memory.nbytes) or len(state) != HEAD.size + memory.nbytes:
        raise StateError(f"stats: saved state is of another version, size or build ({len(state)} bytes)")
    memory[:] = np.frombuffer(state, np.uint8, offset=HEAD.size)


cdef struct cells_taker:
    ll_taker head  # first: a pointer to it is one to all
    ll_stats_cell *cells
    const float *low
    const float *high
    uint32_t n_ch, rate_num, rate_den
    int64_t anchor_ns, begin, edge  # samples [begin, edge) on this time base lie in the open bin; begin == edge: none is known
    int64_t end  # the sample behind the last one that was taken so


cdef bint lie_within(cells_taker *s, int64_t anchor_ns, int64_t index, int64_t rate_num, int64_t rate_den, size_t n) noexcept nogil:
    """Samples that all lie in the open bin and leave room there."""
    return (index >= s.begin and index + <int64_t> n < s.edge and anchor_ns == s.anchor_ns and rate_num == s.rate_num and
            rate_den == s.rate_den)


cdef int take_cells(ll_taker *t, const ll_given *g) noexcept nogil:
    cdef cells_taker *s = <cells_taker *> t
    cdef uint32_t c
    if t.shut or g.flags & HISTORICAL or g.rows != s.n_ch or not lie_within(s, g.anchor_ns, g.index, g.rate_num, g.rate_den, g.n):
        return 0
    for c in range(s.n_ch):
        K.add(s.cells + c, 1, g.x[c], 0, g.n, s.low + c, s.high + c)
    s.end = g.index + <int64_t> g.n
    return 1


cdef class Cells:
    """The open bin of n_ch rows."""

    cdef object memory
    cdef unsigned char[::1] view
    cdef cells_taker own
    cdef const float[::1] low, high
    cdef readonly Py_ssize_t n_ch

    def __cinit__(self, const float[::1] low, const float[::1] high):
        self.n_ch = low.shape[0]
        if self.n_ch == 0 or high.shape[0] != self.n_ch:
            raise_status(-2, f"stats of {low.shape[0]} low and {high.shape[0]} high ends")
        self.low, self.high = low, high
        self.memory = np.zeros(self.n_ch * CELL, np.uint8)
        self.view = self.memory
        self.own.head.take = take_cells
        self.own.n_ch = <uint32_t> self.n_ch
        self.own.cells, self.own.low, self.own.high = <ll_stats_cell *> &self.view[0], &low[0], &high[0]
        K.open(self.own.cells, self.n_ch)

    def taker(self):
        """What may take pieces that lie `within`; not those of history."""
        return offered(self, &self.own.head)

    def reach(self, int64_t anchor_ns, int64_t begin, int64_t edge, uint32_t rate_num, uint32_t rate_den):
        """Samples [begin, edge) on this time base lie in the open bin; begin == edge: none is known."""
        self.own.anchor_ns, self.own.begin, self.own.edge = anchor_ns, begin, edge
        self.own.rate_num, self.own.rate_den, self.own.end = rate_num, rate_den, begin

    def end_ns(self):
        """Time behind the last sample that was taken by `within` or the taker since `reach`; None: none was."""
        cdef cells_taker *s = &self.own
        if s.end <= s.begin:
            return None
        return s.anchor_ns + <object> s.end * <object> s.rate_den * 1_000_000_000 // <object> s.rate_num

    def within(self, const float[:, :] x, int64_t anchor_ns, int64_t index, int64_t rate_num, int64_t rate_den):
        """As add, if all of it lies in the open bin and leaves room there; otherwise nothing is done."""
        if not lie_within(&self.own, anchor_ns, index, rate_num, rate_den, x.shape[1]):
            return False
        self.add(x)
        self.own.end = index + x.shape[1]
        return True

    @property
    def seen(self):
        return self.own.cells[0].seen

    def renew(self):
        """A new bin; runs go on."""
        K.open(self.own.cells, self.n_ch)

    def add(self, const float[:, :] x):
        cdef size_t n = x.shape[1]
        cdef Py_ssize_t stride = x.strides[0] // sizeof(float)
        _rows(x, self.n_ch)
        if n * self.n_ch >= LL_BRIEF:
            with nogil:
                K.add(self.own.cells, self.n_ch, &x[0, 0], stride, n, &self.low[0], &self.high[0])
        elif n:
            K.add(self.own.cells, self.n_ch, &x[0, 0], stride, n, &self.low[0], &self.high[0])

    def read(self):
        """One record of ROW for each row."""
        rows = np.empty(self.n_ch, ROW)
        cdef unsigned char[::1] out = rows.view(np.uint8)
        K.read(self.own.cells, self.n_ch, <ll_stats_row *> &out[0])
        return rows

    def save(self):
        return _packed(b"LLSC", self.memory)

    def load(self, state):
        _unpacked(b"LLSC", state, self.memory)


ctypedef fused sample:
    float
    double


def describe(const sample[:, ::1] x, rows, Py_ssize_t begin, Py_ssize_t end):
    """Fill records begin .. end of ``rows``, ROW[n_ch], from the rows of x of the same numbers."""
    cdef unsigned char[::1] out = rows.view(np.uint8)
    cdef ll_stats_row *to = <ll_stats_row *> &out[0]
    cdef Py_ssize_t c, n = x.shape[1]
    if begin < 0 or begin > end or end > x.shape[0] or rows.shape[0] != x.shape[0] or n == 0:
        raise_status(-2, f"describe of {x.shape[0]} x {n}")
    if (end - begin) * n < LL_BRIEF:
        for c in range(begin, end):
            K.describe(&x[c, 0], sample is double, n, to + c)
    else:
        with nogil:
            for c in range(begin, end):
                K.describe(&x[c, 0], sample is double, n, to + c)


cdef _told(const ll_stats_event *e):
    return bool(e.active), e.t_ns, e.onset_ns, e.count, e.value


cdef struct guards_taker:
    ll_taker head
    ll_stats_guard *guards
    ll_stats_guard *before
    ll_stats_rule *rules
    uint32_t rows, n_ch, most_sd_us
    uint8_t flat, clip, clipped, refused  # what is looked for; the flag that says so of every sample; flags that others look at


cdef bint is_quiet(guards_taker *s, const ll_given *g) noexcept nogil:
    cdef ll_stats_clock clock
    cdef ll_stats_event event
    cdef uint32_t row
    cdef int found = 0
    clock.anchor_ns, clock.index, clock.rate_num, clock.rate_den = g.anchor_ns, g.index, g.rate_num, g.rate_den
    clock.t_ns = NULL
    for row in range(s.rows if s.flat else 0):
        K.flat(s.guards + row, s.rules + row, g.x[row], 0, g.n, &clock, &event, &found)
        if found:
            return False
    for row in range(s.n_ch if s.clip else 0):
        K.clip(s.guards + row, s.rules + row, g.x[row if row < s.rows else 0], 0, g.n, &clock,
               row == s.n_ch - 1 and g.flags & s.clipped, &event, &found)
        if found:
            return False
    return True


cdef int take_guards(ll_taker *t, const ll_given *g) noexcept nogil:
    cdef guards_taker *s = <guards_taker *> t
    if t.shut or g.flags & s.refused or g.rows != s.rows or g.clock_sd_us > s.most_sd_us:
        return 0
    memcpy(s.before, s.guards, s.n_ch * sizeof(ll_stats_guard))
    if is_quiet(s, g):
        return 1
    memcpy(s.guards, s.before, s.n_ch * sizeof(ll_stats_guard))
    return 0


cdef class Guards:
    """Flat lines and clipping of n_ch rows; `rules` has one (flat_need, flat_ns, window_ns, clip_need, low, high, rest) each."""

    cdef object memory, rule_memory, before
    cdef unsigned char[::1] view, rule_view, before_view
    cdef ll_stats_guard *guards
    cdef ll_stats_rule *rules
    cdef guards_taker own
    cdef readonly Py_ssize_t n_ch

    def __cinit__(self, rules):
        self.n_ch = len(rules)
        if self.n_ch == 0:
            raise_status(-1, "guards")
        self.memory = np.zeros(self.n_ch * GUARD, np.uint8)
        self.rule_memory = np.zeros(self.n_ch * sizeof(ll_stats_rule), np.uint8)
        self.before = np.zeros(self.n_ch * GUARD, np.uint8)
        self.view, self.rule_view, self.before_view = self.memory, self.rule_memory, self.before
        self.guards = <ll_stats_guard *> &self.view[0]
        self.rules = <ll_stats_rule *> &self.rule_view[0]
        self.own.head.take = take_guards
        self.own.guards, self.own.rules, self.own.before = self.guards, self.rules, <ll_stats_guard *> &self.before_view[0]
        cdef ll_stats_rule *r
        for i, rule in enumerate(rules):
            r = self.rules + <Py_ssize_t> i
            r.flat_need, r.flat_ns, r.window_ns, r.clip_need, r.low, r.high, r.rest = rule

    def taker(self, Py_ssize_t rows, bint flat, bint clip, uint8_t clipped, uint8_t refused, uint32_t most_sd_us):
        """What may take pieces of so many rows that betray nothing: flags `clipped` says that every sample of the last row is, with
        flags `refused` or a clock worse than `most_sd_us` they are left alone."""
        if not 0 < rows <= self.n_ch:
            raise_status(-2, f"guards of {self.n_ch} rows")
        self.own.rows, self.own.n_ch, self.own.most_sd_us = <uint32_t> rows, <uint32_t> self.n_ch, most_sd_us
        self.own.flat, self.own.clip, self.own.clipped, self.own.refused = flat, clip, clipped, refused
        return offered(self, &self.own.head)

    def shut(self, bint closed):
        """Whether the taker leaves everything alone for now."""
        self.own.head.shut = closed

    def taken(self):
        return taken(&self.own.head)

    def push(self, const float[:, :] x, int64_t anchor_ns, int64_t index, int64_t rate_num, int64_t rate_den,
             const int64_t[::1] t_ns=None, bint flat=True, bint clip=True, bint flagged=False):
        """Events of this block: (row, "flat" or "clip", active, t_ns, onset_ns, count, value), row by row.

        `flagged`: the device says that every sample of the last row is clipped.
        """
        cdef ll_stats_clock clock
        cdef ll_stats_event event
        cdef Py_ssize_t row, stride = x.strides[0] // sizeof(float), rows = x.shape[0]
        cdef size_t i, n = x.shape[1]
        cdef int found, all_of_it
        cdef const float *own
        if rows > self.n_ch or (n > 1 and x.strides[1] != sizeof(float)) or (t_ns is not None and <size_t> t_ns.shape[0] != n):
            raise_status(-2, f"guards of {self.n_ch} rows")
        events = []
        if n == 0:
            return events
        clock.anchor_ns, clock.index, clock.rate_num, clock.rate_den = anchor_ns, index, rate_num, rate_den
        clock.t_ns = NULL
        if t_ns is not None:
            clock.t_ns = &t_ns[0]
        cdef bint few = <Py_ssize_t> n * rows < LL_BRIEF
        for row in range(rows if flat else 0):
            i = 0
            while i < n:
                if few:
                    i = K.flat(self.guards + row, self.rules + row, &x[row, 0], i, n, &clock, &event, &found)
                else:
                    with nogil:
                        i = K.flat(self.guards + row, self.rules + row, &x[row, 0], i, n, &clock, &event, &found)
                if found:
                    events.append((row, "flat", *_told(&event)))
        for row in range(self.n_ch if clip else 0):
            own = &x[row if row < rows else 0, 0]
            all_of_it = flagged and row == self.n_ch - 1
            i = 0
            while i < n:
                if few:
                    i = K.clip(self.guards + row, self.rules + row, own, i, n, &clock, all_of_it, &event, &found)
                else:
                    with nogil:
                        i = K.clip(self.guards + row, self.rules + row, own, i, n, &clock, all_of_it, &event, &found)
                if found:
                    events.append((row, "clip", *_told(&event)))
        return events

    def seam(self):
        """Times before and after are not comparable: runs that are not flat yet begin again."""
        cdef Py_ssize_t row
        for row in range(self.n_ch):
            if not self.guards[row].flat:
                self.guards[row].run = 0

    def save(self):
        return _packed(b"LLSG", self.memory)

    def load(self, state):
        _unpacked(b"LLSG", state, self.memory)
