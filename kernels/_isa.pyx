# serves: lifeline_core
"""Which instruction set the kernels run on."""

cdef extern from "isa.h":
    int ll_isa() nogil
    int ll_isa_best() nogil

NAMES = ("baseline", "avx2", "avx512")


def chosen() -> str:
    """The instruction set in use."""
    return NAMES[ll_isa()]


def best() -> str:
    """The best one this processor has."""
    return NAMES[ll_isa_best()]
