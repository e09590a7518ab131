# serves: lifeline_core.store
# with: wire.c counts.c
"""Files and atomics of the frame journal: maps of segments, the one writer, and records as arrays."""

from cpython.pycapsule cimport PyCapsule_GetPointer
from libc.errno cimport EINTR, EIO, errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.stdlib cimport free, malloc
from libc.string cimport memset, strerror
from posix.mman cimport MAP_FAILED, MAP_SHARED, PROT_READ, mmap, munmap
from posix.types cimport off_t
from posix.unistd cimport close, pwrite

import os

import numpy as np

from lifeline_core.errors import StoreError, raise_status

from pieces cimport LL_PIECES, ll_pieces

cdef extern from "journal.h":
    ctypedef struct ll_segment:
        uint64_t start, size, salt
        uint32_t version, seed
        int repaired
    ctypedef struct ll_writer:
        uint8_t *stage
        uint64_t room, filled, start, size, offset, end
        uint32_t seed
    ctypedef struct ll_journal_api:
        void (*format)(uint8_t *, ll_segment *) nogil
        int (*inspect)(const uint8_t *, uint64_t, ll_segment *) nogil
        long (*fit)(const ll_writer *, const int64_t *, const int64_t *, size_t, uint64_t, uint64_t) nogil
        long (*append)(ll_writer *, uint8_t, const uint8_t *, const int64_t *, const int64_t *, const uint32_t *, size_t, size_t) nogil
        long (*gather)(ll_writer *, uint8_t, const uint8_t *const *, const int64_t *, const uint32_t *, size_t, size_t) nogil
        uint64_t (*needs)(const ll_writer *, uint64_t) nogil
        void (*seal)(ll_writer *) nogil
        uint64_t (*end)(const ll_writer *) nogil
        void (*publish)(ll_writer *, uint64_t) nogil
        uint64_t (*walk)(const uint8_t *, const ll_segment *, uint64_t, uint64_t *, int *) nogil
        uint64_t (*resume)(const uint8_t *, const ll_segment *, uint64_t) nogil
        uint64_t (*trace)(const uint8_t *, const ll_segment *, uint64_t) nogil
        long (*count)(const uint8_t *, uint64_t, uint64_t, uint64_t, uint64_t, uint64_t *) nogil
        void (*index)(const uint8_t *, uint64_t, size_t, uint8_t *, int64_t *, int64_t *, uint32_t *) nogil
        uint32_t (*crc32c)(uint32_t, const void *, size_t) nogil
    const ll_journal_api *ll_journal() nogil
    enum:
        LL_OK
        LL_NOMEM
        LL_SEGMENT_HEADER
        LL_RECORD_HEADER
        LL_JOURNAL_VERSION

cdef const ll_journal_api *K = ll_journal()

SEGMENT_HEADER = LL_SEGMENT_HEADER
RECORD_HEADER = LL_RECORD_HEADER
VERSION = LL_JOURNAL_VERSION

cdef enum:
    PAGE = 4096
    STAGE = 128 << 10  # put together within the cache, written in one call


def crc32c(const uint8_t[::1] data, uint32_t crc=0):
    """CRC-32C (Castagnoli) of ``data``, going on from ``crc``."""
    cdef size_t n = data.shape[0]
    cdef const uint8_t *p = &data[0] if n else NULL
    with nogil:
        crc = K.crc32c(crc, p, n)
    return crc


cdef class Mapping:
    """A file in memory. ``memoryview(mapping)`` is read-only and holds the map; ``exports`` says how many views live."""

    cdef uint8_t *base
    cdef readonly size_t size
    cdef readonly int exports
    cdef Py_ssize_t shape[1]
    cdef Py_ssize_t strides[1]

    def __cinit__(self, int fd, size_t size):
        cdef void *p = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0)
        if p == MAP_FAILED:
            raise StoreError(errno, f"mapping a segment of {size} bytes: {strerror(errno).decode()}")
        self.base = <uint8_t *> p
        self.size = size

    def __dealloc__(self):
        if self.base != NULL:
            munmap(self.base, self.size)

    def __getbuffer__(self, Py_buffer *view, int flags):
        if flags & 1:  # PyBUF_WRITABLE
            raise BufferError("a segment is read-only")
        self.shape[0] = self.size
        self.strides[0] = 1
        view.buf = self.base
        view.obj = self
        view.len = self.size
        view.readonly = 1
        view.itemsize = 1
        view.format = b"B"
        view.ndim = 1
        view.shape = self.shape
        view.strides = self.strides
        view.suboffsets = NULL
        view.internal = NULL
        self.exports += 1

    def __releasebuffer__(self, Py_buffer *view):
        self.exports -= 1


def header(uint64_t start, uint64_t size, uint64_t salt):
    """(the header's bytes, its seed) of a segment; it stands at both ends of the file."""
    cdef ll_segment seg
    cdef uint8_t made[LL_SEGMENT_HEADER]
    seg.start = start
    seg.size = size
    seg.salt = salt
    K.format(made, &seg)
    return made[:LL_SEGMENT_HEADER], seg.seed


cdef ll_segment segment_of(uint64_t start, uint64_t size, uint32_t seed):
    cdef ll_segment seg
    memset(&seg, 0, sizeof(seg))
    seg.start = start
    seg.size = size
    seg.seed = seed
    return seg


cdef const uint8_t *whole(const uint8_t[::1] data, uint64_t size) except NULL:
    if size < 2 * LL_SEGMENT_HEADER or <uint64_t> data.shape[0] < size:
        raise ValueError(f"a segment of {size} bytes in a buffer of {data.shape[0]}")
    return &data[0]


def inspect(const uint8_t[::1] data):
    """(version, start, size, salt, seed, repaired) of a segment's header or its copy; None where neither is sound."""
    cdef ll_segment seg
    memset(&seg, 0, sizeof(seg))
    if data.shape[0] == 0 or K.inspect(&data[0], data.shape[0], &seg) < 0:
        return None
    return seg.version, seg.start, seg.size, seg.salt, seg.seed, bool(seg.repaired)


def walk(const uint8_t[::1] data, uint64_t start, uint64_t size, uint32_t seed, uint64_t first):
    """(offset after the unbroken run of sound records from ``first``, how many, sealed)."""
    cdef ll_segment seg = segment_of(start, size, seed)
    cdef const uint8_t *p = whole(data, size)
    cdef uint64_t records, at
    cdef int sealed
    with nogil:
        at = K.walk(p, &seg, first, &records, &sealed)
    return at, records, bool(sealed)


def resume(const uint8_t[::1] data, uint64_t start, uint64_t size, uint32_t seed, uint64_t first):
    """Offset of the next sound record at or after ``first``, or 0."""
    cdef ll_segment seg = segment_of(start, size, seed)
    cdef const uint8_t *p = whole(data, size)
    cdef uint64_t at
    with nogil:
        at = K.resume(p, &seg, first)
    return at


def trace(const uint8_t[::1] data, uint64_t start, uint64_t size, uint64_t first):
    """Offset after the last thing that looks like a record of this very place; ``first`` where there is none."""
    cdef ll_segment seg = segment_of(start, size, 0)
    cdef const uint8_t *p = whole(data, size)
    cdef uint64_t at
    with nogil:
        at = K.trace(p, &seg, first)
    return at


def records(Mapping mapping not None, uint64_t start, uint64_t first, uint64_t limit, uint64_t max_bytes):
    """(kinds, offsets, lengths, sources, next offset) of published records of [first, limit), at most max_bytes or one."""
    cdef uint64_t following = first
    cdef long n
    if limit > mapping.size:
        raise ValueError(f"limit <= {mapping.size}: {limit}")
    with nogil:
        n = K.count(mapping.base, start, first, limit, max_bytes, &following)
    if n < 0:
        raise ValueError(f"position {start + first} is not the beginning of a record")
    cdef size_t size = max(n, 1)
    cdef uint8_t[::1] kinds = np.empty(size, np.uint8)
    cdef int64_t[::1] offsets = np.empty(size, np.int64)
    cdef int64_t[::1] lengths = np.empty(size, np.int64)
    cdef uint32_t[::1] sources = np.empty(size, np.uint32)
    with nogil:
        K.index(mapping.base, first, n, &kinds[0], &offsets[0], &lengths[0], &sources[0])
    return kinds.base[:n], offsets.base[:n], lengths.base[:n], sources.base[:n], following


cdef int write_all(int fd, const uint8_t *p, size_t n, uint64_t at) noexcept nogil:
    """0, or the errno of the disk's refusal."""
    cdef ssize_t done
    while n:
        done = pwrite(fd, p, n, <off_t> at)
        if done < 0 and errno == EINTR:
            continue
        if done <= 0:
            return errno if done < 0 else EIO
        p += done
        n -= <size_t> done
        at += <uint64_t> done
    return 0


cdef int write_stage(ll_writer *w, int fd) noexcept nogil:
    """What is on the stage into the file; 0, or an errno, and then it is as before. Nothing is published.

    Zeros follow up to the end of the page, so that the kernel need not fetch what an earlier use left there.
    """
    cdef uint64_t stop = w.offset + w.filled, last = (stop + PAGE - 1) & ~<uint64_t> (PAGE - 1)
    cdef int status
    if w.filled == 0:
        return 0
    if last > w.size - LL_SEGMENT_HEADER:
        last = stop
    memset(w.stage + w.filled, 0, last - stop)
    status = write_all(fd, w.stage, last - w.offset, w.offset)
    if status == 0:
        w.offset = stop
    w.filled = 0
    return status


cdef int room_for(ll_writer *w, uint64_t bytes_) noexcept nogil:
    """A larger stage, which is empty now."""
    cdef uint8_t *larger = <uint8_t *> malloc(bytes_ + PAGE)
    if larger == NULL:
        return LL_NOMEM
    free(w.stage)
    w.stage = larger
    w.room = bytes_
    return LL_OK


cdef const ll_pieces *pieces_of(object capsule, size_t first, size_t last) except NULL:
    """What a receive loop holds just now, if [first, last) is a part of it."""
    cdef const ll_pieces *p = <const ll_pieces *> PyCapsule_GetPointer(capsule, LL_PIECES)
    cdef size_t n = p.n[0]
    if not first <= last <= n:
        raise ValueError(f"0 <= first <= last <= {n}, the pieces there are: {first}, {last}")
    return p


cdef class Writer:
    """The one writer. ``end`` may be asked from any thread; everything else belongs to the writing thread."""

    cdef ll_writer w
    cdef int fd

    def __cinit__(self):
        memset(&self.w, 0, sizeof(self.w))
        self.fd = -1
        if room_for(&self.w, STAGE) != LL_OK:
            raise MemoryError(f"a stage of {STAGE} bytes")

    def __dealloc__(self):
        self._let_go()
        free(self.w.stage)

    cdef void _let_go(self) noexcept:
        if self.fd >= 0:
            close(self.fd)
        self.fd = -1
        self.w.size = 0
        self.w.filled = 0

    @property
    def end(self):
        """Position after the last published record."""
        return K.end(&self.w)

    @end.setter
    def end(self, uint64_t position):
        K.publish(&self.w, position)

    @property
    def offset(self):
        """Offset of the next record in the segment being written; 0 where none is."""
        return self.w.offset if self.w.size else 0

    def open(self, path, uint64_t start, uint64_t size, uint32_t seed, uint64_t offset):
        """Write into this segment from ``offset`` on; OSError where the file does not open."""
        if not LL_SEGMENT_HEADER <= offset <= size or offset % 8:
            raise ValueError(f"{LL_SEGMENT_HEADER} <= offset <= {size}, a multiple of 8: {offset}")
        self._let_go()
        self.fd = os.open(path, os.O_WRONLY | os.O_CLOEXEC)
        self.w.start = start
        self.w.size = size
        self.w.offset = offset
        self.w.seed = seed

    def seal(self):
        """Write the end mark and let go of the segment; OSError where the disk refuses, and it is let go of all the same."""
        cdef int status = 0
        if self.w.size:
            K.seal(&self.w)
            status = write_stage(&self.w, self.fd)
        self._let_go()
        if status:
            raise OSError(status, strerror(status).decode())

    def release(self):
        """Let go of the segment as it is."""
        self._let_go()

    def fit(self, const uint8_t[::1] buf, const int64_t[::1] offsets, const int64_t[::1] lengths,
            const uint32_t[::1] sources, uint64_t fresh):
        """How many fresh segments of ``fresh`` bytes these records need beyond the one being written."""
        cdef size_t n = offsets.shape[0]
        if <size_t> lengths.shape[0] != n or <size_t> sources.shape[0] != n:
            raise ValueError(f"offsets, lengths and sources are of one length: {n}, {lengths.shape[0]}, {sources.shape[0]}")
        return self._fit(&offsets[0], &lengths[0], n, buf.shape[0], fresh) if n else 0

    def fit_pieces(self, pieces, size_t first, size_t last, uint64_t fresh):
        """As `fit`, of the pieces [first, last) of a receive loop."""
        cdef const ll_pieces *p = pieces_of(pieces, first, last)
        return self._fit(NULL, p.lengths + first, last - first, 0, fresh)

    cdef long _fit(self, const int64_t *offsets, const int64_t *lengths, size_t n, uint64_t size, uint64_t fresh) except -1:
        cdef long found
        with nogil:
            found = K.fit(&self.w, offsets, lengths, n, size, fresh)
        if found == -2:
            raise ValueError(f"every payload lies within the buffer of {size} bytes")
        if found == -3:
            raise ValueError(f"no payload is longer than {fresh - 2 * LL_SEGMENT_HEADER - LL_RECORD_HEADER} bytes, what a "
                             f"segment of {fresh} bytes can hold: {max([lengths[i] for i in range(n)])}")
        raise_status(<int> found if found < 0 else 0, "journal")
        return found

    def append(self, uint8_t kind, const uint8_t[::1] buf, const int64_t[::1] offsets, const int64_t[::1] lengths,
               const uint32_t[::1] sources, size_t first):
        """Write and publish records from ``first`` until the segment is full; the index of the first one not written.

        The arrays must have passed `fit`. OSError: the disk refused; none of these is published, and what was written of them
        is written over by the next.
        """
        cdef size_t n = offsets.shape[0]
        if first >= n:
            return first
        return self._append(kind, &buf[0] if buf.shape[0] else NULL, &offsets[0], NULL, &lengths[0], &sources[0], first, n)

    def append_pieces(self, uint8_t kind, pieces, size_t first, size_t last):
        """As `append`, of the pieces [first, last) of a receive loop, which must have passed `fit_pieces`."""
        cdef const ll_pieces *p = pieces_of(pieces, first, last)
        if first == last:
            return first
        return self._append(kind, NULL, NULL, p.at, p.lengths, p.sources, first, last)

    def append_one(self, uint8_t kind, const uint8_t[::1] payload, uint32_t source):
        """Write and publish one record; False where the segment has no room for it. Raises as `append`."""
        cdef int64_t offset = 0, length = payload.shape[0]
        return self._append(kind, &payload[0] if length else NULL, &offset, NULL, &length, &source, 0, 1) == 1

    cdef size_t _append(self, uint8_t kind, const uint8_t *p, const int64_t *offsets, const uint8_t *const *at,
                        const int64_t *lengths, const uint32_t *sources, size_t first, size_t n) except? 0:
        """Record i lies at ``p + offsets[i]``, or at ``at[i]`` where that is given."""
        cdef uint64_t before = self.w.offset, needed
        cdef int refused = 0, status = LL_OK
        cdef size_t i = first
        if self.w.size == 0:
            return first
        with nogil:
            while i < n and status == LL_OK:
                needed = K.needs(&self.w, <uint64_t> lengths[i])
                if needed == 0:
                    break
                if needed > self.w.room:
                    status = room_for(&self.w, needed)
                    continue
                if at != NULL:
                    i = <size_t> K.gather(&self.w, kind, at, lengths, sources, i, n)
                else:
                    i = <size_t> K.append(&self.w, kind, p, offsets, lengths, sources, i, n)
                refused = write_stage(&self.w, self.fd)
                if refused:
                    break
        if refused or status != LL_OK:
            self._undo(before)
            if refused:
                raise OSError(refused, strerror(refused).decode())
            raise MemoryError(f"a stage of {needed} bytes")
        if i > first:
            K.publish(&self.w, self.w.start + self.w.offset)
        return i

    cdef void _undo(self, uint64_t before) noexcept:
        """What was written since is no record: zeros stand in the place of the first."""
        cdef uint64_t after = self.w.offset
        self.w.offset = before
        self.w.filled = 0
        if after > before:
            memset(self.w.stage, 0, LL_RECORD_HEADER)
            write_all(self.fd, self.w.stage, LL_RECORD_HEADER, before)
