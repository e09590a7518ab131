# serves: lifeline_core.dsp
"""Binds kernels/hampel.c. Arrays are float32 or float64, C-contiguous, rows first; marks are of one byte."""

from libc.stdint cimport int64_t, uint8_t, uint64_t

from lifeline_core.errors import raise_status

cdef extern from "hampel.h":
    enum: LL_MARK, LL_REASONS
    ctypedef struct ll_cleaning:
        double threshold, floor
        int64_t ahead, near, most
        uint64_t least
        int64_t stuck
        int fill
    ctypedef struct ll_still:
        double value
        int64_t count
    ctypedef struct ll_hampel_api:
        size_t (*size)(size_t, int) noexcept nogil
        void (*begin)(void *, size_t, int) noexcept nogil
        int64_t (*push)(void *, const void *, size_t, size_t, int, double, void *, uint8_t *, size_t, int) noexcept nogil
        int (*whole)(void *, size_t, const void *, size_t, size_t, int, double, void *, uint8_t *, int) noexcept nogil
        size_t (*window)(const void *, double *, int) noexcept nogil
        int64_t (*clean)(void *, void *, uint8_t *, ll_still *, const void *, size_t, size_t, const double *, const ll_cleaning *,
                         void *, uint8_t *, size_t, int64_t *, int) noexcept nogil
    const ll_hampel_api *ll_hampel() nogil

cdef const ll_hampel_api *K = ll_hampel()

cdef enum:
    SHORT = 1024  # less is done sooner than the interpreter would be back from another thread

ctypedef fused real:
    float
    double


def size(size_t window, bint wide):
    """Bytes of one row's state."""
    return K.size(window, wide)


cdef _fit(size_t bytes, size_t window, bint wide):
    if window % 2 == 0 or window > 1 << 28 or bytes != K.size(window, wide):
        raise ValueError(f"hampel: a state of {bytes} bytes does not belong to a window of {window}")


def begin(uint8_t[:, ::1] states, size_t window, bint wide):
    """States before the first sample."""
    cdef Py_ssize_t r
    _fit(states.shape[1], window, wide)
    for r in range(states.shape[0]):
        K.begin(&states[r, 0], window, wide)


def push(uint8_t[:, ::1] states, size_t window, const real[:, ::1] x, size_t ends, int verb, double limit, real[:, ::1] out,
         uint8_t[:, ::1] marks):
    """x goes in, or, where x has no samples, ``ends`` ends of row; out and marks get the answers. How many they are."""
    cdef size_t rows = states.shape[0], n = x.shape[1], room = out.shape[1]
    cdef int wide = real is double
    cdef int64_t done
    cdef const void *data = &x[0, 0] if n else NULL
    cdef void *to = &out[0, 0] if room else NULL
    cdef uint8_t *mark = &marks[0, 0] if room and verb >= LL_MARK else NULL
    _fit(states.shape[1], window, wide)
    if <size_t>x.shape[0] != rows or <size_t>out.shape[0] != rows or room < (n or ends) or ends > window // 2 or \
            (verb >= LL_MARK and (<size_t>marks.shape[0] != rows or <size_t>marks.shape[1] != room)):
        raise ValueError(f"out and marks must have room for {n or ends} answers in each of {rows} rows")
    if n == 0:
        n = ends
    if n == 0:
        return 0
    if rows * n < SHORT:
        done = K.push(&states[0, 0], data, rows, n, verb, limit, to, mark, room, wide)
    else:
        with nogil:
            done = K.push(&states[0, 0], data, rows, n, verb, limit, to, mark, room, wide)
    if done < 0:
        raise_status(<int>done, "hampel")
    return done


def whole(uint8_t[::1] state, size_t window, const real[:, ::1] x, int verb, double limit, real[:, ::1] out, uint8_t[:, ::1] marks):
    """Fills out and marks for rows from their first sample to their last; ``state`` is of one row."""
    cdef size_t rows = x.shape[0], n = x.shape[1]
    cdef int status, wide = real is double
    cdef uint8_t *mark = NULL
    _fit(state.shape[0], window, wide)
    if <size_t>out.shape[0] != rows or <size_t>out.shape[1] != n or \
            (verb >= LL_MARK and (<size_t>marks.shape[0] != rows or <size_t>marks.shape[1] != n)):
        raise ValueError(f"out and marks must fit x of {rows} rows and {n} samples")
    if rows == 0 or n == 0:
        raise_status(-1, "hampel")
    if verb >= LL_MARK:
        mark = &marks[0, 0]
    with nogil:
        status = K.whole(&state[0], window, &x[0, 0], rows, n, verb, limit, &out[0, 0], mark, wide)
    raise_status(status, "hampel")


def window(const uint8_t[::1] state, size_t window, double[::1] out, bint wide):
    """The samples in a row's window, oldest first; how many they are."""
    _fit(state.shape[0], window, wide)
    if <size_t>out.shape[0] < window:
        raise ValueError(f"out must have room for {window} samples")
    return K.window(&state[0], &out[0], wide)


cdef class How:
    """Numbers of a cleaning, see kernels/spikes.h."""

    cdef ll_cleaning c

    def __init__(self, double threshold, double floor, int64_t ahead, int64_t near, int64_t most, uint64_t least, int64_t stuck,
                 bint fill):
        if not threshold > 0 or not floor >= 0 or ahead < 0 or most < 1 or not 0 <= near <= ahead or stuck < 0:
            raise ValueError(f"cleaning: threshold and most must be above 0, near from 0 to ahead, are {threshold}, {most}, "
                             f"{near}, {ahead}")
        self.c = ll_cleaning(threshold, floor, ahead, near, most, least, stuck, fill)


cdef packed struct Still:  # as numpy lays out [("value", "f8"), ("count", "i8")]
    double value
    int64_t count


def clean(uint8_t[:, ::1] xs, uint8_t[:, ::1] rs, size_t window, uint8_t[:, ::1] reasons, Still[::1] still,
          const real[:, ::1] x, size_t ends, const double[:, ::1] range, How how, real[:, ::1] out, uint8_t[:, ::1] marks,
          int64_t[:, ::1] counts):
    """x goes in, or, where x has no samples, ``ends`` ends of row; out and marks get the answers. How many they are."""
    cdef size_t rows = xs.shape[0], n = x.shape[1], room = out.shape[1]
    cdef int wide = real is double
    cdef int64_t done
    cdef const void *data = &x[0, 0] if n else NULL
    _fit(xs.shape[1], window, wide)
    if <size_t>how.c.ahead * 2 > window or rs.shape[0] != xs.shape[0] or rs.shape[1] != xs.shape[1] or \
            <size_t>reasons.shape[0] != rows or <size_t>reasons.shape[1] != window or <size_t>still.shape[0] != rows or \
            <size_t>range.shape[0] != rows or range.shape[1] != 2 or <size_t>counts.shape[0] != rows or \
            counts.shape[1] != LL_REASONS or <size_t>x.shape[0] != rows:
        raise ValueError(f"cleaning: states, ranges, counts and samples must be of {rows} rows and a window of {window}")
    if <size_t>out.shape[0] != rows or room < (n or ends) or ends > <size_t>how.c.ahead or <size_t>marks.shape[0] != rows or \
            <size_t>marks.shape[1] != room:
        raise ValueError(f"out and marks must have room for {n or ends} answers in each of {rows} rows")
    if n == 0:
        n = ends
    if n == 0 or rows == 0:
        return 0
    with nogil:
        done = K.clean(&xs[0, 0], &rs[0, 0], &reasons[0, 0], <ll_still *>&still[0], data, rows, n, &range[0, 0], &how.c,
                       &out[0, 0], &marks[0, 0], room, &counts[0, 0], wide)
    return done
