"""Faults done to the running service on purpose, and what must hold after each."""
