"""What vibration tells of a structure: its modes, and how alike two shapes are."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Real = NDArray[np.float64]
Complex = NDArray[np.complex128]


@dataclass(frozen=True, slots=True)
class Modes:
    """Modes or poles, one per row, in rising order of frequency (poles of a model order: order by order).

    f_hz : float64[n_modes], undamped natural frequency, Hz.
    damping : float64[n_modes], ratio to critical.
    shapes : complex128[n_modes, n_ch], the largest component is 1.
    f_sd_hz, damping_sd : float64[n_modes], standard deviations; NaN where they were not asked for.
    order : int64[n_modes], model order of each pole; 0: not of one order.
    shapes_sd : float64[n_modes, n_ch], root mean square error of each component; empty where it was not asked for
        (`identify_modes` gives it).
    refused : what was looked at and not taken, with the reason: (f_hz, damping, text).
    """

    f_hz: Real
    damping: Real
    shapes: Complex
    f_sd_hz: Real
    damping_sd: Real
    order: NDArray[np.int64]
    refused: tuple[tuple[float, float, str], ...] = field(default=())
    shapes_sd: Real = field(default_factory=lambda: np.empty((0, 0)))

    def __len__(self) -> int:
        return len(self.f_hz)

    def take(self, index: Any) -> Modes:
        """The rows of ``index``."""
        return Modes(self.f_hz[index], self.damping[index], self.shapes[index], self.f_sd_hz[index], self.damping_sd[index],
                     self.order[index], self.refused, self.shapes_sd[index] if len(self.shapes_sd) else self.shapes_sd)

    def packed(self) -> list[bytes]:
        """For a saved state: everything but ``refused`` and ``shapes_sd``."""
        return [a.tobytes() for a in (self.f_hz, self.damping, self.shapes, self.f_sd_hz, self.damping_sd, self.order)]

    @classmethod
    def unpacked(cls, parts: Sequence[bytes]) -> Modes:
        """What `packed` gave."""
        f, z, f_sd, z_sd = (np.frombuffer(parts[i]).copy() for i in (0, 1, 3, 4))
        shapes = np.frombuffer(parts[2], np.complex128).reshape(len(f), -1 if len(f) else 0).copy()
        return cls(f, z, shapes, f_sd, z_sd, np.frombuffer(parts[5], np.int64).copy())


def mac(a: ArrayLike, b: ArrayLike) -> Any:
    """Modal assurance criterion |a^H b|^2 / (a^H a b^H b), 0 .. 1; rows against rows for matrices.

    Parameters
    ----------
    a, b : complex[..., n_ch]
        Two shapes give a float, float64[n, m] for [n, n_ch] and [m, n_ch]. A shape of zeros is like nothing: 0.

    Source
    ------
    R. J. Allemang and D. L. Brown, Proc. 1st IMAC (1982) 110-116.

    Examples
    --------
    >>> mac([1.0, 2.0], [2.0, 4.0]), mac([1.0, 0.0], [0.0, 1.0])
    (1.0, 0.0)
    """
    u, v = np.atleast_2d(np.asarray(a, np.complex128)), np.atleast_2d(np.asarray(b, np.complex128))
    if u.shape[-1] != v.shape[-1]:
        raise ValueError(f"shapes must have as many channels, have {u.shape[-1]} and {v.shape[-1]}")
    if u.shape[-1]:
        u, v = _moderate(u), _moderate(v)  # or the squares of tiny components would be zeros
    top = np.abs(u.conj() @ v.T) ** 2
    size = np.sum(np.abs(u) ** 2, axis=1)[:, None] * np.sum(np.abs(v) ** 2, axis=1)[None, :]
    out = np.minimum(np.divide(top, size, out=np.zeros_like(top), where=size > 0), 1.0)
    return float(out[0, 0]) if np.ndim(a) == 1 and np.ndim(b) == 1 else out


def _moderate(shapes: Complex) -> Complex:
    """Each row times a power of two that brings its largest part near 1: exact, also for numbers too small to divide by."""
    _, power = np.frexp(np.maximum(np.abs(shapes.real), np.abs(shapes.imag)).max(axis=1, keepdims=True))
    out: Complex = np.ldexp(shapes.real, -power) + 1j * np.ldexp(shapes.imag, -power)
    return out


def normalised(shapes: Complex) -> Complex:
    """Each row turned and scaled so that its largest component is 1."""
    top = np.take_along_axis(shapes, np.argmax(np.abs(shapes), axis=1)[:, None], axis=1)
    return np.divide(shapes, top, out=np.zeros_like(shapes), where=top != 0)
