# serves: lifeline_core.detectors
"""Binds kernels/level.c: machines of ordered limits and the slopes they can watch, one per row of a block."""

from cpython.bytes cimport PyBytes_FromStringAndSize
from libc.stdint cimport INT64_MIN, int8_t, int32_t, int64_t, uint32_t
from libc.stdlib cimport calloc, free
from libc.string cimport memcpy
from taker cimport LL_BRIEF, ll_given, ll_taker, offered

from lifeline_core.errors import StateError, raise_status

cdef extern from "level.h":
    enum: LL_LEVEL_RANKS, LL_SLOPE_ROOM
    ctypedef struct ll_level_clock:
        int64_t anchor_ns, index, num, den
        const int64_t *t_ns
    ctypedef struct ll_level_rule:
        float bound[2][4]
        float clear[2]
        int32_t n[2]
        int32_t strict
        int64_t on_ns, off_ns, hold_ns
    ctypedef struct ll_level_state:
        int8_t side, rank
    ctypedef struct ll_level_event:
        int64_t t_ns, onset_ns
        float x, peak
        int8_t what, side, rank
    ctypedef struct ll_slope_state:
        int64_t *t
        float *x
        int64_t next_ns, last_ns
        int32_t head, count
    ctypedef struct ll_level_api:
        void (*start)(ll_level_state *) noexcept nogil
        int (*push)(ll_level_state *, const ll_level_rule *, const float *, const ll_level_clock *, size_t, size_t *,
                    ll_level_event *, int) noexcept nogil
        void (*slope_start)(ll_slope_state *) noexcept nogil
        int (*slope)(ll_slope_state *, int64_t, int64_t, double, const float *, const ll_level_clock *, size_t,
                     float *) noexcept nogil
    const ll_level_api *ll_level() nogil

cdef const ll_level_api *K = ll_level()
cdef enum: ROOM = 64

EVENTS = ("raise", "rise", "end")
SIDES = ("above", "below")


cdef ll_level_clock clock_of(block, Py_ssize_t n) except *:
    """Sample times of a block; its own int64 array stays alive with the block."""
    cdef ll_level_clock c
    cdef const int64_t[::1] t
    c.t_ns = NULL
    c.anchor_ns = c.index = 0
    c.num = c.den = 1
    if block.t_ns is None:
        c.anchor_ns, c.index, c.num, c.den = block.anchor_ns, block.index, block.rate_num, block.rate_den
        if c.num <= 0 or c.den <= 0:
            raise ValueError(f"the rate must be positive, is {block.rate_num}/{block.rate_den}")
    else:
        t = block.t_ns
        if t.shape[0] != n:
            raise ValueError(f"one time per sample: {t.shape[0]} times for {n} samples")
        c.t_ns = &t[0] if n else NULL
    return c


cdef _header(bytes tag, uint32_t version, Py_ssize_t size):
    return tag + int(version).to_bytes(4, "little") + int(size).to_bytes(4, "little")


cdef _body(bytes tag, uint32_t version, bytes state):
    """What follows the header; StateError unless tag, version and size are those of this build."""
    if len(state) < 12 or state[:12] != _header(tag, version, len(state) - 12):
        raise StateError(f"{tag.decode()}: saved state is of another kind, version or size ({len(state)} bytes)")
    return state[12:]


cdef struct machines_taker:
    ll_taker head
    ll_level_state *states
    ll_level_state *before
    const ll_level_rule *rule
    uint32_t rows


cdef int take_machines(ll_taker *t, const ll_given *g) noexcept nogil:
    cdef machines_taker *s = <machines_taker *> t
    cdef ll_level_event out[ROOM]
    cdef ll_level_clock clock
    cdef size_t used
    cdef uint32_t row
    if g.rows != s.rows or g.rate_num == 0 or g.rate_den == 0:
        return 0
    clock.anchor_ns, clock.index, clock.num, clock.den, clock.t_ns = g.anchor_ns, g.index, g.rate_num, g.rate_den, NULL
    memcpy(s.before, s.states, s.rows * sizeof(ll_level_state))
    for row in range(s.rows):
        used = 0
        if K.push(&s.states[row], s.rule, g.x[row], &clock, g.n, &used, out, ROOM):
            memcpy(s.states, s.before, s.rows * sizeof(ll_level_state))
            return 0
    return 1


cdef class Machines:
    """One machine of ordered limits per row, all under one rule.

    ``above`` and ``below`` are bounds from mild to extreme, ``clear`` the two values at which an alarm is over.
    """

    cdef ll_level_rule rule
    cdef ll_level_state *states
    cdef machines_taker own
    cdef readonly int rows

    def __cinit__(self, int rows, above, below, clear, bint strict, int64_t on_ns, int64_t off_ns, int64_t hold_ns):
        if rows < 1:
            raise ValueError(f"at least one row is needed, are {rows}")
        self.states = <ll_level_state *>calloc(2 * rows, sizeof(ll_level_state))  # the second half is the taker's
        if self.states == NULL:
            raise MemoryError
        self.rows = rows
        self.own.head.take, self.own.states, self.own.before = take_machines, self.states, self.states + rows
        self.own.rule, self.own.rows = &self.rule, rows
        self.rule.strict, self.rule.on_ns, self.rule.off_ns, self.rule.hold_ns = strict, on_ns, off_ns, hold_ns
        for side, (sign, bounds) in enumerate(((1, above), (-1, below))):
            if len(bounds) > LL_LEVEL_RANKS:
                raise ValueError(f"at most {LL_LEVEL_RANKS} limits a side, are {len(bounds)}")
            self.rule.n[side] = len(bounds)
            for k, bound in enumerate(bounds):
                self.rule.bound[side][k] = sign * bound
            self.rule.clear[side] = sign * clear[side]
        for row in range(rows):
            K.start(&self.states[row])

    def __dealloc__(self):
        free(self.states)

    def taker(self):
        """What takes pieces that make no event."""
        return offered(self, &self.own.head)

    def push(self, const float[:, ::1] x, block):
        """Events of the samples x, whose times are the block's: (t_ns, row, what, side, rank, x, peak, onset_ns), in that order."""
        cdef ll_level_event out[ROOM]
        cdef ll_level_event *e
        cdef size_t n = x.shape[1], used
        cdef ll_level_clock clock = clock_of(block, n)
        cdef int row, made, i
        if x.shape[0] != self.rows:
            raise ValueError(f"{self.rows} rows are watched, the block has {x.shape[0]}")
        events = []
        if n == 0:
            return events
        for row in range(self.rows):
            used = 0
            while used < n:
                if n < LL_BRIEF:
                    made = K.push(&self.states[row], &self.rule, &x[row, 0], &clock, n, &used, out, ROOM)
                else:
                    with nogil:
                        made = K.push(&self.states[row], &self.rule, &x[row, 0], &clock, n, &used, out, ROOM)
                raise_status(made, "level")
                for i in range(made):
                    e = &out[i]
                    events.append((e.t_ns, row, e.what, e.side, e.rank, e.x, e.peak, e.onset_ns))
        if self.rows > 1:
            events.sort(key=lambda event: event[:2])  # as if the samples had come one by one
        return events

    def save(self):
        """The states as bytes."""
        cdef Py_ssize_t size = self.rows * sizeof(ll_level_state)
        return _header(b"LLlv", 1, size) + PyBytes_FromStringAndSize(<char *>self.states, size)

    def load(self, bytes state):
        """Goes on from what save() gave."""
        cdef bytes body = _body(b"LLlv", 1, state)
        cdef const ll_level_state *saved = <const ll_level_state *><const char *>body
        cdef Py_ssize_t size = self.rows * sizeof(ll_level_state)
        if len(body) != size:
            raise StateError(f"level: saved state is not of {self.rows} rows")
        for row in range(self.rows):
            side, rank = saved[row].side, saved[row].rank
            if not -1 <= side <= 1 or (rank != -1 if side == -1 else not 0 <= rank < self.rule.n[side]):
                raise StateError(f"level: saved state names limit {rank} of side {side}, which is not configured")
        memcpy(self.states, saved, size)


cdef class Slopes:
    """Mean slope of each row over a window; see `Machines` for the shapes."""

    cdef ll_slope_state *states
    cdef int64_t window_ns, hold_ns
    cdef double per_ns
    cdef readonly int rows

    def __cinit__(self, int rows, int64_t window_ns, int64_t hold_ns, double per_ns):
        if rows < 1:
            raise ValueError(f"at least one row is needed, are {rows}")
        self.states = <ll_slope_state *>calloc(rows, sizeof(ll_slope_state))
        if self.states == NULL:
            raise MemoryError
        self.rows, self.window_ns, self.hold_ns, self.per_ns = rows, window_ns, hold_ns, per_ns
        for row in range(rows):
            K.slope_start(&self.states[row])

    def __dealloc__(self):
        free(self.states)

    def push(self, const float[:, ::1] x, block, float[:, ::1] out):
        """Fills ``out`` with the slope at every sample, NaN where there is none."""
        cdef size_t n = x.shape[1]
        cdef ll_level_clock clock = clock_of(block, n)
        cdef int row, status = 0
        if x.shape[0] != self.rows or out.shape[0] != self.rows or out.shape[1] != x.shape[1]:
            raise ValueError(f"{self.rows} rows are watched, the block has {x.shape[0]}")
        if n == 0:
            return
        for row in range(self.rows):
            if n < LL_BRIEF:
                status = K.slope(&self.states[row], self.window_ns, self.hold_ns, self.per_ns, &x[row, 0], &clock, n,
                                 &out[row, 0])
            else:
                with nogil:
                    status = K.slope(&self.states[row], self.window_ns, self.hold_ns, self.per_ns, &x[row, 0], &clock, n,
                                     &out[row, 0])
            if status < 0:
                break
        raise_status(status, "slope")

    def save(self):
        """The kept samples and positions as bytes; a slow channel's are few, so they are written one by one."""
        cdef int row, k, at
        cdef ll_slope_state *s
        parts = []
        for row in range(self.rows):
            s = &self.states[row]
            parts.append(PyBytes_FromStringAndSize(<char *>&s.next_ns, 8) + PyBytes_FromStringAndSize(<char *>&s.last_ns, 8)
                         + PyBytes_FromStringAndSize(<char *>&s.count, 4))
            for k in range(s.count):
                at = (s.head + k) % LL_SLOPE_ROOM
                parts.append(PyBytes_FromStringAndSize(<char *>&s.t[at], 8) + PyBytes_FromStringAndSize(<char *>&s.x[at], 4))
        body = b"".join(parts)
        return _header(b"LLsl", 1, len(body)) + body

    def load(self, bytes state):
        """Goes on from what save() gave; nothing is changed where it does not fit."""
        cdef bytes body = _body(b"LLsl", 1, state)
        cdef const char *p = body
        cdef Py_ssize_t at = 0, end = len(body)
        cdef int row, k, turn
        cdef int32_t count
        cdef ll_slope_state *s
        for turn in range(2):  # first the lengths, then the samples
            at = 0
            for row in range(self.rows):
                if at + 20 > end:
                    raise StateError(f"slope: saved state is not of {self.rows} rows")
                memcpy(&count, p + at + 16, 4)
                if count < 0 or count > LL_SLOPE_ROOM or at + 20 + 12 * count > end:
                    raise StateError("slope: saved state is damaged")
                if turn:
                    s = &self.states[row]
                    K.slope_start(s)
                    memcpy(&s.next_ns, p + at, 8)
                    memcpy(&s.last_ns, p + at + 8, 8)
                    s.count = count
                    for k in range(count):
                        memcpy(&s.t[k], p + at + 20 + 12 * k, 8)
                        memcpy(&s.x[k], p + at + 28 + 12 * k, 4)
                at += 20 + 12 * count
            if at != end:
                raise StateError(f"slope: saved state is not of {self.rows} rows")
