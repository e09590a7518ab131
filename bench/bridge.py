"""The bridge that is measured: its configuration, a minute of its vibration, and the blow that is planted in it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifeline_core import wire

RATE = 200  # Hz
CHANNELS = 4  # of a frame
SECONDS = 64  # of vibration, which is periodic: no seam is heard where it begins anew
FIRST_DEVICE = 1000
COUNT = 2.5e-6  # m/s2; the 24 bits then reach 20 m/s2, as accelerometers on bridges do
BLOW = 2.5  # m/s2, above both limits of bridge.shock
BLOW_AT = 20  # the sample of the planted frame it begins at
ENCODINGS = {"int24": wire.INT24, "float32": wire.FLOAT32}
DROPS = "[{ severity = 2, drop = 0.05 }, { severity = 3, drop = 0.10 }, { severity = 4, drop = 0.15 }]"
WATCHES = {  # the keys of each kind of watch
    "spectral": f'profile = "bridge.girder-acceleration"\nfrequency_limits = {DROPS}\nf_max = 20.0',  # one watch, to 20 Hz
    "shock": 'profile = "bridge.shock"',
    "girder": 'profile = "bridge.girder-acceleration"',
    "frequency": 'profile = "bridge.frequency-drop"',
}
DETECTORS = ("girder", "shock")  # with the automatic health watch: every bridge detector there is
TOGETHER, APART = ("spectral", "shock"), ("girder", "frequency", "shock")  # and frequencies watched too, with one spectrum or two


@dataclass(frozen=True)
class Bridge:
    """One site with ``devices`` loggers of four accelerometers; every logger is watched by every one of ``watches``."""

    devices: int = 16
    encoding: str = "int24"
    watches: tuple[str, ...] = DETECTORS
    health: bool = True

    @property
    def frame_bytes(self) -> int:
        return wire.HEADER_LEN + CHANNELS * RATE * wire.WIDTH[ENCODINGS[self.encoding]]

    @property
    def detectors(self) -> list[str]:
        """What watches each logger."""
        return [*self.watches, *["health"] * self.health]

    def text(self, data_dir: Path, addresses: Sequence[str]) -> str:
        """The configuration; ``addresses`` of ingest, alarms and feed."""
        ingest, alarms, feed = addresses
        lines = [
            "[service]",
            f'ingest = "{ingest}"\nalarms = "{alarms}"\nfeed = "{feed}"\nmetrics = "127.0.0.1:0"',
            f'data_dir = "{data_dir}"',
            f"health = {str(self.health).lower()}",
            '[site.bridge]\ndomain = "bridge"',
        ]
        for d in range(self.devices):
            names = [f"a{d}-{c}" for c in range(CHANNELS)]
            for c, name in enumerate(names):
                lines += [
                    f'[channel.{name}]\nsite = "bridge"\ndevice = {FIRST_DEVICE + d}\nchannel = {c}',
                    f'quantity = "acceleration"\nunit = "m/s2"\nrate_hz = {RATE}.0\nrange = [-20.0, 20.0]',
                    f"scale = {COUNT if self.encoding == 'int24' else 1.0}",
                ]
            watched = f'site = "bridge"\nchannels = {names}'.replace("'", '"')
            lines += [f"[watch.{name}-{d}]\n{watched}\n{WATCHES[name]}" for name in self.watches]
        return "\n".join(lines) + "\n"

    def seconds(self) -> tuple[NDArray[Any], NDArray[Any]]:
        """The pool of payloads ``[second][channel][sample]`` in the device's counts: as it is, and with the blow in it."""
        n = SECONDS * RATE
        f = np.fft.rfftfreq(n, 1 / RATE)
        rng = np.random.default_rng(7)
        x = np.zeros((CHANNELS, n))
        for c in range(CHANNELS):
            shape = sum(1 / (1 + ((f - f0) / (0.01 * f0)) ** 2) for f0 in (1.3, 3.1, 5.7)) + 0.02
            noise = np.fft.irfft(shape * (rng.normal(size=f.size) + 1j * rng.normal(size=f.size)), n)
            x[c] = 0.03 * noise / noise.std()
        calm = x.reshape(CHANNELS, SECONDS, RATE).transpose(1, 0, 2)
        t = np.arange(RATE - BLOW_AT) / RATE
        struck = calm.copy()
        struck[:, :, BLOW_AT:] += BLOW * np.exp(-t / 0.05) * np.cos(2 * np.pi * 12 * t)
        return self._counts(calm), self._counts(struck)

    def _counts(self, x: NDArray[np.float64]) -> NDArray[Any]:
        if self.encoding == "float32":
            return np.ascontiguousarray(x, np.float32)
        return np.ascontiguousarray(np.rint(x / COUNT), np.int32)
