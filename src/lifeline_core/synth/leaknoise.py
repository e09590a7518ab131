"""What two loggers on a pipe hear of a leak between them: the textbook model, with the truth known.

::

    source      white noise
    on the way  H(w) = exp(-w beta x) exp(-i w x / c)      x = distance to the logger
    at each     independent white noise; the same mains hum at both, if asked for

Source: Gao, Brennan, Joseph, Muggleton, Hunaidi, J. Sound Vib. 277 (2004) 133-148 (fluid-filled pipe in vacuo, flat
source spectrum).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Self

import numpy as np
from numpy.typing import ArrayLike, NDArray

from lifeline_core.synth import pipeloss
from lifeline_core.synth.pipeloss import PipeLoss, band_end_hz, loss_db_per_m

__all__ = ["LeakNoise", "PipeLoss", "band_end_hz", "loss_db_per_m"]

SMALLEST_BLOCK = 8192


@dataclass(frozen=True, slots=True, kw_only=True)
class LeakNoise:
    """A pipe with a leak and a logger at either end; logger a is row 0, at 0 m.

    Parameters
    ----------
    fs : float
        Samples per second.
    length_m, position_m : float
        Distance between the loggers, and of the leak from logger a, metres.
    speed_mps : float
        Wave speed c.
    beta_s_m : float
        Loss factor beta in s/m: 8.686 w beta dB per metre.
    snr_db : float or None
        Leak against sensor noise, broad band, at the logger farther from the leak. None: no leak at all.
    noise_rms : float
        RMS of the sensor noise, in the unit of the output.
    hum_db : float or None
        RMS of the hum against the sensor noise; the same waveform at both loggers, harmonics falling as 1/k.
    hum_hz, hum_harmonics : float, int
    onset_s : float
        The leak is silent before.

    Examples
    --------
    >>> site = LeakNoise(fs=2048.0, length_m=102.6, position_m=73.5, speed_mps=484.0, beta_s_m=7.25e-5, snr_db=0.0)
    >>> round(site.delay_s * 1e3, 2)
    -91.74
    >>> site.whole(4096, rng=1).shape
    (2, 4096)
    """

    fs: float
    length_m: float
    position_m: float
    speed_mps: float
    beta_s_m: float = 0.0
    snr_db: float | None = 0.0
    noise_rms: float = 1.0
    hum_db: float | None = None
    hum_hz: float = 50.0
    hum_harmonics: int = 8
    onset_s: float = 0.0

    def __post_init__(self) -> None:
        if not (self.fs > 0 and self.speed_mps > 0 and self.beta_s_m >= 0 and self.noise_rms > 0):
            raise ValueError("fs, speed_mps and noise_rms must be above 0 and beta_s_m 0 or more")
        if not 0.0 <= self.position_m <= self.length_m:
            raise ValueError(f"position_m must lie in 0 .. length_m = {self.length_m}, is {self.position_m}")

    @classmethod
    def of_pipe(cls, pipe: PipeLoss, **site: Any) -> Self:
        """A site on a pipe whose speed and loss follow from its wall; ``site``: the other keys."""
        return cls(speed_mps=pipe.speed_mps, beta_s_m=pipe.beta_s_m, **site)

    def correlation(self, lags_s: ArrayLike, *, low_hz: float = 0.0, high_hz: float | None = None) -> NDArray[np.float64]:
        """What the loggers' cross-correlation tends to, but for its scale: see `pipeloss.correlation`."""
        return pipeloss.correlation(lags_s, self.delay_s, self.beta_s_m, self.length_m, low_hz=low_hz,
                                    high_hz=self.fs / 2.0 if high_hz is None else high_hz)

    @property
    def delay_s(self) -> float:
        """t_b - t_a: positive when the leak is nearer to a."""
        return (self.length_m - 2.0 * self.position_m) / self.speed_mps

    def whole(self, n: int, rng: np.random.Generator | int) -> NDArray[np.float32]:
        """The first n samples, float32 [2, n]."""
        out = np.empty((2, n), np.float32)
        filled = 0
        for block in self.blocks(rng):
            take = min(n - filled, block.shape[1])
            out[:, filled : filled + take] = block[:, :take]
            filled += take
            if filled == n:
                break
        return out

    def chunks(self, n: int, rng: np.random.Generator | int) -> Iterator[NDArray[np.float32]]:
        """Endless consecutive chunks float32 [2, n]; joined they are what `whole` gives for the same seed."""
        if n < 1:
            raise ValueError(f"a chunk must hold 1 sample or more, is {n}")
        kept = np.empty((2, 0), np.float32)
        for block in self.blocks(rng):
            kept = np.concatenate([kept, block], axis=1)
            while kept.shape[1] >= n:
                yield kept[:, :n].copy()
                kept = kept[:, n:]

    def blocks(self, rng: np.random.Generator | int) -> Iterator[NDArray[np.float32]]:
        """Endless blocks float32 [2, B] of the size the synthesis works in (overlap-save, FFT of 2 B)."""
        rng = np.random.default_rng(rng)
        h = self._responses()
        size = h.shape[1] - 1
        gain = 0.0 if self.snr_db is None else self._gain(h)
        phases = rng.uniform(0.0, 2.0 * np.pi, self.hum_harmonics)
        onset = round(self.onset_s * self.fs)
        past = 3 * size // 4
        source = rng.standard_normal(size)
        start = 0
        while True:
            drawn = rng.standard_normal((3, size))
            x = self.noise_rms * drawn[1:]
            if gain > 0.0 and start + size > onset:
                both = np.concatenate([source, drawn[0]])
                leak = gain * np.fft.irfft(h * np.fft.rfft(both), 2 * size)[:, past : past + size]
                leak[:, : max(onset - start, 0)] = 0.0
                x += leak
            if self.hum_db is not None:
                x += self._hum(start, size, phases)
            yield x.astype(np.float32)
            source = drawn[0]
            start += size

    def _responses(self) -> NDArray[np.complex128]:
        """Both paths as responses on the grid of 2 B points, their impulse responses confined to [-B/4, 3B/4]."""
        longest = max(self.position_m, self.length_m - self.position_m) / self.speed_mps
        size = SMALLEST_BLOCK
        while size < 4.0 * longest * self.fs:
            size *= 2
        w = 2.0 * np.pi * np.fft.rfftfreq(2 * size, 1.0 / self.fs)
        x = np.array([[self.position_m], [self.length_m - self.position_m]])
        impulse = np.fft.irfft(np.exp(-w * self.beta_s_m * x - 1j * w * x / self.speed_mps), 2 * size)
        impulse[:, 3 * size // 4 : 2 * size - size // 4] = 0.0
        return np.fft.rfft(impulse)

    def _gain(self, h: NDArray[np.complex128]) -> float:
        """Factor on the unit source that gives snr_db at the farther logger (the weaker path)."""
        assert self.snr_db is not None
        weakest = np.sqrt(np.sum(np.fft.irfft(h) ** 2, axis=1)).min()
        return float(self.noise_rms * 10.0 ** (self.snr_db / 20.0) / weakest)

    def _hum(self, start: int, size: int, phases: NDArray[np.float64]) -> NDArray[np.float64]:
        """Mains hum by absolute sample number, so that it does not depend on the block."""
        assert self.hum_db is not None
        t = np.arange(start, start + size) / self.fs
        orders = [k for k in range(1, self.hum_harmonics + 1) if k * self.hum_hz < self.fs / 2]
        power = sum(0.5 / k**2 for k in orders)
        total = np.zeros(size)
        for k in orders:
            total += np.sin(2.0 * np.pi * k * self.hum_hz * t + phases[k - 1]) / k
        return total * (self.noise_rms * 10.0 ** (self.hum_db / 20.0) / np.sqrt(power)) if orders else total
