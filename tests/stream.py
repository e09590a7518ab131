"""Frames, cities and cuts for tests."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import numpy as np
from numpy.typing import NDArray

from lifeline_core import wire
from lifeline_core.detectors import find
from lifeline_core.detectors.base import Limit
from lifeline_core.model import NS, Channel, City, Site, Watch

T0 = 1_700_000_000 * NS


def frames(
    x: NDArray[Any],
    cuts: Sequence[int],
    *,
    device: int = 7,
    channel: int = 0,
    rate: int = 10,
    t0_ns: int = T0,
    epoch: int = 1,
    seq0: int = 0,
    index0: int = 0,
    flags: int = 1,
) -> list[bytes]:
    """x[n_channels, n] cut before the samples in ``cuts``, as consecutive frames."""
    edges = [0, *sorted(set(cuts) - {0, x.shape[1]}), x.shape[1]]
    return [
        wire.pack(
            x[:, a:b],
            device=device,
            channel=channel,
            seq=seq0 + k,
            sample_index=index0 + a,
            t0_ns=t0_ns + a * NS // rate,
            rate=rate,
            epoch=epoch,
            flags=flags,
        )
        for k, (a, b) in enumerate(pairwise(edges))
    ]


def level_city(
    n_channels: int = 1,
    *,
    rate: float | None = 10.0,
    above: float = 25.0,
    device: int = 7,
    consequence: str = "medium",
    **params: Any,
) -> City:
    """One device, one `level` watch ``w`` over all its channels ``c0``, ``c1`` ..."""
    names = tuple(f"c{i}" for i in range(n_channels))
    kind = find("level")
    settings = kind.PARAMS(limits=(Limit(severity=2, above=above), Limit(severity=4, above=2 * above)), **params)
    return City(
        sites={"s": Site(name="s", domain="gas", consequence=consequence)},
        channels={n: Channel(name=n, site="s", device=device, channel=i, rate_hz=rate, unit="u") for i, n in enumerate(names)},
        watches={"w": Watch(name="w", site="s", channels=names, detector="level", params=settings)},
        hash="test",
    )


def noise(n_channels: int, n: int, seed: int = 0) -> NDArray[np.float32]:
    return np.random.default_rng(seed).normal(0, 3, (n_channels, n)).astype(np.float32)
