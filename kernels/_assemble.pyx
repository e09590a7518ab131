# serves: lifeline_core
# with: wire.c counts.c ring.c handout.c assemble_state.c
"""Binds kernels/assemble.c: frames in, blocks and breaks of joins out."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from cpython.object cimport PyObject_GenericSetAttr
from libc.stdlib cimport free, malloc
from libc.string cimport memcpy
from taker cimport LL_BRIEF, ll_taker, taker_of

import numpy as np

from lifeline_core.errors import raise_status
from lifeline_core.model import Block, Break

cdef extern from "handout.h":
    enum:
        LL_FULL
        LL_FED
        LL_NEEDS_ROOM
        LL_NEEDS_PYTHON
        LL_NEEDS_READERS
        LL_NOTHING
        LL_BLOCK
        LL_REFUSED_COUNT
    ctypedef struct ll_seam:
        uint64_t pos
        int64_t anchor_ns
    ctypedef struct ll_ring:
        uint64_t head
        uint32_t quiet
        uint8_t timed
        int64_t *times
        uint64_t cap
    ctypedef struct ll_cursor:
        int32_t ring
    ctypedef struct ll_crowd "struct ll_crowd":
        uint8_t held
    ctypedef struct ll_last:
        uint64_t turn
        int64_t anchor_ns, index, t_ns
        uint32_t rate_num, rate_den
    ctypedef struct ll_join:
        int32_t n
        uint8_t dirty, listed
        ll_cursor *cursors
        ll_crowd *crowd
        ll_last last
    ctypedef struct ll_piece:
        int32_t kind
        uint64_t n
        int64_t anchor_ns, index, t_ns, lost
        uint32_t rate_num, rate_den, clock_sd_us
        uint8_t flags, reason
    ctypedef struct ll_stream:
        uint32_t device, epoch
        uint16_t channel, n_channels
        uint8_t begun, touched
        uint64_t next_seq
        int64_t record
        int32_t *rows
    ctypedef struct ll_channel:
        uint32_t device
        uint16_t number
        double scale, offset, rate_hz
    ctypedef struct ll_counters:
        uint64_t frames
        uint64_t *refused
    ctypedef struct ll_assembler:
        ll_ring *rings
        ll_join *joins
        ll_stream **streams
        int32_t *fresh_streams
        int32_t *dirty
        int32_t n_channels, n_joins, n_streams, n_fresh, n_dirty, wanted
        uint64_t turn
        ll_counters count
    ctypedef struct ll_outcome:
        int64_t n_refused
        int64_t *refused_record
        int32_t *refused_reason
        int64_t n_greetings
        int64_t *greeting_record
    ctypedef struct ll_assemble_api:
        ll_assembler *(*make)(int32_t, int32_t) noexcept
        void (*destroy)(ll_assembler *) noexcept
        int (*set_channel)(ll_assembler *, int32_t, const ll_channel *, uint64_t) noexcept
        int (*set_join)(ll_assembler *, int32_t, const int32_t *, int32_t, int) noexcept
        int (*seal)(ll_assembler *) noexcept
        int (*feed)(ll_assembler *, const uint8_t *, const int64_t *, const int64_t *, int64_t, int64_t *, int, int, ll_outcome *) noexcept nogil
        uint64_t (*ack)(const ll_stream *) noexcept
        void (*spend)(ll_assembler *, const uint8_t *, size_t) noexcept
        int (*put)(ll_assembler *, int32_t, int64_t, uint32_t, uint32_t, const float *, uint64_t, int) noexcept nogil
        int (*settle)(ll_assembler *, uint32_t, int, int) noexcept nogil
        int (*tick)(ll_assembler *, uint32_t) noexcept nogil
        int (*offer)(ll_assembler *, int32_t, const int32_t *, int32_t, ll_taker **) noexcept
        uint64_t (*waiting)(const ll_assembler *) noexcept
        void (*give)(ll_assembler *) noexcept nogil
        int (*next)(ll_assembler *, int32_t, int, ll_piece *, double *, const int64_t **) noexcept
        void (*copy)(ll_assembler *, int32_t, int, const ll_piece *, float *, int64_t *) noexcept
        int (*split)(ll_assembler *, int32_t, const int32_t *, int32_t) noexcept
        long (*save)(const ll_assembler *, uint8_t *, size_t) noexcept
        int (*load)(ll_assembler *, const uint8_t *, size_t) noexcept
    const ll_assemble_api *ll_assemble()

cdef extern from *:
    """
    #include "assemble.h"
    #define LL_COUNT_NAME(name) #name,
    static const char *const ll_counter_names[] = {LL_COUNTERS(LL_COUNT_NAME) NULL};
    #define LL_REFUSAL_NAME(name, word) word,
    static const char *const ll_refusal_names[] = {"", LL_REFUSALS(LL_REFUSAL_NAME) NULL};
    static const uint64_t *ll_counter_values(const ll_counters *c) { return (const uint64_t *)c; }
    """
    const char *ll_counter_names[]
    const char *ll_refusal_names[]
    const uint64_t *ll_counter_values(const ll_counters *)

cdef const ll_assemble_api *K = ll_assemble()

FED, NEEDS_ROOM, NEEDS_PYTHON, NEEDS_READERS = LL_FED, LL_NEEDS_ROOM, LL_NEEDS_PYTHON, LL_NEEDS_READERS
REASONS = ("going-on", "gap", "epoch", "clock-step", "overflow", "start")
REFUSALS = tuple(ll_refusal_names[i].decode() for i in range(LL_REFUSED_COUNT))
UNSOUND = frozenset(("short", "magic", "header-len", "crc"))


cdef enum:
    MEMBERS = 64  # of a join, whose skews lie on the stack
    NARROW = 3  # bytes of a sample as most devices send it
    FEW = 1000  # streams, joins: so many are as much work as LL_BRIEF samples


cdef _block(x, const ll_piece *piece, t_ns, skew_s):
    """A Block as its own __init__ makes it; that one asks for every field whether it may be set, which takes longer than all else."""
    block = Block.__new__(Block)
    PyObject_GenericSetAttr(block, "x", x)
    PyObject_GenericSetAttr(block, "anchor_ns", piece.anchor_ns)
    PyObject_GenericSetAttr(block, "index", piece.index)
    PyObject_GenericSetAttr(block, "rate_num", piece.rate_num)
    PyObject_GenericSetAttr(block, "rate_den", piece.rate_den)
    PyObject_GenericSetAttr(block, "t_ns", t_ns)
    PyObject_GenericSetAttr(block, "skew_s", skew_s)
    PyObject_GenericSetAttr(block, "flags", piece.flags)
    PyObject_GenericSetAttr(block, "clock_sd_us", piece.clock_sd_us)
    return block


cdef class Assembler:
    """The compiled assembler; see lifeline_core.assemble for its meaning."""

    cdef ll_assembler *a
    cdef list refused_list, greeting_list
    cdef dict offers  # by join: the capsules whose takers it has
    cdef object begun
    cdef int64_t *refused_record  # what a feed says of its records, room for `room` of each
    cdef int64_t *greeting_record
    cdef int32_t *refused_reason
    cdef int64_t room
    cdef uint64_t told  # the turn up to which take_lasts has told

    def __cinit__(self, channels, joins):
        cdef ll_channel c
        cdef int32_t i
        cdef int32_t[::1] members
        self.refused_list, self.greeting_list = [], []
        self.offers, self.told = {}, 0
        self.a = K.make(len(channels), len(joins))
        if self.a == NULL:
            raise MemoryError("assemble: the system gave no memory")
        for i, (device, number, scale, offset, rate_hz, max_cap) in enumerate(channels):
            c.device, c.number, c.scale, c.offset, c.rate_hz = device, number, scale, offset, rate_hz
            raise_status(K.set_channel(self.a, i, &c, max_cap), "assemble")
        for i, (rings, maskable) in enumerate(joins):
            members = np.array(rings, np.int32)
            raise_status(K.set_join(self.a, i, &members[0], <int32_t>members.shape[0], maskable), "assemble")
        raise_status(K.seal(self.a), "assemble")

    def __dealloc__(self):
        if self.a != NULL:
            K.destroy(self.a)
        free(self.refused_record)
        free(self.greeting_record)
        free(self.refused_reason)

    cdef int _make_room(self, int64_t n) except -1:
        if n <= self.room:
            return 0
        free(self.refused_record)
        free(self.greeting_record)
        free(self.refused_reason)
        self.room = 0
        self.refused_record = <int64_t *>malloc(n * sizeof(int64_t))
        self.greeting_record = <int64_t *>malloc(n * sizeof(int64_t))
        self.refused_reason = <int32_t *>malloc(n * sizeof(int32_t))
        if self.refused_record == NULL or self.greeting_record == NULL or self.refused_reason == NULL:
            raise MemoryError("assemble: the system gave no memory")
        self.room = n
        return 0

    def feed(self, const uint8_t[::1] buf, const int64_t[::1] offsets, const int64_t[::1] lengths, int64_t start,
             int force=0, int checked=0):
        """Take records from ``start`` on; (status, next record)."""
        cdef int64_t n = offsets.shape[0], at = start, size = 0, i
        cdef int status
        cdef ll_outcome out
        if lengths.shape[0] != n or not 0 <= start <= n:
            raise ValueError(f"assemble: one length for each offset and a start among them, are {n}, {lengths.shape[0]} and {start}")
        for i in range(start, n):
            if offsets[i] < 0 or lengths[i] < 0 or offsets[i] > buf.shape[0] or lengths[i] > buf.shape[0] - offsets[i]:
                raise ValueError(f"assemble: record {i} must lie within the {buf.shape[0]} bytes, "
                                 f"has offset {offsets[i]} and length {lengths[i]}")
            size += lengths[i]
        if n == 0 or buf.shape[0] == 0:
            return LL_FED, n
        self._make_room(n - start)
        out.n_refused, out.n_greetings = 0, 0
        out.refused_record, out.refused_reason, out.greeting_record = self.refused_record, self.refused_reason, self.greeting_record
        if size < NARROW * LL_BRIEF:
            status = K.feed(self.a, &buf[0], &offsets[0], &lengths[0], n, &at, force, checked, &out)
        else:
            with nogil:
                status = K.feed(self.a, &buf[0], &offsets[0], &lengths[0], n, &at, force, checked, &out)
        for i in range(out.n_refused):
            self.refused_list.append(self._header(buf, offsets, lengths, self.refused_record[i], REFUSALS[self.refused_reason[i]]))
        for i in range(out.n_greetings):
            self.greeting_list.append(self._header(buf, offsets, lengths, self.greeting_record[i], ""))
        raise_status(status, "assemble")
        return status, at

    cdef tuple _header(self, const uint8_t[::1] buf, const int64_t[::1] offsets, const int64_t[::1] lengths, int64_t record, reason):
        cdef uint32_t device = 0, epoch = 0
        cdef uint16_t channel = 0
        cdef uint64_t seq = 0
        if lengths[record] >= 32:
            memcpy(&device, &buf[offsets[record] + 8], 4)
            memcpy(&channel, &buf[offsets[record] + 12], 2)
            memcpy(&epoch, &buf[offsets[record] + 16], 4)
            memcpy(&seq, &buf[offsets[record] + 24], 8)
        return reason, record, device, channel, epoch, seq, reason not in UNSOUND

    def spend(self, const uint8_t[::1] frame, int64_t record, reason):
        """A frame that Python refused is told like the others, and its number is taken."""
        if frame.shape[0]:
            K.spend(self.a, &frame[0], frame.shape[0])
        zeros, length = np.zeros(record + 1, np.int64), np.full(record + 1, frame.shape[0], np.int64)
        self.refused_list.append(self._header(frame, zeros, length, record, reason))

    def take_refused(self):
        """(reason, record, device, channel, epoch, seq, sound) of every frame refused since the last call."""
        out, self.refused_list = self.refused_list, []
        return out

    def take_greetings(self):
        """(device, channel, epoch, record) of every hello since the last call."""
        out, self.greeting_list = self.greeting_list, []
        return [(h[2], h[3], h[4], h[1]) for h in out]

    def take_acks(self):
        """(device, channel, epoch, ack, record) of every stream that moved since the last call."""
        cdef ll_stream *s
        out = []
        for k in range(self.a.n_streams):
            s = self.a.streams[k]
            if s.touched:
                s.touched = 0
                if K.ack(s) > 0:
                    out.append((s.device, s.channel, s.epoch, K.ack(s) - 1, s.record))
        return out

    def take_new_streams(self):
        """Channel numbers (of this assembler) written by each stream that began since the last call."""
        cdef ll_stream *s
        if self.a.n_fresh == 0:
            return ()
        out = []
        for k in range(self.a.n_fresh):
            s = self.a.streams[self.a.fresh_streams[k]]
            out.append([s.rows[i] for i in range(s.n_channels) if s.rows[i] >= 0])
        self.a.n_fresh = 0
        return out

    def offer(self, int32_t join, readers):
        """What takers each reader of a join has (capsules of `taker.pxd`), in their order; none: it takes blocks only."""
        cdef int32_t n_readers = len(readers), sum = 0, at = 0, r
        if not 0 <= join < self.a.n_joins:
            raise IndexError(f"assemble: no join {join}, there are {self.a.n_joins}")
        for one in readers:
            sum += len(one)
        cdef int32_t *n = <int32_t *>malloc((n_readers + 1) * sizeof(int32_t))
        cdef ll_taker **takers = <ll_taker **>malloc((sum + 1) * sizeof(ll_taker *))
        cdef int status
        try:
            if n == NULL or takers == NULL:
                raise MemoryError("assemble: the system gave no memory")
            for r in range(n_readers):
                n[r] = len(readers[r])
                for capsule in readers[r]:
                    takers[at] = taker_of(capsule)
                    at += 1
            status = K.offer(self.a, join, n, n_readers, takers)
        finally:
            free(n)
            free(takers)
        raise_status(status, "assemble")
        self.offers[join] = readers

    def hold(self):
        """Nothing is given to the takers of any join until it is released."""
        cdef int32_t k
        for k in range(self.a.n_joins):
            if self.a.joins[2 * k].crowd != NULL:
                self.a.joins[2 * k].crowd.held = 1

    def is_held(self, int32_t join):
        return self.a.joins[2 * join].crowd != NULL and self.a.joins[2 * join].crowd.held != 0

    def release(self, int32_t join):
        if self.a.joins[2 * join].crowd != NULL:
            self.a.joins[2 * join].crowd.held = 0

    @property
    def wanted(self):
        """The join that NEEDS_READERS asks for; -1: new streams are to be seen to first."""
        return self.a.wanted

    def take_dirty(self):
        """(join, lane) pairs that have something to read in Python, in order; what takers take, they are given here."""
        cdef int32_t i, k
        if K.waiting(self.a) < LL_BRIEF:
            K.give(self.a)
        else:
            with nogil:
                K.give(self.a)
        cdef ll_join *j
        out = []
        for i in range(self.a.n_dirty):
            k = self.a.dirty[i]
            j = &self.a.joins[k]
            if j.dirty:
                out.append((k >> 1, k & 1))
            j.dirty = j.listed = 0
        self.a.n_dirty = 0
        return out

    def take(self, int32_t join, int lane):
        """The next Block or Break of a join, None when it has to wait; `had` says what of it takers have taken."""
        cdef ll_piece piece
        cdef ll_join *j = &self.a.joins[2 * join + lane]
        cdef int32_t n = j.n, i
        if n == 0:
            return None
        cdef double[MEMBERS] few
        cdef double[::1] many
        cdef double *skew = few
        if n > MEMBERS:
            many = np.empty(n)
            skew = &many[0]
        cdef const int64_t *had = NULL
        self.begun = None
        cdef int kind = K.next(self.a, join, lane, &piece, skew, &had)
        if kind == LL_NOTHING:
            return None
        if kind != LL_BLOCK:
            return Break(piece.t_ns, REASONS[piece.reason], piece.lost)
        if had != NULL:
            self.begun = [had[i] for i in range(len(self.offers[join]))]
        x = np.empty((n, piece.n), np.float32)
        cdef float[:, ::1] x_v = x
        cdef int64_t[::1] t_v
        t = None
        if self.a.rings[j.cursors[0].ring].timed:
            t = np.empty(piece.n, np.int64)
            t_v = t
            K.copy(self.a, join, lane, &piece, &x_v[0, 0], &t_v[0])
        else:
            K.copy(self.a, join, lane, &piece, &x_v[0, 0], NULL)
        return _block(x, &piece, t, tuple([skew[i] for i in range(n)]) if n > 1 else (0.0,))

    def had(self):
        """Samples that each reader had of the block that `take` gave last, from its taker; None: nobody any."""
        return self.begun

    def take_lasts(self):
        """(join, time of the last sample its readers were given in lane 0) of every join that went on since the last call, in the
        order in which they did last."""
        cdef int32_t k
        cdef ll_last *s
        found = []
        if self.a.turn == self.told:
            return found
        for k in range(self.a.n_joins):
            s = &self.a.joins[2 * k].last
            if s.turn > self.told:
                found.append((s.turn, k, s.t_ns if s.rate_num == 0 else
                              s.anchor_ns + <object>s.index * <object>s.rate_den * 1_000_000_000 // <object>s.rate_num))
        self.told = self.a.turn
        found.sort()
        return [(join, t_ns) for _, join, t_ns in found]

    def put(self, int32_t channel, int64_t t0_ns, uint32_t num, uint32_t den, const float[::1] x, int force=0):
        """Samples that come without frames; True when taken, False when readers must read first."""
        cdef int status
        if x.shape[0] == 0:
            return True
        if x.shape[0] < LL_BRIEF:
            status = K.put(self.a, channel, t0_ns, num, den, &x[0], x.shape[0], force)
        else:
            with nogil:
                status = K.put(self.a, channel, t0_ns, num, den, &x[0], x.shape[0], force)
        if status == LL_FULL:
            return False
        raise_status(status, "assemble")
        return True

    def settle(self, uint32_t patience, int everything=0, int force=0):
        """Give up holes that nobody fills; False when readers must read first."""
        cdef int status
        if self.a.n_streams < FEW:
            status = K.settle(self.a, patience, everything, force)
        else:
            with nogil:
                status = K.settle(self.a, patience, everything, force)
        if status == LL_FULL:
            return False
        raise_status(status, "assemble")
        return True

    def tick(self, uint32_t patience):
        if self.a.n_joins < FEW:
            K.tick(self.a, patience)
        else:
            with nogil:
                K.tick(self.a, patience)

    def split(self, int32_t join, channels):
        """Channels leave a join for one of their own; its number."""
        cdef int32_t[::1] members = np.array(channels, np.int32)
        cdef int number = K.split(self.a, join, &members[0], <int32_t>members.shape[0])
        raise_status(number, "assemble")
        return number

    def members(self, int32_t join):
        return [self.a.joins[2 * join].cursors[i].ring // 2 for i in range(self.a.joins[2 * join].n)]

    @property
    def n_joins(self):
        return self.a.n_joins

    def quiet(self, int32_t channel):
        """Ticks since this channel's last live sample."""
        return self.a.rings[2 * channel].quiet

    def samples_of(self, int32_t channel):
        """Live samples ever written to this channel."""
        return self.a.rings[2 * channel].head

    def counters(self):
        """Every counter by name, and the refusals by reason."""
        cdef const uint64_t *values = ll_counter_values(&self.a.count)
        out, i = {}, 0
        while ll_counter_names[i] != NULL:
            out[ll_counter_names[i].decode()] = values[i]
            i += 1
        out["refused"] = {REFUSALS[k]: values[i + k] for k in range(1, LL_REFUSED_COUNT) if values[i + k]}
        return out

    def save(self):
        cdef long n = K.save(self.a, NULL, 0)
        out = bytearray(n)
        cdef uint8_t[::1] view = out
        K.save(self.a, &view[0], n)
        return bytes(out)

    def load(self, const uint8_t[::1] state):
        raise_status(K.load(self.a, &state[0] if state.shape[0] else NULL, state.shape[0]), "assemble")
