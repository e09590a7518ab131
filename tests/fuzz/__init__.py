"""The compiled code under sanitizers, and fed with bytes nobody meant."""
