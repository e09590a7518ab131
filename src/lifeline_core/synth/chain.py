"""A chain of equal masses on equal springs, fixed at one end: modes in closed form, response without integration error."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from lifeline_core.synth.bridge import mode_acceleration

Real = NDArray[np.float64]


@dataclass(frozen=True, slots=True)
class Chain:
    """``f_hz``, ``damping`` and ``shapes`` float64[n_modes, n_dof] (mass-normalised rows) of a chain of unit masses."""

    f_hz: Real
    damping: Real
    shapes: Real

    def acceleration(self, n: int, fs: float, rng: np.random.Generator, *, noise_db: float = 20.0) -> Real:
        """float64[n_dof, n]: absolute acceleration under white forces at every mass, held over each sample.

        Each mode is stepped with its exact matrix exponential. ``noise_db``: the white noise of every channel's sensor lies
        so far below the channel's own power; infinity adds none. The response has settled when the record begins.
        """
        settle = int(10.0 * fs / (2.0 * np.pi * float(np.min(self.damping * self.f_hz))))
        force = self.shapes @ rng.standard_normal((self.shapes.shape[1], n + settle))
        modes = zip(self.f_hz.tolist(), self.damping.tolist(), force, strict=True)
        modal = np.stack([mode_acceleration(f, z, fs, u) for f, z, u in modes])
        x: Real = (self.shapes.T @ modal)[:, settle:]
        sd = x.std(axis=1, keepdims=True) * 10.0 ** (-noise_db / 20.0)
        return x + sd * rng.standard_normal(x.shape)


def chain(n: int = 5, f1_hz: float = 0.89, damping: Sequence[float] = (0.01, 0.015, 0.02, 0.012, 0.01), *,
          ground: float = 1.0) -> Chain:
    """The modes of n unit masses whose springs are set so that the first mode is at ``f1_hz``.

    With all springs alike ``w_j = 2 sqrt(k/m) sin((2j - 1) pi / (2 (2n + 1)))``; ``ground`` scales the spring that holds the
    chain to the ground (0.9: it has lost a tenth) and leaves the others as they are.

    >>> chain().f_hz.round(4).tolist()
    [0.89, 2.5979, 4.0953, 5.261, 6.0004]
    """
    if n < 1 or len(damping) != n or ground <= 0:
        raise ValueError(f"a chain has a mass or more, a damping for each and a ground spring, not {n}, {len(damping)}, {ground}")
    k = (np.pi * f1_hz / np.sin(np.pi / (2 * (2 * n + 1)))) ** 2
    stiffness = np.diag(np.full(n, 2.0 * k)) - k * (np.eye(n, k=1) + np.eye(n, k=-1))
    stiffness[0, 0] = k * (1.0 + ground)
    stiffness[-1, -1] = k
    if n == 1:
        stiffness[0, 0] = k * ground
    w2, phi = np.linalg.eigh(stiffness)
    return Chain(np.sqrt(w2) / (2 * np.pi), np.asarray(damping, np.float64), np.ascontiguousarray(phi.T))
