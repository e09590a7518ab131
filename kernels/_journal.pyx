# serves: lifeline_core.store
# with: wire.c counts.c
"""Memory and atomics of the frame journal: maps of segments, the one writer, and records as arrays."""

from libc.errno cimport errno
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t
from libc.string cimport memset, strerror
from posix.mman cimport MAP_FAILED, MAP_SHARED, PROT_READ, PROT_WRITE, mmap, munmap

import numpy as np

from lifeline_core.errors import StoreError, raise_status

cdef extern from "journal.h":
    ctypedef struct ll_segment:
        uint64_t start, size, salt
        uint32_t version, seed
        int repaired
    ctypedef struct ll_writer:
        uint8_t *base
        uint64_t start, size, offset, end
        uint32_t seed
    ctypedef struct ll_journal_api:
        void (*format)(uint8_t *, ll_segment *) nogil
        int (*inspect)(const uint8_t *, uint64_t, ll_segment *) nogil
        long (*fit)(const ll_writer *, const int64_t *, const int64_t *, size_t, uint64_t, uint64_t) nogil
        long (*append)(ll_writer *, uint8_t, const uint8_t *, const int64_t *, const int64_t *, const uint32_t *, size_t, size_t) nogil
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
        LL_SEGMENT_HEADER
        LL_RECORD_HEADER
        LL_JOURNAL_VERSION

cdef const ll_journal_api *K = ll_journal()

SEGMENT_HEADER = LL_SEGMENT_HEADER
RECORD_HEADER = LL_RECORD_HEADER
VERSION = LL_JOURNAL_VERSION


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
        cdef void *p = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0)
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

    def zero(self, size_t first, size_t last):
        """Fill bytes [first, last) with zeros."""
        if first > last or last > self.size:
            raise ValueError(f"0 <= first <= last <= {self.size}: {first}, {last}")
        with nogil:
            memset(self.base + first, 0, last - first)

    def format(self, uint64_t start, uint64_t salt):
        """Write both copies of the segment's header; its seed."""
        cdef ll_segment seg
        seg.start = start
        seg.size = self.size
        seg.salt = salt
        K.format(self.base, &seg)
        return seg.seed


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


cdef class Writer:
    """The one writer. ``end`` may be asked from any thread; everything else belongs to the writing thread."""

    cdef ll_writer w
    cdef Mapping mapping

    def __cinit__(self):
        memset(&self.w, 0, sizeof(self.w))

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
        return self.w.offset if self.w.base != NULL else 0

    def open(self, Mapping mapping not None, uint64_t start, uint32_t seed, uint64_t offset):
        """Write into this segment from ``offset`` on."""
        if not LL_SEGMENT_HEADER <= offset <= mapping.size or offset % 8:
            raise ValueError(f"{LL_SEGMENT_HEADER} <= offset <= {mapping.size}, a multiple of 8: {offset}")
        self.mapping = mapping
        self.w.base = mapping.base
        self.w.start = start
        self.w.size = mapping.size
        self.w.offset = offset
        self.w.seed = seed

    def seal(self):
        """Write the end mark and let go of the segment."""
        K.seal(&self.w)
        self.mapping = None

    def release(self):
        """Let go of the segment as it is."""
        self.w.base = NULL
        self.mapping = None

    def fit(self, const uint8_t[::1] buf, const int64_t[::1] offsets, const int64_t[::1] lengths,
            const uint32_t[::1] sources, uint64_t fresh):
        """How many fresh segments of ``fresh`` bytes these records need beyond the one being written."""
        cdef size_t n = offsets.shape[0]
        if <size_t> lengths.shape[0] != n or <size_t> sources.shape[0] != n:
            raise ValueError(f"offsets, lengths and sources are of one length: {n}, {lengths.shape[0]}, {sources.shape[0]}")
        if n == 0:
            return 0
        cdef long found
        cdef uint64_t size = buf.shape[0]
        with nogil:
            found = K.fit(&self.w, &offsets[0], &lengths[0], n, size, fresh)
        if found == -2:
            raise ValueError(f"every payload lies within the buffer of {size} bytes")
        if found == -3:
            raise ValueError(f"no payload is longer than {fresh - 2 * LL_SEGMENT_HEADER - LL_RECORD_HEADER} bytes, what a "
                             f"segment of {fresh} bytes can hold: {max(lengths)}")
        raise_status(found, "journal")
        return found

    def append(self, uint8_t kind, const uint8_t[::1] buf, const int64_t[::1] offsets, const int64_t[::1] lengths,
               const uint32_t[::1] sources, size_t first):
        """Write and publish records from ``first`` until the segment is full; the index of the first one not written.

        The arrays must have passed `fit`.
        """
        cdef size_t n = offsets.shape[0]
        cdef long done
        cdef const uint8_t *p = &buf[0] if buf.shape[0] else NULL
        if first >= n:
            return first
        with nogil:
            done = K.append(&self.w, kind, p, &offsets[0], &lengths[0], &sources[0], first, n)
        return done

    def append_one(self, uint8_t kind, const uint8_t[::1] payload, uint32_t source):
        """Write and publish one record; False where the segment has no room for it."""
        cdef int64_t offset = 0, length = payload.shape[0]
        cdef const uint8_t *p = &payload[0] if length else NULL
        return K.append(&self.w, kind, p, &offset, &length, &source, 0, 1) == 1
