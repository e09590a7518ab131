# serves: lifeline_core
# with: counts.c
"""LLF1 frames in compiled code: CRC-32C, the checked header, samples as arrays, and packing."""

from libc.stdint cimport int32_t, int64_t, uint8_t, uint16_t, uint32_t, uint64_t
from libc.string cimport memcpy, memset

from cpython.bytes cimport PyBytes_AS_STRING, PyBytes_FromStringAndSize

import numpy as np

from lifeline_core.errors import raise_status

cdef extern from "Python.h":
    const Py_ssize_t PY_SSIZE_T_MAX

cdef extern from "<string.h>" nogil:
    void *memmem(const void *, size_t, const void *, size_t)

cdef extern from "wire.h":
    """
    static const char *const ll_words[] = {"",
    #define X(name, word) word,
    LL_REFUSALS(X)
    #undef X
    };
    """
    ctypedef struct ll_frame:
        uint8_t type, encoding, flags
        uint16_t header_len, channel, n_channels
        uint32_t device, epoch, clock_sd_us, rate_num, rate_den, n_samples, crc
        uint64_t seq, sample_index
        int64_t t0_ns
        const uint8_t *payload
        size_t payload_len
    ctypedef struct ll_wire_api:
        int (*parse)(const uint8_t *, size_t, ll_frame *) nogil
        int (*row)(const ll_frame *, uint32_t, double, double, float *) nogil
        int (*timed_row)(const ll_frame *, uint32_t, double, double, int64_t *, float *) nogil
        uint32_t (*crc32c)(uint32_t, const void *, size_t) nogil
        long (*pack)(const ll_frame *, uint8_t *, size_t) nogil
        size_t (*span)(const uint8_t *, size_t) nogil
        const uint8_t *(*unpack)(const ll_frame *, const uint8_t *, int32_t *) nogil
        size_t (*squeeze)(const int32_t *, uint32_t, uint8_t *) nogil
    const ll_wire_api *ll_wire() nogil
    enum:
        LL_REFUSED_COUNT
    const char *const *ll_words

cdef const ll_wire_api *K = ll_wire()

# The words of the counters; a kernel's refusal -r is REFUSALS[r], and REFUSALS[0] is "" (not refused).
REFUSALS = tuple(ll_words[i].decode() for i in range(LL_REFUSED_COUNT))
# The fields of parse's tuple, in its order.
FIELDS = ("header_len", "type", "encoding", "flags", "device", "channel", "n_channels", "epoch", "clock_sd_us", "seq",
          "sample_index", "t0_ns", "rate_num", "rate_den", "n_samples", "crc32c")
# What samples are made of, by encoding; int24 and packed samples come out as int32.
RAW = {1: np.dtype("<i2"), 2: np.dtype("<i4"), 3: np.dtype("<i4"), 4: np.dtype("<f4"), 5: np.dtype("<f8"), 6: np.dtype("<f8"),
       16: np.dtype("<i4")}
TIMED = np.dtype([("t_ns", "<i8"), ("value", "<f8")])


def crc32c(const uint8_t[::1] data, uint32_t crc=0):
    """CRC-32C (Castagnoli) of ``data``, going on from ``crc``."""
    cdef size_t n = data.shape[0]
    cdef const uint8_t *p = &data[0] if n else NULL
    with nogil:
        crc = K.crc32c(crc, p, n)
    return crc


cdef tuple fields(const ll_frame *f):
    return (f.header_len, f.type, f.encoding, f.flags, f.device, f.channel, f.n_channels, f.epoch, f.clock_sd_us, f.seq,
            f.sample_index, f.t0_ns, f.rate_num, f.rate_den, f.n_samples, f.crc)


def parse(const uint8_t[::1] data):
    """The header as a tuple in the order of FIELDS, or the word of the refusal."""
    word, header = look(data)
    return word or header


def look(const uint8_t[::1] data):
    """``(word, header)``: the word is "" for a sound frame, the header None where not even its length could be trusted."""
    cdef ll_frame f
    cdef size_t n = data.shape[0]
    cdef const uint8_t *p = &data[0] if n else NULL
    cdef int status
    f.payload = NULL  # the kernel fills all of f once magic and header_len are right
    with nogil:
        status = K.parse(p, n, &f)
    return REFUSALS[-status], fields(&f) if f.payload != NULL else None


def parse_batch(const uint8_t[::1] data, const int64_t[::1] offsets, const int64_t[::1] lengths):
    """For each ``data[offset : offset + length]`` the number of its refusal in REFUSALS, 0 for a frame: int32[n]."""
    cdef Py_ssize_t i, n = offsets.shape[0], size = data.shape[0]
    if lengths.shape[0] != n:
        raise ValueError(f"offsets and lengths must be of one length, got {n} and {lengths.shape[0]}")
    out = np.zeros(n, np.int32)
    cdef int32_t[::1] verdicts = out
    cdef ll_frame f
    cdef const uint8_t *p = &data[0] if size else NULL
    for i in range(n):
        if offsets[i] < 0 or lengths[i] < 0 or offsets[i] > size or lengths[i] > size - offsets[i]:
            raise ValueError(f"record {i} must lie within the {size} bytes, got offset {offsets[i]}, length {lengths[i]}")
    with nogil:
        for i in range(n):
            verdicts[i] = -K.parse(p + offsets[i], <size_t>lengths[i], &f)
    return out


cdef bint is_one_of(uint32_t device, const uint32_t *devices, size_t n) noexcept nogil:
    cdef size_t low = 0, high = n, mid
    while low < high:
        mid = low + (high - low) // 2
        if devices[mid] < device:
            low = mid + 1
        else:
            high = mid
    return low < n and devices[low] == device


def heads(const uint8_t[::1] data, const int64_t[::1] offsets, const int64_t[::1] lengths, const uint32_t[::1] devices=None):
    """Which of ``data[offset : offset + length]`` look like frames of ``devices`` (rising; None: all), and their headers.

    int64[m] and uint8[m, 64]. Nothing is checked but the magic and the device: it is for what was checked before.
    """
    cdef Py_ssize_t i, n = offsets.shape[0], size = data.shape[0], m = 0
    cdef size_t n_devices = devices.shape[0] if devices is not None else 0
    cdef bint everyone = devices is None
    cdef const uint32_t *wanted = &devices[0] if n_devices else NULL
    if lengths.shape[0] != n:
        raise ValueError(f"offsets and lengths must be of one length, got {n} and {lengths.shape[0]}")
    which, found = np.empty(n, np.int64), np.empty((n, 64), np.uint8)
    if n == 0 or size == 0 or (n_devices == 0 and not everyone):
        return which[:0], found[:0]
    cdef int64_t[::1] places = which
    cdef uint8_t[:, ::1] copies = found
    cdef const uint8_t *p
    cdef uint32_t device
    with nogil:
        for i in range(n):
            if lengths[i] < 64 or offsets[i] < 0 or offsets[i] > size - lengths[i]:
                continue
            p = &data[offsets[i]]
            memcpy(&device, p + 8, 4)
            if (everyone or is_one_of(device, wanted, n_devices)) and p[0] == 76 and p[1] == 76 and p[2] == 70 and p[3] == 49:  # LLF1
                memcpy(&copies[m, 0], p, 64)
                places[m] = i
                m += 1
    return which[:m], found[:m]


def gather(const uint8_t[::1] data, const int64_t[::1] offsets, const int64_t[::1] lengths):
    """Every ``data[offset : offset + length]``, back to back: bytes."""
    cdef Py_ssize_t i, n = offsets.shape[0], size = data.shape[0], total = 0
    if lengths.shape[0] != n:
        raise ValueError(f"offsets and lengths must be of one length, got {n} and {lengths.shape[0]}")
    for i in range(n):
        if offsets[i] < 0 or lengths[i] < 0 or offsets[i] > size or lengths[i] > size - offsets[i]:
            raise ValueError(f"piece {i} must lie within the {size} bytes, got offset {offsets[i]}, length {lengths[i]}")
        if lengths[i] > PY_SSIZE_T_MAX - total:
            raise ValueError("the pieces together are longer than any object")
        total += lengths[i]
    copied = PyBytes_FromStringAndSize(NULL, total)
    cdef char *p = PyBytes_AS_STRING(copied)
    with nogil:
        for i in range(n):
            if lengths[i]:
                memcpy(p, &data[offsets[i]], lengths[i])
                p += lengths[i]
    return copied


def next_frame(const uint8_t[::1] data, Py_ssize_t at):
    """``(offset, length)`` of the first sound frame of a capture at or after ``at``; ``(size, 0)`` where there is no more."""
    cdef Py_ssize_t size = data.shape[0]
    cdef size_t length = 0
    cdef const uint8_t *begin = &data[0] if size else NULL
    cdef const uint8_t *p
    if at < 0:
        raise ValueError(f"at must not be negative, got {at}")
    with nogil:
        while at < size:
            length = K.span(begin + at, size - at)
            if length:
                break
            p = <const uint8_t *>memmem(begin + at + 1, size - at - 1, <const char *>b"LLF1", 4)
            at = p - begin if p != NULL else size
    return at if length else size, length


def samples(const uint8_t[::1] data):
    """``(raw[n_channels, n_samples], t_ns or None)`` of a sound data frame, copied; ValueError for anything else."""
    cdef ll_frame f
    need(data, &f)
    shape = (f.n_channels, f.n_samples)
    if f.encoding == 16:
        return unpacked(&f), None
    payload = np.frombuffer(data, np.uint8, f.payload_len, f.header_len)
    if f.encoding == 6:
        pairs = payload.view(TIMED).reshape(shape)
        return pairs["value"].copy(), pairs["t_ns"].copy()
    if f.encoding == 2:
        wide = np.zeros((f.payload_len // 3, 4), np.uint8)
        wide[:, 1:] = payload.reshape(-1, 3)
        return (wide.view("<i4") >> 8).reshape(shape), None
    return payload.view(RAW[f.encoding]).reshape(shape).copy(), None


cdef unpacked(const ll_frame *f):
    """int32[n_channels, n_samples] of a packed frame; parse bounds its size."""
    out = np.empty((f.n_channels, f.n_samples), np.int32)
    cdef int32_t[:, ::1] to = out
    cdef const uint8_t *at = f.payload
    cdef uint32_t r
    with nogil:
        for r in range(f.n_channels):
            at = K.unpack(f, at, &to[r, 0])
    return out


def squeeze(const int32_t[:, ::1] x):
    """int32[n_channels, n_samples] as the payload of encoding 16, each block as narrow as its widest code."""
    cdef Py_ssize_t r, rows = x.shape[0], n = x.shape[1]
    cdef size_t used = 0
    if not rows or not n or n > 1 << 24:
        raise ValueError(f"packed samples are 1 to {1 << 24} a channel, got {rows} channels of {n}")
    out = np.empty(rows * K.squeeze(NULL, <uint32_t>n, NULL), np.uint8)
    cdef uint8_t[::1] to = out
    with nogil:
        for r in range(rows):
            used += K.squeeze(&x[r, 0], <uint32_t>n, &to[used])
    return out[:used].tobytes()


def scaled(const uint8_t[::1] data, const double[::1] scales, const double[::1] offsets):
    """``(x float32[n_channels, n_samples], t_ns or None)`` of a sound data frame: x = scale count + offset, one of each a channel."""
    cdef ll_frame f
    need(data, &f)
    if scales.shape[0] != f.n_channels or offsets.shape[0] != f.n_channels:
        raise ValueError(f"scales and offsets must be one a channel ({f.n_channels}), got {scales.shape[0]} and {offsets.shape[0]}")
    x = np.empty((f.n_channels, f.n_samples), np.float32)
    cdef float[:, ::1] to = x
    cdef int64_t[:, ::1] times
    cdef int status = 0
    cdef uint32_t r
    if f.encoding == 6:
        t_ns = np.empty((f.n_channels, f.n_samples), np.int64)
        times = t_ns
        for r in range(f.n_channels):
            status = K.timed_row(&f, r, scales[r], offsets[r], &times[r, 0], &to[r, 0])
            raise_status(status, "timed row")
        return x, t_ns
    cdef int32_t[:, ::1] counts
    if f.encoding == 16:
        counts = unpacked(&f)
        f.encoding, f.payload, f.payload_len = 3, <const uint8_t *>&counts[0, 0], 4 * <size_t>f.n_channels * f.n_samples
    with nogil:
        for r in range(f.n_channels):
            status = K.row(&f, r, scales[r], offsets[r], &to[r, 0])
            if status:
                break
    raise_status(status, "row")
    return x, None


cdef int need(const uint8_t[::1] data, ll_frame *f) except -1:
    """Parse a frame that must be sound and hold data; ``f`` points into ``data``."""
    cdef size_t n = data.shape[0]
    cdef int status = K.parse(&data[0] if n else NULL, n, f)
    if status:
        raise ValueError(f"samples need a sound frame, this one is refused: {REFUSALS[-status]}")
    if f.type:
        raise ValueError(f"samples need a data frame (type 0), got type {f.type}")
    return 0


def pack(const uint8_t[::1] payload, const uint8_t[::1] extensions, uint8_t type, uint8_t encoding, uint8_t flags, uint32_t device,
         uint16_t channel, uint16_t n_channels, uint32_t epoch, uint32_t clock_sd_us, uint64_t seq, uint64_t sample_index,
         int64_t t0_ns, uint32_t rate_num, uint32_t rate_den, uint32_t n_samples):
    """Header, extensions (0 to 184 bytes, a multiple of 8) and payload as one frame; nothing but their lengths is checked."""
    cdef size_t n = payload.shape[0], extra = extensions.shape[0]
    if extra > 184 or extra % 8:
        raise ValueError(f"extensions must be a multiple of 8 and at most 184 bytes, got {extra}")
    out = bytearray(64 + extra + n)
    cdef uint8_t[::1] to = out
    if extra:
        memcpy(&to[64], &extensions[0], extra)
    if n:
        memcpy(&to[64 + extra], &payload[0], n)
    cdef ll_frame f
    memset(&f, 0, sizeof(f))
    f.type, f.encoding, f.flags, f.device, f.channel, f.n_channels = type, encoding, flags, device, channel, n_channels
    f.epoch, f.clock_sd_us, f.seq, f.sample_index, f.t0_ns = epoch, clock_sd_us, seq, sample_index, t0_ns
    f.rate_num, f.rate_den, f.n_samples = rate_num, rate_den, n_samples
    f.payload, f.payload_len = &to[0] + 64, extra + n
    raise_status(K.pack(&f, &to[0], 64 + extra + n), "pack")
    if extra:
        seal(to, 64 + extra)
    return bytes(out)


cdef void seal(uint8_t[::1] frame, uint8_t header_len):
    """Say the true header_len and sum anew: the kernel packs headers of 64 bytes only."""
    cdef uint32_t crc = 0
    frame[4] = header_len
    memcpy(&frame[60], &crc, 4)
    crc = K.crc32c(0, &frame[0], frame.shape[0])
    memcpy(&frame[60], &crc, 4)
