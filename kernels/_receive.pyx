# serves: lifeline_core.service
# with: peers.c
"""Binding of kernels/receive.h: messages of a ROUTER socket, what is known of them in arrays, and replies, without the GIL."""

import ctypes

import numpy as np

from cpython.bytes cimport PyBytes_FromStringAndSize
from cpython.pycapsule cimport PyCapsule_GetContext, PyCapsule_New, PyCapsule_SetContext
from cpython.ref cimport Py_DECREF, Py_INCREF
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t, uintptr_t
from libc.string cimport memset

from lifeline_core.errors import raise_status

from pieces cimport LL_PIECES, ll_pieces

cdef extern from "receive.h":
    ctypedef struct ll_zmq_msg:
        pass
    ctypedef struct ll_zmq_item:
        pass
    ctypedef struct ll_zmq:
        int (*msg_init)(ll_zmq_msg *) noexcept nogil
        int (*msg_init_size)(ll_zmq_msg *, size_t) noexcept nogil
        int (*msg_recv)(ll_zmq_msg *, void *, int) noexcept nogil
        int (*msg_send)(ll_zmq_msg *, void *, int) noexcept nogil
        void *(*msg_data)(ll_zmq_msg *) noexcept nogil
        size_t (*msg_size)(const ll_zmq_msg *) noexcept nogil
        int (*msg_more)(const ll_zmq_msg *) noexcept nogil
        int (*msg_close)(ll_zmq_msg *) noexcept nogil
        const char *(*msg_gets)(const ll_zmq_msg *, const char *) noexcept nogil
        int (*poll)(ll_zmq_item *, int, long) noexcept nogil
        int (*err)() noexcept nogil
    ctypedef struct ll_receiver:
        ll_zmq zmq
        void *socket
        int wake_fd
        const uint8_t **at
        uint8_t *heads
        int64_t *lengths
        uint32_t *sources
        uint32_t *users
        uint8_t *kinds
        size_t limit, used
        int plain, woken
        const char *keys
        uint32_t n_keys
        long cap, n
        uint64_t messages, bytes, rubbish, waits
        int error
    ctypedef struct ll_receive_api:
        int (*open)(ll_receiver *, uint32_t, uint32_t) noexcept nogil
        void (*close)(ll_receiver *) noexcept nogil
        long (*drain)(ll_receiver *, long, long) noexcept nogil
        int (*reply)(ll_receiver *, const uint32_t *, const uint8_t *, const int64_t *, const int64_t *, long, uint8_t *) noexcept nogil
        void (*forget_users)(ll_receiver *) noexcept nogil
        int (*identity)(const ll_receiver *, uint32_t, uint8_t *, int *) noexcept nogil
    const ll_receive_api *ll_receive()
    enum:
        LL_HEAD

cdef const ll_receive_api *K = ll_receive()

HEAD = LL_HEAD

SYMBOLS = ("zmq_msg_init", "zmq_msg_init_size", "zmq_msg_recv", "zmq_msg_send", "zmq_msg_data", "zmq_msg_size",
           "zmq_msg_more", "zmq_msg_close", "zmq_msg_gets", "zmq_poll", "zmq_errno")


def addresses(str path) -> dict:
    """Addresses of the libzmq functions the loop calls, through the pyzmq extension at `path`; AttributeError where one is missing."""
    library = ctypes.CDLL(path)
    return {name: ctypes.cast(getattr(library, name), ctypes.c_void_p).value for name in SYMBOLS}


cdef ll_zmq functions(dict at):
    """What `addresses` found."""
    cdef ll_zmq z
    z.msg_init = <int (*)(ll_zmq_msg *) noexcept nogil> <uintptr_t> at["zmq_msg_init"]
    z.msg_init_size = <int (*)(ll_zmq_msg *, size_t) noexcept nogil> <uintptr_t> at["zmq_msg_init_size"]
    z.msg_recv = <int (*)(ll_zmq_msg *, void *, int) noexcept nogil> <uintptr_t> at["zmq_msg_recv"]
    z.msg_send = <int (*)(ll_zmq_msg *, void *, int) noexcept nogil> <uintptr_t> at["zmq_msg_send"]
    z.msg_data = <void *(*)(ll_zmq_msg *) noexcept nogil> <uintptr_t> at["zmq_msg_data"]
    z.msg_size = <size_t (*)(const ll_zmq_msg *) noexcept nogil> <uintptr_t> at["zmq_msg_size"]
    z.msg_more = <int (*)(const ll_zmq_msg *) noexcept nogil> <uintptr_t> at["zmq_msg_more"]
    z.msg_close = <int (*)(ll_zmq_msg *) noexcept nogil> <uintptr_t> at["zmq_msg_close"]
    z.msg_gets = <const char *(*)(const ll_zmq_msg *, const char *) noexcept nogil> <uintptr_t> at["zmq_msg_gets"]
    z.poll = <int (*)(ll_zmq_item *, int, long) noexcept nogil> <uintptr_t> at["zmq_poll"]
    z.err = <int (*)() noexcept nogil> <uintptr_t> at["zmq_errno"]
    return z


cdef void forget(object capsule) noexcept:
    Py_DECREF(<object> PyCapsule_GetContext(capsule))


cdef class Loop:
    """One ROUTER socket's compiled loop. Used by one thread; what a drain gave holds until the next."""

    cdef ll_receiver r
    cdef ll_pieces given
    cdef bint is_open
    cdef readonly object heads, lengths, sources, users, kinds
    cdef bytes keys

    def __cinit__(self, dict zmq, uintptr_t socket, int wake_fd, size_t limit, long messages, uint32_t peers,
                  uint32_t first_number, object keys=()):
        memset(&self.r, 0, sizeof(self.r))
        self.heads = np.zeros(messages * LL_HEAD, dtype=np.uint8)
        self.lengths = np.empty(messages, dtype=np.int64)
        self.sources = np.empty(messages, dtype=np.uint32)
        self.users = np.empty(messages, dtype=np.uint32)
        self.kinds = np.empty(messages, dtype=np.uint8)
        cdef uint8_t[::1] heads = self.heads
        cdef int64_t[::1] lengths = self.lengths
        cdef uint32_t[::1] sources = self.sources
        cdef uint32_t[::1] users = self.users
        cdef uint8_t[::1] kinds = self.kinds
        self._know(keys)
        self.r.heads, self.r.lengths = &heads[0], &lengths[0]
        self.r.sources, self.r.users, self.r.kinds = &sources[0], &users[0], &kinds[0]
        self.r.limit = limit
        self.r.cap = messages
        self.r.socket = <void *> socket
        self.r.wake_fd = wake_fd
        self.r.zmq = functions(zmq)
        raise_status(K.open(&self.r, peers, first_number), "receive")
        self.is_open = True
        self.given.at, self.given.n = self.r.at, &self.r.n
        self.given.lengths, self.given.sources = self.r.lengths, self.r.sources

    def _know(self, keys):
        if any(len(key) != 40 or b"\0" in key for key in keys) or list(keys) != sorted(keys):
            raise ValueError("receive: keys must be of 40 characters each and in rising order")
        self.keys = b"".join(key + b"\0" for key in keys)
        self.r.keys, self.r.n_keys = self.keys, len(keys)

    def know(self, keys) -> None:
        """Another list of keys; what the peers had is forgotten."""
        if not self.is_open:
            raise ValueError("receive: the loop is closed")
        self._know(keys)
        K.forget_users(&self.r)

    def close(self) -> None:
        """Give the held messages back; before the socket is closed."""
        if self.is_open:
            self.is_open = False
            K.close(&self.r)

    def __dealloc__(self):
        if self.is_open:
            K.close(&self.r)

    def drain(self, long wait_ms, long gather_us) -> int:
        """Messages now in the arrays; minus an errno where the socket gave an error."""
        if not self.is_open:
            raise ValueError("receive: the loop is closed")
        cdef long n
        with nogil:
            n = K.drain(&self.r, wait_ms, gather_us)
        return n if n >= 0 else -self.r.error

    @property
    def woken(self) -> bool:
        """Whether the last drain found the wake descriptor readable."""
        return bool(self.r.woken)

    @property
    def plain(self) -> bool:
        """Whether every message of the last drain is a frame, none a map or rubbish."""
        return bool(self.r.plain)

    @property
    def size(self) -> int:
        """Bytes of the last drain's payloads."""
        return self.r.used

    def payload(self, long k) -> bytes:
        """Message k of the last drain."""
        if not 0 <= k < self.r.n:
            raise IndexError(f"receive: 0 <= k < {self.r.n}: {k}")
        return PyBytes_FromStringAndSize(<const char *> self.r.at[k], self.r.lengths[k])

    def pieces(self):
        """For `lifeline_core.store._journal.Writer`: a capsule that holds this loop, and tells what its last drain gave."""
        capsule = PyCapsule_New(&self.given, LL_PIECES, forget)
        PyCapsule_SetContext(capsule, <void *> self)
        Py_INCREF(self)
        return capsule

    def reply(self, const uint32_t[::1] numbers, const uint8_t[::1] bodies, const int64_t[::1] offsets,
              const int64_t[::1] lengths, uint8_t[::1] status) -> int:
        """Send body k to connection k; 0, or minus an errno. See receive.h for `status`."""
        cdef long n = numbers.shape[0]
        if not self.is_open:
            raise ValueError("receive: the loop is closed")
        if offsets.shape[0] != n or lengths.shape[0] != n or status.shape[0] != n:
            raise ValueError("receive: one offset, length and status a reply")
        for k in range(n):
            if offsets[k] < 0 or lengths[k] < 0 or lengths[k] > bodies.shape[0] or offsets[k] > bodies.shape[0] - lengths[k]:
                raise ValueError(f"receive: reply {k} lies outside the bodies")
        if n == 0:
            return 0
        cdef int rc
        with nogil:
            rc = K.reply(&self.r, &numbers[0], &bodies[0], &offsets[0], &lengths[0], n, &status[0])
        return -self.r.error if rc < 0 else 0

    def identity(self, uint32_t number):
        """(identity, delimited) behind a connection number, or None."""
        cdef uint8_t out[256]
        cdef int delimited = 0
        cdef int n = K.identity(&self.r, number, out, &delimited)
        return None if n < 0 else (bytes(out[:n]), bool(delimited))

    @property
    def counts(self) -> dict:
        """Since the beginning: messages, bytes, rubbish (messages of a shape that is none of ours), waits."""
        return {"messages": self.r.messages, "bytes": self.r.bytes, "rubbish": self.r.rubbish, "waits": self.r.waits}
