# serves: lifeline_core.pipes
# with: weigh.c
"""Binds kernels/ways.c: sums along ways, and how well places explain arrivals."""

from libc.stdint cimport int32_t, uint8_t
from libc.stdlib cimport free, malloc

from lifeline_core.errors import raise_status

cdef extern from "ways.h":
    enum: LL_WAYS_GROUPS
    ctypedef struct ll_ways_net:
        size_t n_nodes, n_sensors
        const double *const *time
        const double *const *square
        const int32_t *const *toward
        const int32_t *at
        const uint8_t *barrier
        const double *common_s
        const double *common2
    ctypedef struct ll_ways_place:
        int32_t a, b, group, pad
        double to_a, to_b, blur
    ctypedef struct ll_ways_heard:
        const double *t
        const double *sd2
        const double *late2
        double scatter2
    ctypedef struct ll_ways_scale:
        double sd, least, most, lean2
    ctypedef struct ll_ways_model:
        size_t n_groups
        const double *const *times
        const double *sd
        double wide, share, least, most, stray
        size_t fewest
    ctypedef struct ll_ways_found:
        double score, t0, slow, rms, misfit, shared, chi2, kept
    ctypedef struct ll_ways_api:
        int (*gather)(size_t, const int32_t *, const double *, int32_t *, double *, int32_t *) noexcept nogil
        size_t (*fit_room)(size_t) noexcept nogil
        int (*fit)(const ll_ways_net *, const ll_ways_heard *, const ll_ways_scale *, const ll_ways_place *, size_t,
                   double *, ll_ways_found *) noexcept nogil
        size_t (*weigh_room)(size_t) noexcept nogil
        int (*weigh)(const ll_ways_net *, const ll_ways_heard *, const ll_ways_model *, const ll_ways_place *, const double *, size_t,
                     double *, ll_ways_found *, double *, double *, uint8_t *) noexcept nogil
    const ll_ways_api *ll_ways() nogil

cdef const ll_ways_api *K = ll_ways()

GROUPS = LL_WAYS_GROUPS
FOUND = ("score", "t0", "slow", "rms", "misfit", "shared", "chi2", "kept")


def gather(const int32_t[::1] toward, const double[::1] cost, int32_t[::1] work, double[::1] total, int32_t[::1] last):
    """Fills total and last; see kernels/ways.h."""
    cdef int status
    cdef size_t n = toward.shape[0]
    if cost.shape[0] != toward.shape[0] or work.shape[0] != toward.shape[0] or total.shape[0] != toward.shape[0] or \
            last.shape[0] != toward.shape[0]:
        raise ValueError("toward, cost, work, total and last have one length")
    if n == 0:
        return
    with nogil:
        status = K.gather(n, &toward[0], &cost[0], &work[0], &total[0], &last[0])
    raise_status(status, "ways")


cdef class Net:
    """Ways to the sensors, held so that kernels can read them."""

    cdef ll_ways_net net
    cdef const double **reals
    cdef const int32_t **nexts
    cdef const double **group
    cdef size_t n_groups
    cdef object kept

    def __cinit__(self, list time, list square, list toward, const int32_t[::1] at, const uint8_t[::1] barrier,
                  const double[::1] common_s, const double[::1] common2, list times):
        cdef size_t i, n = len(time), nodes = barrier.shape[0]
        cdef const double[::1] real
        cdef const int32_t[::1] whole
        if n == 0 or nodes == 0:
            raise ValueError("ways lead to one sensor at least")
        if len(square) != <Py_ssize_t>n or len(toward) != <Py_ssize_t>n or at.shape[0] != <Py_ssize_t>n or len(times) % n or \
                len(times) // n > LL_WAYS_GROUPS or common_s.shape[0] != barrier.shape[0] or common2.shape[0] != barrier.shape[0]:
            raise ValueError("ways, sensors, groups and nodes fit each other")
        self.kept = (time, square, toward, at, barrier, common_s, common2, times)
        self.n_groups = len(times) // n
        self.reals = <const double **>malloc(2 * n * sizeof(double *))
        self.nexts = <const int32_t **>malloc(n * sizeof(int32_t *))
        self.group = <const double **>malloc((len(times) + 1) * sizeof(double *))
        if self.reals == NULL or self.nexts == NULL or self.group == NULL:
            raise MemoryError()
        for i in range(n):
            real = time[i]
            self.reals[i] = self.first(real, nodes)
            real = square[i]
            self.reals[n + i] = self.first(real, nodes)
            whole = toward[i]
            if <size_t>whole.shape[0] != nodes:
                raise ValueError("a way has an entry for every node")
            self.nexts[i] = &whole[0]
            if at[i] < 0 or <size_t>at[i] >= nodes:
                raise ValueError("a sensor stands at a node")
        for i in range(<size_t>len(times)):
            real = times[i]
            self.group[i] = self.first(real, nodes)
        self.net.n_nodes, self.net.n_sensors = nodes, n
        self.net.time, self.net.square, self.net.toward = self.reals, self.reals + n, self.nexts
        self.net.at, self.net.barrier = &at[0], &barrier[0]
        self.net.common_s, self.net.common2 = &common_s[0], &common2[0]

    cdef const double *first(self, const double[::1] x, size_t nodes) except NULL:
        if <size_t>x.shape[0] != nodes:
            raise ValueError("a way has an entry for every node")
        return &x[0]

    def __dealloc__(self):
        free(self.reals)
        free(self.nexts)
        free(self.group)


cdef int hear(Net net, ll_ways_heard *heard, const double[::1] t, const double[::1] sd2, const double[::1] late2,
              double scatter2) except -1:
    if <size_t>t.shape[0] != net.net.n_sensors or sd2.shape[0] != t.shape[0] or late2.shape[0] != t.shape[0]:
        raise ValueError("an arrival a sensor")
    heard.t, heard.sd2, heard.late2, heard.scatter2 = &t[0], &sd2[0], &late2[0], scatter2
    return 0


cdef ll_ways_place *places(const int32_t[:, ::1] ends, const double[:, ::1] to) except NULL:
    cdef Py_ssize_t k
    if ends.shape[1] != 3 or to.shape[1] != 3 or to.shape[0] != ends.shape[0]:
        raise ValueError("a place has two ends, a group, two times and a blur")
    cdef ll_ways_place *p = <ll_ways_place *>malloc((ends.shape[0] + 1) * sizeof(ll_ways_place))
    if p == NULL:
        raise MemoryError()
    for k in range(ends.shape[0]):
        p[k].a, p[k].b, p[k].group, p[k].pad = ends[k, 0], ends[k, 1], ends[k, 2], 0
        p[k].to_a, p[k].to_b, p[k].blur = to[k, 0], to[k, 1], to[k, 2]
    return p


def fit(Net net, const double[::1] t, const double[::1] sd2, const double[::1] late2, double scatter2,
        tuple scale, const int32_t[:, ::1] ends, const double[:, ::1] to, double[:, ::1] out):
    """Fills out[place, FOUND]; scale is (sd, least, most, lean2)."""
    cdef ll_ways_heard heard
    cdef ll_ways_scale s
    cdef int status
    cdef size_t n = ends.shape[0]
    if out.shape[0] != ends.shape[0] or out.shape[1] != 8:
        raise ValueError("a row of out for every place")
    hear(net, &heard, t, sd2, late2, scatter2)
    s.sd, s.least, s.most, s.lean2 = scale
    if n == 0:
        return
    cdef ll_ways_place *p = places(ends, to)
    cdef double *work = <double *>malloc(K.fit_room(net.net.n_sensors) * sizeof(double))
    if work == NULL:
        free(p)
        raise MemoryError()
    with nogil:
        status = K.fit(&net.net, &heard, &s, p, n, work, <ll_ways_found *>&out[0, 0])
    free(work)
    free(p)
    raise_status(status, "ways")


def weigh(Net net, const double[::1] t, const double[::1] sd2, const double[::1] late2, double scatter2,
          const double[::1] sd, tuple rest, size_t fewest, const int32_t[:, ::1] ends, const double[:, ::1] to,
          const double[:, ::1] guess, double[:, ::1] out, double[:, ::1] slow, double[:, ::1] slow_sd, uint8_t[:, ::1] out_of):
    """Fills out[place, FOUND], slow and slow_sd[place, group], out_of[place, sensor]; rest is (wide, share, least, most, stray)."""
    cdef ll_ways_heard heard
    cdef ll_ways_model m
    cdef int status
    cdef double none = 0
    cdef size_t n = ends.shape[0], groups = sd.shape[0]
    if out.shape[0] != ends.shape[0] or out.shape[1] != 8 or guess.shape[0] != ends.shape[0] or guess.shape[1] != 2 or \
            slow.shape[0] != ends.shape[0] or slow_sd.shape[0] != ends.shape[0] or out_of.shape[0] != ends.shape[0] or \
            slow.shape[1] != sd.shape[0] or slow_sd.shape[1] != sd.shape[0] or <size_t>out_of.shape[1] != net.net.n_sensors:
        raise ValueError("a row for every place")
    if net.n_groups and net.n_groups != groups or not net.n_groups and groups > 1:
        raise ValueError("a standard deviation for every group of speeds")
    hear(net, &heard, t, sd2, late2, scatter2)
    m.n_groups, m.times = groups, net.group if net.n_groups else NULL
    m.sd = &sd[0] if groups else &none
    m.wide, m.share, m.least, m.most, m.stray = rest
    m.fewest = fewest
    if n == 0:
        return
    cdef ll_ways_place *p = places(ends, to)
    cdef double *work = <double *>malloc(K.weigh_room(net.net.n_sensors) * sizeof(double))
    if work == NULL:
        free(p)
        raise MemoryError()
    cdef double *to_slow = &slow[0, 0] if groups else &none
    cdef double *to_sd = &slow_sd[0, 0] if groups else &none
    with nogil:
        status = K.weigh(&net.net, &heard, &m, p, &guess[0, 0], n, work, <ll_ways_found *>&out[0, 0], to_slow, to_sd, &out_of[0, 0])
    free(work)
    free(p)
    raise_status(status, "ways")
