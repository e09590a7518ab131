# serves: lifeline_core.pipes
# with: bands.c bins.c lines.c fft.c trend.c
"""Memory for kernels/cross.c: averaged spectra of two channels, running or of whole rows."""

from libc.stdint cimport int16_t, int64_t, uint64_t

import numpy as np

from lifeline_core.errors import raise_status

cdef extern from "cross.h":
    ctypedef struct ll_bins:
        pass
    ctypedef struct ll_cross_sums:
        pass
    ctypedef struct ll_lags:
        pass
    ctypedef struct ll_cross_rows:
        const float *a
        const float *b
        const unsigned char *sound_a
        const unsigned char *sound_b
        size_t n_a, n_b, n_seg, per_part
        double unit_a, unit_b
        int64_t shift
        size_t used
    ctypedef struct ll_cross_count:
        uint64_t seen, used, fill, n_parts
    ctypedef struct ll_band_lines:
        const double *s11
        const double *s22
        const double *s12
        const double *q
        const unsigned char *open
        size_t n_f, half
        double sign, segments, spread
    ctypedef struct ll_band_runs:
        double sure, holds, spread
    ctypedef struct ll_band_row:
        const double *x
        const double *size
        const double *even
        const double *alone
        const int64_t *at
        size_t n
        double spread, lags
    ctypedef struct ll_band:
        int64_t low, high
        double z, lags
        uint64_t tried
    ctypedef struct ll_cross_api:
        ll_bins *(*open)(size_t) nogil
        void (*close)(ll_bins *) nogil
        double (*row)(const void *, int, size_t, float *) nogil
        double (*clipped)(const void *, int, size_t) nogil
        size_t (*size)(size_t, size_t) nogil
        int (*planes)(ll_bins *, const float *, size_t, size_t, size_t, float *, unsigned char *) nogil
        int (*pair)(ll_bins *, ll_cross_rows *, double *, double *, double *) nogil
        ll_cross_sums *(*begin)(size_t, int64_t, uint64_t) nogil
        void (*end)(ll_cross_sums *) nogil
        int (*push)(ll_cross_sums *, const void *, const void *, int, size_t) nogil
        void (*break_off)(ll_cross_sums *) nogil
        ll_cross_count (*count)(const ll_cross_sums *) nogil
        int (*read)(const ll_cross_sums *, double *, double *, double *) nogil
        size_t (*bytes)(const ll_cross_sums *) nogil
        int (*save)(const ll_cross_sums *, unsigned char *) nogil
        int (*load)(ll_cross_sums *, const unsigned char *, size_t) nogil
        void (*turned)(const int64_t *, size_t, double, const double *, double *) nogil
        double (*newton)(const int64_t *, size_t, const double *, double, double) nogil
        int (*standing)(const double *, size_t, double, size_t, double *, unsigned char *) nogil
        size_t (*coherency)(const ll_band_lines *, double *, int64_t *, double *, double *, double *, double *) nogil
        void (*common)(const double *, const double *, size_t, const size_t *, const ll_band_runs *, double *, double *) nogil
        void (*closer)(const double *, const double *, size_t, size_t, const ll_band_runs *, double *, double *) nogil
        int (*best)(const ll_band_row *, const int64_t *, size_t, int64_t, double *, ll_band *) nogil
        ll_lags *(*open_lags)(size_t) nogil
        void (*close_lags)(ll_lags *) nogil
        int (*lags)(ll_lags *, const int64_t *, size_t, const double *, size_t, double *) nogil
    const ll_cross_api *api "ll_cross" () nogil
    enum:
        HALF "LL_CROSS_HALF"

cdef const ll_cross_api *K = api()
cdef enum:
    LITTLE = 2048  # samples: to let go of the GIL for less costs more than it gives

ctypedef fused sample_t:
    int16_t
    float
    double


cdef int kind_of(size_t width) noexcept nogil:
    return 0 if width == sizeof(int16_t) else 1 if width == sizeof(float) else 2


cdef class Averages:
    """Running sums of two channels; pipes/spectra.py gives them meaning."""

    cdef ll_cross_sums *s
    cdef readonly size_t n

    def __cinit__(self, size_t n, int64_t shift, uint64_t per_part):
        self.n = n
        self.s = K.begin(n, shift, per_part)
        if self.s is NULL:
            raise_status(-3, f"cross spectra of nperseg={n} shift={shift} per_part={per_part}")

    def __dealloc__(self):
        K.end(self.s)

    @property
    def seen(self):
        """Segments, used or left out."""
        return K.count(self.s).seen

    @property
    def used(self):
        """Segments in the averages."""
        return K.count(self.s).used

    @property
    def waiting(self):
        """Samples of either channel of the segment begun."""
        return K.count(self.s).fill

    def push(self, const sample_t[::1] a, const sample_t[::1] b):
        """Take samples of both channels, int16, float32 or float64."""
        cdef int status
        cdef size_t n = a.shape[0]
        if b.shape[0] != a.shape[0]:
            raise_status(-2, "cross spectra")
        if n == 0:
            return
        if n < LITTLE:
            status = K.push(self.s, &a[0], &b[0], kind_of(sizeof(sample_t)), n)
        else:
            with nogil:
                status = K.push(self.s, &a[0], &b[0], kind_of(sizeof(sample_t)), n)
        raise_status(status, "cross spectra")

    def break_off(self):
        """Forget the segment begun."""
        K.break_off(self.s)

    def read(self):
        """float64[3, n_f] averages of |A|^2, |B|^2, |A|^2 |B|^2; complex128[n_f] of conj(A) B; [n_parts, n_f] its parts."""
        cdef size_t n_f = self.n // 2 + 1, n_parts = K.count(self.s).n_parts
        power, s12, parts = np.empty((3, n_f)), np.empty(n_f, np.complex128), np.empty((n_parts, n_f), np.complex128)
        cdef double[:, ::1] p = power
        cdef double complex[::1] c = s12
        cdef double complex[:, ::1] q = parts
        with nogil:
            K.read(self.s, &p[0, 0], <double *> &c[0], <double *> &q[0, 0] if n_parts else NULL)
        return power, s12, parts

    def save(self):
        cdef bytearray out = bytearray(K.bytes(self.s))
        cdef unsigned char[::1] o = out
        raise_status(K.save(self.s, &o[0]), "cross spectra")
        return bytes(out)

    def load(self, const unsigned char[::1] state):
        if state.shape[0] == 0:
            raise_status(-5, "cross spectra")
        raise_status(K.load(self.s, &state[0], state.shape[0]), "cross spectra")


def levelled(const sample_t[::1] x):
    """x off its mean and near 1, float32 at a multiple of 64 bytes, and what a 1 in it stands for."""
    cdef size_t n = x.shape[0]
    cdef double unit
    if n == 0:
        raise_status(-1, "cross spectra")
    row = np.empty(n, np.float32)
    cdef float[::1] to = row
    with nogil:
        unit = K.row(&x[0], kind_of(sizeof(sample_t)), n, &to[0])
    return row, unit


def clipped(const sample_t[::1] x):
    """Share of the finite samples that sit at the extremes, where those are more than the samples just short of them; else 0."""
    cdef size_t n = x.shape[0]
    cdef double share = 0.0
    if n:
        with nogil:
            share = K.clipped(&x[0], kind_of(sizeof(sample_t)), n)
    return share


cdef class Planes:
    """Bins of a row's segments; made by `Transform.planes`, summed by `Transform.pair`. May be read by many threads."""

    cdef object memory, flags
    cdef const float *bins
    cdef const unsigned char *sound
    cdef readonly size_t n, n_seg
    cdef readonly double unit

    @property
    def nbytes(self):
        """Bytes held."""
        return self.memory.nbytes


cdef class Transform:
    """Tables and work for segments of n samples, a power of two, 16 .. 65536; one thread at a time."""

    cdef ll_bins *c
    cdef readonly size_t n

    def __cinit__(self, size_t n):
        self.n = n
        self.c = K.open(n)
        if self.c is NULL:
            raise_status(-3, f"cross spectra of nperseg={n}")

    def __dealloc__(self):
        K.close(self.c)

    def planes(self, const float[::1] row, double unit, size_t start, size_t n_seg):
        """Bins of the n_seg segments that begin at start, start + n / 2, ..; row and unit are of `levelled`."""
        cdef Planes new = Planes.__new__(Planes)
        cdef int status = 0
        cdef size_t floats = K.size(self.n, n_seg)
        memory = np.empty(floats + 16, np.float32)
        memory = memory[-(memory.ctypes.data // 4) % 16:][:floats]
        flags = np.zeros(n_seg + 1, np.uint8)
        cdef float[::1] m = memory
        cdef unsigned char[::1] f = flags
        new.memory, new.flags, new.sound, new.n, new.n_seg, new.unit = memory, flags, &f[0], self.n, n_seg, unit
        if n_seg:
            new.bins = &m[0]
            with nogil:
                status = K.planes(self.c, &row[0], row.shape[0], start, n_seg, &m[0], &f[0])
        raise_status(status, "cross spectra")
        return new

    def pair(self, Planes a not None, Planes b not None, size_t n_seg, size_t per_part, int64_t shift):
        """As `Averages.read` of the first n_seg segments of both, b having begun `shift` samples later; and how many are used."""
        cdef size_t n_f = self.n // 2 + 1
        cdef ll_cross_rows r
        cdef int status
        if a.n != self.n or b.n != self.n or per_part == 0 or n_seg > a.n_seg or n_seg > b.n_seg:
            raise_status(-2, "cross spectra of planes")
        power, s12 = np.empty((3, n_f)), np.empty(n_f, np.complex128)
        parts = np.empty(((n_seg + per_part - 1) // per_part, n_f), np.complex128)
        cdef double[:, ::1] p = power
        cdef double complex[::1] c = s12
        cdef double complex[:, ::1] q = parts
        cdef double *to = <double *> &q[0, 0] if n_seg else NULL
        r.a, r.b, r.sound_a, r.sound_b, r.n_a, r.n_b = a.bins, b.bins, a.sound, b.sound, a.n_seg, b.n_seg
        r.n_seg, r.per_part, r.unit_a, r.unit_b, r.shift, r.used = n_seg, per_part, a.unit, b.unit, shift, 0
        with nogil:
            status = K.pair(self.c, &r, &p[0, 0], <double *> &c[0], to)
        raise_status(status, "cross spectra")
        return power, s12, parts, r.used


cdef int fit(const int64_t[::1] at, Py_ssize_t n) except -1:
    """Line numbers rise from 0 or more and there are n of them."""
    if at.shape[0] != n:
        raise_status(-2, "lines")
    if n and at[0] < 0:
        raise_status(-3, "lines")
    return 0


def turned(const int64_t[::1] at, double theta, const double complex[::1] c):
    """c exp(i theta at), complex128."""
    fit(at, c.shape[0])
    out = np.empty(c.shape[0], np.complex128)
    cdef double complex[::1] o = out
    if c.shape[0]:
        K.turned(&at[0], c.shape[0], theta, <const double *> &c[0], <double *> &o[0])
    return out


def newton(const int64_t[::1] at, const double complex[::1] c, double theta, double step):
    """The maximum of sum Re{c exp(i theta at)} within step of theta; theta itself where the sum does not bend down."""
    fit(at, c.shape[0])
    if c.shape[0] == 0:
        return theta
    return K.newton(&at[0], c.shape[0], <const double *> &c[0], theta, step)


def standing(const double[::1] power, double factor, size_t half):
    """bool[n]: power above factor times the median, over half lines to each side, of the lowest of three neighbours."""
    cdef size_t n = power.shape[0]
    cdef int status
    mark = np.zeros(n, np.uint8)
    if n == 0:
        return mark.view(np.bool_)
    if half > HALF:
        raise_status(-3, "lines")
    work = np.empty(2 * (n + 2 * half))
    cdef double[::1] w = work
    cdef unsigned char[::1] m = mark
    status = K.standing(&power[0], n, factor, half, &w[0], &m[0])
    raise_status(status, "lines")
    return mark.view(np.bool_)


def coherency(const double[::1] s11, const double[::1] s22, const double complex[::1] s12, const double[::1] q, open_,
              double sign, double segments, double spread, size_t half):
    """Open lines (bool[n_f]) where both channels have power: their numbers, C, |C|, chance about each and alone; see bands.h."""
    cdef size_t n_f = s11.shape[0]
    cdef const unsigned char[::1] o = open_.view(np.uint8)
    if <size_t> s22.shape[0] != n_f or <size_t> s12.shape[0] != n_f or <size_t> q.shape[0] != n_f or <size_t> o.shape[0] != n_f:
        raise_status(-2, "coherency")
    at, c = np.empty(n_f + 1, np.int64), np.empty(n_f + 1, np.complex128)
    rows, work = np.empty((3, n_f + 1)), np.empty(2 * n_f + 1)
    cdef int64_t[::1] a = at
    cdef double complex[::1] z = c
    cdef double[:, ::1] r = rows
    cdef double[::1] w = work
    cdef ll_band_lines l
    cdef size_t n = 0
    if n_f:
        l.s11, l.s22, l.s12, l.q, l.open = &s11[0], &s22[0], <const double *> &s12[0], &q[0], &o[0]
        l.n_f, l.half, l.sign, l.segments, l.spread = n_f, half, sign, segments, spread
        n = K.coherency(&l, &w[0], &a[0], <double *> &z[0], &r[0, 0], &r[1, 0], &r[2, 0])
    return at[:n], c[:n], rows[0, :n], rows[1, :n], rows[2, :n]


def shared(const double[::1] size, const double[::1] chance, size_t few, size_t many, double sure, double holds, double spread):
    """float64[n]: |C| that stands out of chance in a window of few lines to each side, where not so of many; 0 elsewhere."""
    cdef size_t n = size.shape[0]
    cdef size_t[2] half = [few, many]
    cdef ll_band_runs runs = [sure, holds, spread]
    if <size_t> chance.shape[0] != n:
        raise_status(-2, "shared coherency")
    out, work = np.empty(n), np.empty(6 * n + 1)
    cdef double[::1] o = out
    cdef double[::1] w = work
    if n:
        K.common(&size[0], &chance[0], n, half, &runs, &w[0], &o[0])
    return out


def closer(const double[::1] x, const double[::1] chance, double[::1] out, size_t half, double sure, double holds, double spread):
    """out becomes the mean of x over half lines to each side where that differs beyond chance; 0 where it is mere chance."""
    cdef size_t n = x.shape[0]
    cdef ll_band_runs runs = [sure, holds, spread]
    if <size_t> chance.shape[0] != n or <size_t> out.shape[0] != n:
        raise_status(-2, "closer")
    work = np.empty(4 * n + 1)
    cdef double[::1] w = work
    if n:
        K.closer(&x[0], &chance[0], n, half, &runs, &w[0], &out[0])


def best(const double[::1] x, const double[::1] size, const double[::1] even, const double[::1] alone, const int64_t[::1] at,
         const int64_t[::1] edges, int64_t least, double spread, double lags):
    """The band between two edges where x stands out most: (deviations, lags it was chosen from, bands tried, first, end)."""
    cdef size_t n = x.shape[0]
    cdef ll_band_row row
    cdef ll_band found
    if <size_t> size.shape[0] != n or <size_t> even.shape[0] != n or <size_t> alone.shape[0] != n:
        raise_status(-2, "best band")
    fit(at, n)
    if n == 0 or edges.shape[0] == 0:
        return 0.0, 1.0, 0, 0, 0
    work = np.empty(3 * n + 2)
    cdef double[::1] w = work
    row.x, row.size, row.even, row.alone, row.at = &x[0], &size[0], &even[0], &alone[0], &at[0]
    row.n, row.spread, row.lags = n, spread, lags
    raise_status(K.best(&row, &edges[0], edges.shape[0], least, &w[0], &found), "best band")
    return found.z, found.lags, found.tried, found.low, found.high


cdef class Lags:
    """Correlograms of n lags, n a power of two, 16 .. 65536; one thread at a time."""

    cdef ll_lags *l
    cdef readonly size_t n

    def __cinit__(self, size_t n):
        self.n = n
        self.l = K.open_lags(n)
        if self.l is NULL:
            raise_status(-3, f"lags of n={n}")

    def __dealloc__(self):
        K.close_lags(self.l)

    def of(self, const int64_t[::1] at, const double complex[::1] c, size_t far):
        """float64[2 far + 1] at lags -far .. far, 1.0 = all lines in phase."""
        cdef int status
        fit(at, c.shape[0])
        r = np.zeros(2 * far + 1)
        cdef double[::1] to = r
        if c.shape[0] == 0:
            return r
        with nogil:
            status = K.lags(self.l, &at[0], c.shape[0], <const double *> &c[0], far, &to[0])
        raise_status(status, "lags")
        return r
