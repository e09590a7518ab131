"""Limits and slopes sample by sample, in plain Python: what kernels/level.c must say."""

from __future__ import annotations

from dataclasses import dataclass, field

import numpy as np


@dataclass
class Side:
    """One side as ``v = sign * x`` against rising bounds."""

    sign: int
    bounds: list[np.float32]
    clear: np.float32
    since: list[int | None] = field(default_factory=list)
    peak: float = 0.0

    def __post_init__(self) -> None:
        self.since = [None] * len(self.bounds)


def level_events(t, x, above, below, *, hysteresis=0.0, strict=False, on_ns=0, off_ns=0, hold_ns=0):
    """Tuples (t_ns, what, side, rank, x, peak, onset_ns); bounds mild to extreme."""
    sides = [
        Side(1, [np.float32(b) for b in above], np.float32(above[0] - hysteresis) if above else np.float32(0)),
        Side(-1, [np.float32(-b) for b in below], np.float32(-(below[0] + hysteresis)) if below else np.float32(0)),
    ]
    events, active, rank, onset, clear_since, last = [], None, -1, 0, None, None

    def beyond(v, bound):
        return v > bound if strict else v >= bound

    def say(what, now, value):
        s = sides[active]
        events.append((now, what, active, rank, float(value), s.sign * s.peak, onset))

    for now, value in zip(t, x, strict=True):
        now, value = int(now), np.float32(value)
        if not np.isfinite(value):
            continue
        if last is not None and (now <= last or (hold_ns > 0 and now - last > hold_ns)):
            clear_since = None
            for s in sides:
                s.since = [None] * len(s.since)
        last = now
        for i, s in enumerate(sides):
            v = np.float32(s.sign) * value
            reached = -1
            for k, bound in enumerate(s.bounds):
                if not beyond(v, bound):
                    s.since[k] = None
                    continue
                if k == 0:
                    fresh = s.since[0] is None and active != i
                    s.peak = float(v) if fresh else max(s.peak, float(v))
                if s.since[k] is None:
                    s.since[k] = now
                if now - s.since[k] >= on_ns:
                    reached = k
            if reached >= 0 and active != i:
                if active is not None:
                    say(2, now, value)
                active, rank, onset, clear_since = i, reached, s.since[0], None
                say(0, now, value)
            elif active == i and reached > rank:
                rank = reached
                say(1, now, value)
        if active is not None:
            s = sides[active]
            v = np.float32(s.sign) * value
            if beyond(v, s.bounds[0]) or v > s.clear:
                clear_since = None
            elif clear_since is None:
                clear_since = now
            if clear_since is not None and now - clear_since >= off_ns:
                say(2, now, value)
                active, rank, clear_since = None, -1, None
    return events


def slopes(t, x, window_ns, *, hold_ns=0, per_ns=1.0, keep=128):
    """The slope at every sample against the newest kept sample at least ``window_ns`` old; one is kept per span."""
    span = -(-window_ns // keep)
    kept, out, last = [], [], None
    for now, value in zip(t, x, strict=True):
        now = int(now)
        out.append(np.nan)
        if not np.isfinite(value):
            continue
        if last is not None and (now <= last or (hold_ns > 0 and now - last > hold_ns)):
            kept = []
        last = now
        old = [(then, before) for then, before in kept if then <= now - window_ns]
        if old:
            then, before = old[-1]
            out[-1] = (float(value) - float(before)) / float(now - then) * per_ns
        if not kept or now // span > kept[-1][0] // span:
            kept.append((now, value))
    return np.array(out, np.float32)
