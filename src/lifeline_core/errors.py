"""Every error this package raises on purpose; each states the rule and the value that broke it."""

from __future__ import annotations

from collections.abc import Sequence


class LifelineError(Exception):
    """The root of what this package raises, apart from ValueError and TypeError for plain bad arguments."""


class ConfigError(LifelineError, ValueError):
    """A configuration with faults: all of them at once, each as ``path: rule, value``."""

    def __init__(self, faults: Sequence[str]) -> None:
        self.faults = tuple(faults)
        super().__init__("\n".join(self.faults))


class CommandRefused(LifelineError):
    """An operator command that is not possible now; ``code`` is a word such as ``bad-transition``."""

    def __init__(self, code: str, text: str) -> None:
        self.code = code
        super().__init__(text)


class StateError(LifelineError, ValueError):
    """Saved state that this build cannot take: another version, another configuration, or damage."""


class StoreError(LifelineError, OSError):
    """The system refused to keep something; what was not kept is not acknowledged."""


_STATUS = {
    -1: (ValueError, "the input is empty"),
    -2: (ValueError, "lengths do not fit each other"),
    -3: (ValueError, "a parameter is outside its range"),
    -4: (MemoryError, "the system gave no memory"),
    -5: (StateError, "saved state is of another version, size or build"),
    -6: (BufferError, "no room"),
    -7: (StoreError, "the system refused a file operation"),
}


def raise_status(status: int, what: str) -> None:
    """Turn a kernel's negative status (kernels/status.h) into its exception; 0 and counts pass.

    >>> raise_status(0, "welch")
    >>> raise_status(-1, "welch")
    Traceback (most recent call last):
    ValueError: welch: the input is empty
    """
    if status < 0:
        kind, rule = _STATUS.get(status, (LifelineError, f"unknown status {status}"))
        raise kind(f"{what}: {rule}")
