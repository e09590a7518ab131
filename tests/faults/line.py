"""A line with weather: cut, slow, half open, refused, and bytes that change on the way."""

from __future__ import annotations

import random
import threading
from collections.abc import Container
from typing import Any

from tests.proxy import Proxy

PACE_S = (0.03, 0.3)  # between two changes of the weather
WEATHER = {"calm": 6, "cut": 3, "deaf": 2, "refusing": 2, "slow": 4, "garbled": 6}  # how often each, of the sum
SLOW_S = (0.01, 0.05, 0.25)
GARBLED = 0.05  # of the pieces, while it lasts


class Line(Proxy):
    """A `Proxy` that changes a byte of a piece now and then.

    Attributes
    ----------
    garble_up, garble_down : float
        Chance of a piece, as the socket gave it, to have one byte changed: towards the service, and back.
    garbled : int
        Pieces changed.
    """

    def __init__(self, target: int, rng: random.Random) -> None:
        self.garble_up = self.garble_down = 0.0
        self.garbled, self._rng = 0, rng
        super().__init__(target)

    def _pass(self, end: Any) -> None:
        before, other = len(self._later), self._pairs.get(end)
        super()._pass(end)
        if other is None or len(self._later) == before:
            return
        when, _, data = self._later[-1]
        chance = self.garble_up if self.towards_target(other) else self.garble_down
        if self._rng.random() < chance:
            changed = bytearray(data)
            changed[self._rng.randrange(len(data))] ^= self._rng.randrange(1, 256)
            self._later[-1] = when, other, bytes(changed)
            self.garbled += 1


class Weather(threading.Thread):
    """Changes a line until `clear`, which leaves it sound. ``garbles`` one or both of "up" and "down"."""

    def __init__(self, line: Line, rng: random.Random, garbles: Container[str]) -> None:
        super().__init__(name="weather", daemon=True)
        self.line, self._garbles = line, garbles
        self.counts = dict.fromkeys(WEATHER, 0)
        self._rng, self._ended = rng, threading.Event()

    def run(self) -> None:
        while not self._ended.wait(self._rng.uniform(*PACE_S)):
            self._change(self._rng.choices(list(WEATHER), list(WEATHER.values()))[0])

    def _change(self, kind: str) -> None:
        line = self.line
        self.counts[kind] += 1
        line.refusing = kind == "refusing"
        line.delay_s = self._rng.choice(SLOW_S) if kind == "slow" else 0.0
        line.garble_up, line.garble_down = (GARBLED * (kind == "garbled" and way in self._garbles) for way in ("up", "down"))
        if kind in ("cut", "refusing"):
            line.cut()
        elif kind == "deaf":
            line.go_deaf()

    def clear(self) -> None:
        self._ended.set()
        self.join()
        self._change("calm")
