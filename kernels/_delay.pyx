# serves: lifeline_core.dsp
"""Memory for kernels/delay.c: weights and peaks of pairs of channels from one matrix of averaged cross-spectra."""

from libc.stdint cimport int64_t, uint32_t

import numpy as np

from lifeline_core.errors import raise_status

cdef extern from "delay.h":
    ctypedef struct ll_delay_plan:
        size_t n_f, n_ch, lo, hi
        uint32_t weighting, polarity, wide, stride
        double certain
        const double *say
    ctypedef struct ll_delay_sums:
        double size, top, bottom
    ctypedef struct ll_delay_api:
        int (*channels)(const ll_delay_plan *, const void *, double *, double *) nogil
        int (*weigh)(const ll_delay_plan *, const void *, const double *, const double *, const int64_t *, size_t, void *, void *,
                     ll_delay_sums *) nogil
        int (*peaks)(const ll_delay_plan *, const void *, const void *, size_t, size_t, const ll_delay_sums *, size_t, void *,
                     double *, double *) nogil
    const ll_delay_api *ll_delay() nogil

cdef const ll_delay_api *K = ll_delay()

ctypedef fused spectrum_t:
    float complex
    double complex

ctypedef fused real_t:
    float
    double

cdef size_t SMALL = 4096  # lines times pairs: below, giving the GIL away costs more than it is worth


cdef class Pairs:
    """One matrix S[n_f, n_ch, n_ch] and its channels' roots; `weigh` and `peaks` may run in several threads at once."""

    cdef ll_delay_plan plan
    cdef const void *s
    cdef object matrix, kept
    cdef const double[::1] say
    cdef double[:, ::1] root, share

    def __cinit__(self, matrix, const double[::1] say, size_t lo, size_t hi, int weighting, int polarity, double certain,
                  uint32_t stride):
        if matrix.ndim != 3 or matrix.shape[1] != matrix.shape[2] or say.shape[0] != matrix.shape[0] or matrix.size == 0:
            raise_status(-2, f"delays of a matrix of shape {matrix.shape}")
        self.matrix, self.say = matrix, say
        self.plan.n_f, self.plan.n_ch, self.plan.lo, self.plan.hi = matrix.shape[0], matrix.shape[1], lo, hi
        self.plan.weighting, self.plan.polarity, self.plan.stride = weighting, polarity, stride
        self.plan.certain, self.plan.say = certain, &say[0]
        if matrix.dtype == np.complex64:
            self.hold32(matrix)
        else:
            self.hold64(matrix)
        self.root = np.empty((self.plan.n_ch, self.plan.n_f))
        cdef double *share = NULL
        if weighting <= 1:
            self.share = np.empty((self.plan.n_ch, self.plan.n_f))
            share = &self.share[0, 0]
        raise_status(K.channels(&self.plan, self.s, &self.root[0, 0], share), "delays")

    cdef hold32(self, const float complex[:, :, ::1] matrix):
        self.s, self.plan.wide, self.kept = &matrix[0, 0, 0], 0, matrix

    cdef hold64(self, const double complex[:, :, ::1] matrix):
        self.s, self.plan.wide, self.kept = &matrix[0, 0, 0], 1, matrix

    def weigh(self, const int64_t[:, ::1] pairs, spectrum_t[:, ::1] cross, real_t[:, ::1] coherence, double[:, ::1] sums):
        """Fill cross [.., stride], coherence [.., n_f] and sums [.., 3] (size, top, bottom) of these pairs."""
        cdef size_t n = pairs.shape[0]
        cdef int status
        cdef const double *share = NULL
        if self.share is not None:
            share = &self.share[0, 0]
        if n == 0:
            return
        if pairs.shape[1] != 2 or <size_t> cross.shape[0] < n or cross.shape[1] != self.plan.stride or \
                <size_t> coherence.shape[0] < n or <size_t> coherence.shape[1] != self.plan.n_f or <size_t> sums.shape[0] < n or \
                sums.shape[1] != 3 or sizeof(real_t) != (8 if self.plan.wide else 4) or sizeof(spectrum_t) != 2 * sizeof(real_t):
            raise_status(-2, "delays")
        if n * self.plan.n_f < SMALL:
            status = K.weigh(&self.plan, self.s, &self.root[0, 0], share, &pairs[0, 0], n, &cross[0, 0], &coherence[0, 0],
                             <ll_delay_sums *> &sums[0, 0])
        else:
            with nogil:
                status = K.weigh(&self.plan, self.s, &self.root[0, 0], share, &pairs[0, 0], n, &cross[0, 0], &coherence[0, 0],
                                 <ll_delay_sums *> &sums[0, 0])
        raise_status(status, "delays")

    def peaks(self, const spectrum_t[:, ::1] cross, const real_t[:, ::1] full, const double[:, ::1] sums, real_t[:, ::1] r,
              double[::1] at, double[::1] peak):
        """Fill r [.., 2 edge + 1], at and peak from the transforms of cross."""
        cdef size_t n = r.shape[0], edge = r.shape[1] // 2, length = full.shape[1]
        cdef int status
        if n == 0:
            return
        if <size_t> cross.shape[0] < n or cross.shape[1] != self.plan.stride or <size_t> full.shape[0] < n or \
                <size_t> sums.shape[0] < n or sums.shape[1] != 3 or <size_t> at.shape[0] != n or <size_t> peak.shape[0] != n or \
                r.shape[1] % 2 == 0 or sizeof(real_t) != (8 if self.plan.wide else 4) or sizeof(spectrum_t) != 2 * sizeof(real_t):
            raise_status(-2, "delays")
        if n * self.plan.n_f < SMALL:
            status = K.peaks(&self.plan, &cross[0, 0], &full[0, 0], length, edge, <const ll_delay_sums *> &sums[0, 0], n, &r[0, 0],
                             &at[0], &peak[0])
        else:
            with nogil:
                status = K.peaks(&self.plan, &cross[0, 0], &full[0, 0], length, edge, <const ll_delay_sums *> &sums[0, 0], n,
                                 &r[0, 0], &at[0], &peak[0])
        raise_status(status, "delays")
