"""Windows of a stream of vibration that end by the clock, each with its modes and how loud it was.

::

    samples -> decimate -> lag covariances, block by block -> at each multiple of `every_s`: SSI-cov of the last blocks -> modes
               (no raw samples are kept)

A window is the last blocks before its end, `BLOCKS` of them to a window: with ``every_s`` below ``window_s`` windows share blocks,
and nothing is summed twice.
"""

from __future__ import annotations

from collections.abc import Mapping
from math import log
from typing import Any, NamedTuple

import numpy as np

from lifeline_core.bridges.covariance import RunningLags
from lifeline_core.bridges.identify import modes_of
from lifeline_core.bridges.modes import Modes
from lifeline_core.bridges.ssi import ssi_from
from lifeline_core.bridges.weather import first_at
from lifeline_core.dsp.decimate import Decimator
from lifeline_core.model import NS, Block, Break

BLOCKS = 40  # of a window: their scatter gives the standard deviations
COVERAGE = 0.7  # of a window's blocks
ABOVE = 2.5  # working rate over f_max


class Window(NamedTuple):
    """One that has ended: when, ns; whether its samples came late; its modes; ``level``, the natural logarithm of the RMS over
    all channels about their means, NaN in silence."""

    t_ns: int
    historical: bool
    modes: Modes
    level: float

    def packed(self) -> list[Any]:
        return [self.t_ns, self.historical, self.modes.packed(), self.level]

    @classmethod
    def unpacked(cls, parts: Any) -> Window:
        return cls(int(parts[0]), bool(parts[1]), Modes.unpacked(parts[2]), float(parts[3]))


class Windows:
    """The state of one stream of ``n_ch`` channels.

    Parameters
    ----------
    n_ch : channels.
    rate_hz : of the samples.
    f_min, f_max : Hz, where modes are sought; f_max None: 0.4 of the rate.
    window_s, every_s : length of a window; one ends at each multiple of ``every_s``, UTC.
    block_rows, order_max : as in `lifeline_core.bridges.ssi_cov`.

    Raises
    ------
    ValueError
        f_max above 0.45 of the rate.
    """

    def __init__(self, n_ch: int, rate_hz: float, *, window_s: float, every_s: float, f_min: float, f_max: float | None,
                 block_rows: int, order_max: int) -> None:
        self.f_max = f_max or 0.4 * rate_hz
        if self.f_max > 0.45 * rate_hz:
            raise ValueError(f"f_max: must be at most 0.45 of the rate {rate_hz} Hz, is {f_max}")
        self.n_ch, self.rate_hz, self.window_s, self.every_ns = n_ch, rate_hz, window_s, round(every_s * NS)
        self.f_min, self.block_rows, self.order_max = f_min, block_rows, order_max
        self._q = max(1, int(rate_hz / (ABOVE * self.f_max)))
        fs, lags = rate_hz / self._q, 2 * block_rows - 1
        block = max(round(window_s / BLOCKS * fs), 2 * lags)
        self._whole = max(round(window_s * fs / block), 2)
        self._decimator = Decimator(self._q, n_ch)
        self._lags = RunningLags(n_ch, fs, lags, block=block, keep=self._whole)
        self._boundary: int | None = None
        self._historical = False

    @property
    def blocks(self) -> int:
        """Whole blocks that are remembered."""
        return self._lags.blocks

    def push(self, block: Block) -> list[Window]:
        """Samples that go on without a seam; the windows that ended in them, known with the first sample not before their end."""
        out: list[Window] = []
        x, at = np.asarray(block.x, np.float64), 0
        self._historical = block.historical
        while at < block.n:
            if self._boundary is None:
                t = block.time_ns(at)
                self._boundary = t - t % self.every_ns + self.every_ns
            end = first_at(block, at, self._boundary)
            if end > at:
                self._lags.push(self._decimator.push(np.ascontiguousarray(x[:, at:end])))
            at = end
            if at < block.n:
                out += self._close()
        return out

    def gap(self, brk: Break) -> list[Window]:
        """A seam: a window that ended before what follows is closed. Blocks that are done stay, unless so much is missing that
        they belong to another window."""
        out = self._close() if self._boundary is not None and brk.t_ns >= self._boundary else []
        self._decimator = Decimator(self._q, self.n_ch)
        self._lags.restart()
        if brk.lost < 0 or brk.lost / self.rate_hz > (1.0 - COVERAGE) * self.window_s:
            self._lags.reset()
        self._boundary = None
        return out

    def _close(self) -> list[Window]:
        """The window that ends at the boundary, if enough of it is there."""
        t_ns, self._boundary = self._boundary, None
        assert t_ns is not None
        if self._lags.blocks < COVERAGE * self._whole:
            return []
        lags = self._lags.read()
        power = float(np.trace(lags.mean[0])) / self.n_ch
        level = 0.5 * log(power) if 0.0 < power < np.inf else float("nan")
        poles = ssi_from(lags, self.block_rows, self.order_max, uncertainty=True, weights="canonical")
        modes = modes_of(poles, float(lags.weight.sum()) / lags.fs, f_min=self.f_min, f_max=self.f_max)
        return [Window(t_ns, self._historical, modes, level)]

    def save(self) -> dict[str, Any]:
        """State as a map of plain values and bytes."""
        return {"lags": self._lags.save(), "decimator": self._decimator.save(), "boundary": self._boundary,
                "historical": self._historical}

    def load(self, state: Mapping[str, Any]) -> None:
        """Go on from what `save` gave; StateError where it was made with other numbers."""
        self._lags.load(state["lags"])
        self._decimator.load(bytes(state["decimator"]))
        self._boundary, self._historical = state["boundary"], bool(state["historical"])
