"""Benchmarks: one file for each thing measured, each also a short test for `make bench`."""
