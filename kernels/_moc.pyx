# serves: lifeline_core.pipes
"""Binds kernels/moc.c: waves without friction on a network of delay lines, eight sources at a time."""

from libc.stdint cimport int32_t
from libc.stdlib cimport free, malloc

from lifeline_core.errors import raise_status

cdef extern from "moc.h":
    enum: LL_MOC_LANES
    ctypedef struct ll_moc_net:
        size_t n_nodes, n_links, n_pumps
        const int32_t *a
        const int32_t *b
        const int32_t *steps
        const float *admittance
        const float *inverse
        const int32_t *pump_a
        const int32_t *pump_b
        const float *through
    ctypedef struct ll_moc_place:
        int32_t link, at
    ctypedef struct ll_moc_api:
        size_t (*room)(const ll_moc_net *) noexcept nogil
        int (*run)(const ll_moc_net *, const ll_moc_place *, size_t, const ll_moc_place *, size_t, size_t, size_t, float *,
                   float *) noexcept nogil
        void (*outflow)(const float *, const float *, size_t, double, double, double *, float *) noexcept nogil
    const ll_moc_api *ll_moc() nogil

cdef const ll_moc_api *K = ll_moc()

LANES = LL_MOC_LANES


cdef const int32_t *ints(const int32_t[::1] x) noexcept:
    return &x[0] if x.shape[0] else NULL


cdef const float *reals(const float[::1] x) noexcept:
    return &x[0] if x.shape[0] else NULL


def run(const int32_t[::1] a, const int32_t[::1] b, const int32_t[::1] steps, const float[::1] admittance,
        const float[::1] inverse, const int32_t[::1] pump_a, const int32_t[::1] pump_b, const float[::1] through,
        const int32_t[:, ::1] source, const int32_t[:, ::1] probe, size_t every, float[:, :, ::1] out):
    """Fills out[probe, sample, lane]; places are rows of link and at; see kernels/moc.h."""
    cdef ll_moc_net net
    cdef int status = 0
    cdef float *work
    cdef const ll_moc_place *sources
    cdef const ll_moc_place *probes
    cdef float *to
    if b.shape[0] != a.shape[0] or steps.shape[0] != a.shape[0] or admittance.shape[0] != a.shape[0] or \
            pump_b.shape[0] != pump_a.shape[0] or through.shape[0] != pump_a.shape[0] or source.shape[1] != 2 or \
            probe.shape[1] != 2 or out.shape[0] != probe.shape[0] or out.shape[2] != LL_MOC_LANES:
        raise ValueError("arrays of links, pumps, probes and out fit each other")
    if out.shape[0] == 0 or out.shape[1] == 0 or source.shape[0] == 0:
        return
    net.n_nodes, net.n_links, net.n_pumps = inverse.shape[0], a.shape[0], pump_a.shape[0]
    net.a, net.b, net.steps, net.admittance = ints(a), ints(b), ints(steps), reals(admittance)
    net.inverse = reals(inverse)
    net.pump_a, net.pump_b, net.through = ints(pump_a), ints(pump_b), reals(through)
    sources, probes, to = <const ll_moc_place *>&source[0, 0], <const ll_moc_place *>&probe[0, 0], &out[0, 0, 0]
    work = <float *>malloc(K.room(&net) * sizeof(float))
    if work == NULL:
        raise MemoryError()
    with nogil:
        status = K.run(&net, sources, source.shape[0], probes, probe.shape[0], out.shape[1], every, work, to)
    free(work)
    raise_status(status, "moc")


def outflow(const float[::1] own, const float[::1] opening, double amount, double level, double[::1] work, float[::1] flow):
    """Fills flow; see kernels/moc.h."""
    if opening.shape[0] != own.shape[0] or work.shape[0] != own.shape[0] or flow.shape[0] != own.shape[0]:
        raise ValueError("own, opening, work and flow have one length")
    if own.shape[0]:
        K.outflow(&own[0], &opening[0], own.shape[0], amount, level, &work[0], &flow[0])
