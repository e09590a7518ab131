"""What kernels/taker.h declares, and how a compiled class offers its taker to the assembler."""

from cpython.pycapsule cimport PyCapsule_GetContext, PyCapsule_GetPointer, PyCapsule_New, PyCapsule_SetContext
from cpython.ref cimport Py_DECREF, Py_INCREF, PyObject
from libc.stdint cimport int64_t, uint8_t, uint32_t, uint64_t

cdef extern from "taker.h":
    enum:
        LL_BRIEF
    ctypedef struct ll_given:
        const float *const *x
        uint32_t rows
        size_t n
        int64_t anchor_ns, index
        uint32_t rate_num, rate_den, clock_sd_us
        uint8_t flags
    ctypedef struct ll_taker:
        int (*take)(ll_taker *, const ll_given *) noexcept nogil
        void (*fetch)(const ll_taker *, size_t) noexcept nogil
        uint64_t pieces
        int64_t anchor_ns, end
        uint32_t rate_num, rate_den
        uint8_t flags, shut
    size_t ll_piece_most(size_t rows) noexcept nogil
    void ll_fetch(const float *x, size_t n) noexcept nogil


cdef inline void let_go(object capsule) noexcept:
    Py_DECREF(<object>PyCapsule_GetContext(capsule))


cdef inline object offered(object owner, ll_taker *t):
    """A capsule that keeps the owner of this taker."""
    capsule = PyCapsule_New(t, "lifeline_core.taker", let_go)
    Py_INCREF(owner)
    PyCapsule_SetContext(capsule, <void *>owner)
    return capsule


cdef inline ll_taker *taker_of(object capsule) except NULL:
    return <ll_taker *>PyCapsule_GetPointer(capsule, "lifeline_core.taker")


cdef inline object taken(ll_taker *t):
    """(anchor_ns, index behind the last sample, rate_num, rate_den, flags) of what was taken since the last call; None: nothing."""
    if t.pieces == 0:
        return None
    t.pieces = 0
    return t.anchor_ns, t.end, t.rate_num, t.rate_den, t.flags
