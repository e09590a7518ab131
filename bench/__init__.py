"""Benchmarks: one file for each thing measured, each also a short test for `make bench`."""

import os

# One thread, ours and the peer's, unless a case says otherwise; before numpy and its like are loaded.
for _name in ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "NUMBA_NUM_THREADS"):
    os.environ.setdefault(_name, "1")
