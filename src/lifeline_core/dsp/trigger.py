"""High-pass and recursive STA/LTA in one pass over float32 rows, the ratio worked out only where it may reach the trigger's level.

What it answers is that of `SosFilter` (settled on each row's first finite sample) and `StaLta` one after the other, but for
roundings: about 1e-7 of a ratio. Streams answer the same numbers however the samples are cut and whatever the other rows are.
"""

from __future__ import annotations

import struct

import numpy as np
from numpy.typing import NDArray

import lifeline_core.dsp._trigger as _trigger
from lifeline_core.dsp._trigger import Past
from lifeline_core.dsp.designs import highpass
from lifeline_core.errors import StateError

__all__ = ["Past", "Trigger"]

HEAD = struct.Struct("<4sIIqqqddd")  # tag, version, size, rows and windows, g, a1, a2: what the state belongs to
VERSION = 1


class Trigger:
    """Rows behind a high-pass of order 2, and where the ratio of their short and long averages may reach ``on``.

    ::

        y = g (x - 2 x[-1] + x[-2]) + a1 y[-1] + a2 y[-2]      S = (1 - 1/n) S + y^2      ratio = (S_sta/n_sta) / (S_lta/n_lta)

    A row rests at its first finite sample. A sample that is not finite answers NaN and leaves its row's state as it was; the
    ratio is 0 until ``n_lta`` finite samples have come.

    Parameters
    ----------
    rows : at least 1.
    fs, dc_hz : sampling rate and corner of the high-pass, Hz.
    n_sta, n_lta : samples of the short and the long average, 1 <= n_sta <= n_lta.
    on : the level that is asked about, above 0.

    Raises
    ------
    ValueError
        A parameter is outside its rule.

    Source
    ------
    M. Withers et al., Bull. Seism. Soc. Am. 88 (1998) 95-106 (recursive STA/LTA).

    >>> trigger = Trigger(1, 100.0, 0.1, 2, 8, on=3.0)
    >>> y, ratio = trigger.push(np.float32([[9.8] * 20]))
    >>> float(abs(y).max()), ratio is None
    (0.0, True)
    >>> y, ratio = trigger.push(np.float32([[9.8, 10.8, 9.8]]))
    >>> [round(float(q), 2) for q in ratio[0]]
    [0.0, 4.0, 2.29]
    """

    TAG = b"LLtr"

    def __init__(self, rows: int, fs: float, dc_hz: float, n_sta: int, n_lta: int, *, on: float) -> None:
        if not 1 <= n_sta <= n_lta:
            raise ValueError(f"trigger: 1 <= n_sta <= n_lta must hold, are {n_sta} and {n_lta}")
        if not 0.0 < on < np.inf:
            raise ValueError(f"trigger: on must be finite and above 0, is {on}")
        b0, _, _, _, a1, a2 = highpass(fs, dc_hz)[0].tolist()
        self.rows = int(rows)
        self._key = (self.rows, int(n_sta), int(n_lta), b0, -a1, -a2)
        self._kept = _trigger.Rows(self.rows, b0, -a1, -a2, n_sta, n_lta, on)

    def push(self, x: NDArray[np.float32], *, whole: bool = False) -> tuple[NDArray[np.float32], NDArray[np.float32] | None]:
        """Samples behind the high-pass, and their ratios: None where none of them reaches ``on``.

        A ratio before which none reached ``on`` in these samples may be told as 0; with ``whole`` each is told as it is.
        """
        found: tuple[NDArray[np.float32], NDArray[np.float32] | None] = self._kept.push(x, whole)
        return found

    def taker(self, past: Past) -> object:
        """The same for pieces that the assembler hands out: what does not reach ``on`` is taken, and its samples behind the
        high-pass go to ``past``."""
        return self._kept.taker(past)

    def shut(self, closed: bool) -> None:
        """Whether the taker leaves everything alone for now: every ratio is wanted."""
        self._kept.shut(closed)

    def taken(self) -> tuple[int, int, int, int, int] | None:
        """What the taker took since the last call: (anchor_ns, index behind the last sample, rate_num, rate_den, flags)."""
        found: tuple[int, int, int, int, int] | None = self._kept.taken()
        return found

    def reset(self) -> None:
        """Begin anew: the next finite sample of a row is its rest, and the first n_lta ratios are 0 again."""
        self._kept.reset()

    def save(self) -> bytes:
        """The state as versioned bytes."""
        body: bytes = self._kept.save()
        return self._head(len(body)) + body

    def load(self, state: bytes) -> None:
        """Go on from what `save` gave; StateError where it is of other rows, windows or another corner."""
        body = bytes(state[HEAD.size :])
        if state[: HEAD.size] != self._head(len(body)):
            raise StateError(f"trigger: saved state is of another version, size or other parameters ({len(state)} bytes)")
        try:
            self._kept.load(body)
        except ValueError as error:
            raise StateError(str(error)) from error

    def _head(self, size: int) -> bytes:
        rows, *rest = self._key
        return HEAD.pack(self.TAG, VERSION, size, rows, *rest)
