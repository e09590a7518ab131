# serves: lifeline_core.dsp
"""Memory for kernels/trigger.c: the states of a stream's rows, and the last of their samples behind the high-pass."""

from libc.stdint cimport int64_t
from libc.string cimport memcpy, memset
from taker cimport LL_BRIEF, ll_fetch, ll_given, ll_piece_most, ll_taker, offered, taken

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
        size_t (*run)(ll_trigger_state *, const ll_trigger_rule *, const float *const *, size_t, size_t, size_t, float *const *,
                      float *const *) noexcept nogil
    const ll_trigger_api *ll_trigger() nogil

cdef const ll_trigger_api *K = ll_trigger()

cdef struct circle:
    float *x  # [row][room]; the next sample goes to `at`, and `have` of those before it are there
    size_t rows, room, at, have


cdef void turn(circle *c, size_t n) noexcept nogil:
    """n samples have been written from `at` on."""
    c.at = (c.at + n) % c.room
    c.have = c.have + n if c.have + n < c.room else c.room


cdef class Past:
    """The last samples of some rows: `span` of them for certain, once so many have come."""

    cdef object memory
    cdef float[:, ::1] view
    cdef circle own
    cdef readonly size_t span

    def __cinit__(self, size_t rows, size_t span):
        if rows < 1 or span < 1:
            raise ValueError(f"past: at least one row and one sample are needed, are {rows} and {span}")
        self.span, self.own.rows, self.own.room = span, rows, span + ll_piece_most(rows)
        self.memory = np.zeros((rows, self.own.room), np.float32)
        self.view = self.memory
        self.own.x = &self.view[0, 0]

    def put(self, x):
        """float32[rows, n] more."""
        if x.shape[0] != self.own.rows:
            raise ValueError(f"past: x must have {self.own.rows} rows, has {x.shape[0]}")
        x = x[:, max(0, x.shape[1] - self.own.room):]
        cdef size_t n = x.shape[1], first = min(n, self.own.room - self.own.at)
        self.memory[:, self.own.at:self.own.at + first] = x[:, :first]
        self.memory[:, :n - first] = x[:, first:]
        turn(&self.own, n)

    def read(self):
        """The last ones, at most `span`: float32[rows, n]."""
        cdef size_t n = min(self.own.have, self.span), begin = (self.own.at + self.own.room - n) % self.own.room
        cdef size_t first = min(n, self.own.room - begin)
        return np.concatenate([self.memory[:, begin:begin + first], self.memory[:, :n - first]], axis=1)

    def clear(self):
        self.own.at = self.own.have = 0


cdef struct rows_taker:
    ll_taker head
    ll_trigger_state *states
    ll_trigger_state *before
    const ll_trigger_rule *rule
    circle *past
    size_t rows, bytes


cdef bint are_quiet(rows_taker *s, const ll_given *g) noexcept nogil:
    """The piece behind the filter goes to the circle; False where a ratio may matter."""
    cdef size_t row = 0, some, begin, n, k
    cdef circle *c = s.past
    cdef const float *x[LL_TRIGGER_ROWS]
    cdef float *y[LL_TRIGGER_ROWS]
    while row < s.rows:
        some = s.rows - row if s.rows - row < LL_TRIGGER_ROWS else LL_TRIGGER_ROWS
        begin = 0
        while begin < g.n:
            n = g.n - begin if begin or g.n <= c.room - c.at else c.room - c.at
            for k in range(some):
                x[k] = g.x[row + k] + begin
                y[k] = c.x + (row + k) * c.room + (0 if begin else c.at)
            if K.run(s.states + row // LL_TRIGGER_ROWS, s.rule, x, some, n, 0, y, NULL) < n:
                return False
            begin += n
        row += LL_TRIGGER_ROWS
    return True


cdef int take_rows(ll_taker *t, const ll_given *g) noexcept nogil:
    cdef rows_taker *s = <rows_taker *> t
    cdef circle *c = s.past
    if t.shut or g.rows != s.rows:
        return 0
    memcpy(s.before, s.states, s.bytes)
    if are_quiet(s, g):
        turn(c, g.n)
        return 1
    memcpy(s.states, s.before, s.bytes)
    if c.have + g.n > c.room:
        c.have = c.room - g.n  # the oldest have been written over
    return 0


cdef void fetch_rows(const ll_taker *t, size_t n) noexcept nogil:
    cdef const rows_taker *s = <const rows_taker *> t
    cdef circle *c = s.past
    cdef size_t row, first = n if n < c.room - c.at else c.room - c.at
    for row in range(s.rows):
        ll_fetch(c.x + row * c.room + c.at, first)
        ll_fetch(c.x + row * c.room, n - first)


cdef class Rows:
    """Rows behind the high-pass g (1 - 1/z)^2 / (1 - a1/z - a2/z^2), and their averages."""

    cdef object memory, before
    cdef Past past
    cdef unsigned char[::1] view, before_view
    cdef ll_trigger_state *states
    cdef ll_trigger_rule rule
    cdef rows_taker own
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
        self.before = np.zeros_like(self.memory)
        self.view, self.before_view = self.memory, self.before
        self.states = <ll_trigger_state *> &self.view[0]

    def taker(self, Past past not None):
        """What may take pieces without a ratio that matters; what is behind the high-pass goes to `past`."""
        if past.own.rows != <size_t> self.n_rows:
            raise ValueError(f"trigger: past must have {self.n_rows} rows, has {past.own.rows}")
        self.past = past
        self.own.head.take, self.own.head.fetch = take_rows, fetch_rows
        self.own.states, self.own.before = self.states, <ll_trigger_state *> &self.before_view[0]
        self.own.rule, self.own.past, self.own.rows, self.own.bytes = &self.rule, &past.own, self.n_rows, self.view.shape[0]
        return offered(self, &self.own.head)

    def shut(self, bint closed):
        """Whether the taker leaves everything alone for now."""
        self.own.head.shut = closed

    def taken(self):
        return taken(&self.own.head)

    def push(self, const float[:, ::1] x, bint whole):
        """y, and ratio or None where it may be below `on` throughout; with ``whole`` the ratio from the first sample on."""
        cdef size_t rows = x.shape[0], n = x.shape[1], c, at, some
        cdef float[:, ::1] out, more
        cdef bint brief = rows * n < LL_BRIEF
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
        cdef const float *from_[LL_TRIGGER_ROWS]
        cdef float *to[LL_TRIGGER_ROWS]
        cdef float *told[LL_TRIGGER_ROWS]
        cdef float **wanted = NULL if ratio == NULL else told
        cdef size_t k
        for k in range(rows):
            from_[k], to[k] = x + k * n, y + k * n
            told[k] = NULL if ratio == NULL else ratio + k * n
        if brief:
            return K.run(s, &self.rule, from_, rows, n, begin, to, wanted)
        with nogil:
            begin = K.run(s, &self.rule, from_, rows, n, begin, to, wanted)
        return begin

    def reset(self):
        memset(self.states, 0, self.view.shape[0])

    def save(self):
        return self.memory.tobytes()

    def load(self, const unsigned char[::1] state):
        if state.shape[0] != self.view.shape[0]:
            raise ValueError(f"trigger: saved state must be {self.view.shape[0]} bytes, is {state.shape[0]}")
        memcpy(self.states, &state[0], self.view.shape[0])
