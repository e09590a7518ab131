"""Naive twin of kernels/step.c: one row, bin by bin, in plain numbers and whole lists."""

from __future__ import annotations

import math
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

ORDER, PAST, MEMORY, LAG, WARM, BLOCKS = 4, 256, 64, 4, 12, 32


@dataclass
class Rule:
    """As ll_step_rule."""

    size: int
    n_pre: int
    n_post: int
    n_rise: int
    n_gate: int
    n_window: int
    n_ring: int
    n_hold: int
    drift: float
    trigger: float
    min_step: float
    allowance: float
    z: float
    reference: float
    threshold: float


def deviation(v: list[float]) -> float:
    return 1.4826022185056018 * float(np.median(np.abs(v)))


def coefficients(rho: NDArray[np.float64], order: int) -> NDArray[np.float64]:
    """Levinson's recursion with reflections held below 0.999."""
    a, left = np.zeros(0), 1.0
    for m in range(order):
        c = float(np.clip((rho[m + 1] - a @ rho[m:0:-1]) / left, -0.999, 0.999))
        a = np.append(a - c * a[::-1], c)
        left *= 1 - c * c
    return np.append(a, np.zeros(ORDER - order))


@dataclass
class Row:
    """The state of one row; ``push`` answers (sample after, what, bins, back) as the kernel does, what 1 a step, 2 quiet."""

    rule: Rule
    samples: int = 0
    open: list[float] = field(default_factory=list)
    y: list[float] = field(default_factory=list)
    d: list[float] = field(default_factory=list)
    blocks: int = 0
    sigma: float = math.inf
    noise: float = math.inf
    crossings: int = 0
    a: NDArray[np.float64] = field(default_factory=lambda: np.zeros(ORDER))
    mean: NDArray[np.float64] = field(default_factory=lambda: np.zeros(ORDER + 4))  # of correlations and three logarithms

    def __post_init__(self) -> None:
        self.forget()

    def forget(self) -> None:
        self.levels: list[float] = []
        self.lags: list[float] = []
        self.base, self.settled, self.missing, self.pending, self.quiet = 0.0, 0, 0, 0, 0
        self.meter, self.bins, self.g, self.gate = [0.0, 0.0], [0, 0], [0.0, 0.0], [0, 0]
        self.old: tuple[float, float] | None = None  # level before the first step, half of its size
        self.near, self.since, self.back = 0, 0, -1

    def push(self, x: NDArray[np.float32]) -> list[tuple[int, int, int, int]]:
        found = []
        for v in x:
            self.samples += 1
            self.open.append(float(v))
            if len(self.open) == self.rule.size:
                good = [u for u in self.open if math.isfinite(u)]
                self.open = []
                said = self.take(float(np.median(good))) if 2 * len(good) >= self.rule.size else self.hole()
                if said:
                    found.append((self.samples, *said))
        return found

    def hole(self) -> None:
        self.missing += 1
        if 2 * self.missing > self.rule.n_rise:
            self.forget()

    def take(self, level: float) -> tuple[int, int, int] | None:
        r = self.rule
        self.missing = 0
        self.levels.append(level)
        if self.settled == 0:
            self.base = level
        y = level - self.base
        self.settled = min(self.settled + 1, MEMORY)
        self.base += y / self.settled
        if len(self.levels) < 2:
            return None
        if len(self.levels) > LAG:
            self.remember(y)
        if not math.isfinite(self.noise):
            return None
        self.whiten(y)
        self.track(level)
        far = self.far(level - self.levels[-2])
        self.quiet = 0 if far else self.quiet + 1
        said = None
        if self.pending:
            said = self.asked()
        else:
            self.pending = int(far)
        if said is None and self.quiet == r.n_hold:
            said = (2, 0, self.since - self.back if self.old and self.back >= 0 else -1)
            self.old = None
        return said

    def before(self) -> float:
        r = self.rule
        kept = self.levels[-r.n_window :]
        at = max(0, len(kept) - r.n_rise - (r.n_post + r.n_pre) // 2)
        return float(np.median(kept[at : at + r.n_pre]))

    def after(self) -> float:
        return float(np.median(self.levels[-self.rule.n_post :]))

    def remember(self, y: float) -> None:
        self.y.append(float(np.float32(y)))
        self.d.append(float(np.float32(self.after() - self.before())))
        n = len(self.y)
        if n < PAST:
            if n == WARM or (n > WARM and n % 16 == 0):
                half = max(n // 2, WARM)
                self.learn(self.y[:half], self.d[:half])
        elif n % PAST == 0:
            self.blocks = min(self.blocks + 1, BLOCKS)
            self.learn(self.y[-PAST:], self.d[-PAST:])

    def learn(self, y: list[float], d: list[float]) -> None:
        n, w = len(y), 1.0 / max(self.blocks, 1)
        v = np.clip(y, -3 * deviation(y), 3 * deviation(y))
        rho = np.array([1.0, *(v[i:] @ v[:-i] / (v @ v) if v.any() else 0.0 for i in range(1, ORDER + 1))])
        order = min(ORDER, n // 16)
        mean = self.mean + w * (np.append(rho, [0, 0, 0]) - self.mean)
        self.a = coefficients(mean[: ORDER + 1], order)
        e = [y[i] - sum(self.a[j] * y[i - 1 - j] for j in range(order)) for i in range(order, n)]
        mid, tail, noise = deviation(e), sorted(map(abs, e))[int(0.98 * (len(e) - 1))] / 2.3263478740408408, deviation(d)
        new = np.append(rho, np.log(np.maximum([mid, tail, noise], 1e-30)))
        self.mean = self.mean + w * (new - self.mean)
        young = 16.0 / (max(self.blocks, 1) * n)
        least = max(1e-3 * self.rule.min_step, 3e-7 * abs(self.levels[-1]))
        self.sigma = max(max(math.exp(max(self.mean[-3:-1])), 0.75 * max(mid, tail)) * (1 + young), least)
        self.noise = max(math.exp(self.mean[-1]), 0.75 * noise) * (1 + 0.5 * young)

    def whiten(self, y: float) -> None:
        r = self.rule
        for side, sign in enumerate((-1, 1)):
            crossed = False
            if len(self.lags) == ORDER:
                e = (y - float(np.dot(self.a, self.lags))) / self.sigma
                g = self.g[side] + sign * e - r.reference
                self.g[side] = min(max(0.0, g), 1.25 * r.threshold)
                crossed = g >= r.threshold
            if crossed:
                self.crossings += self.gate[side] == 0
            self.gate[side] = r.n_gate if crossed else max(0, self.gate[side] - 1)
        self.lags = [y, *self.lags][:ORDER]

    def track(self, level: float) -> None:
        if self.old is None:
            return
        self.since += self.rule.size
        if self.back < 0:
            self.near = self.near + 1 if abs(level - self.old[0]) < self.old[1] else 0
            if self.near >= self.rule.n_post:
                self.back = self.since - self.rule.n_post * self.rule.size

    def far(self, change: float) -> bool:
        found = False
        for side, sign in enumerate((-1, 1)):
            self.meter[side] = max(0.0, self.meter[side] + sign * change - self.rule.drift)
            self.bins[side] = self.bins[side] + 1 if self.meter[side] > 0 else 0
            found |= self.meter[side] >= self.rule.trigger and self.gate[side] > 0
        return found

    def asked(self) -> tuple[int, int, int] | None:
        r = self.rule
        self.pending += 1
        if self.pending <= r.n_post:
            return None
        before, newest = self.before(), self.levels[-r.n_post :]
        limit = max(r.min_step, r.allowance + r.z * self.noise)
        if sorted(abs(v - before) for v in newest)[(len(newest) - 1) // 2] >= limit:
            return self.confirm(before)
        if self.pending > r.n_rise + 2 * r.n_post:
            self.settle()
        return None

    def settle(self) -> None:
        self.pending, self.meter, self.bins = 0, [0.0, 0.0], [0, 0]

    def confirm(self, before: float) -> tuple[int, int, int]:
        side = int(self.meter[1] > self.meter[0])
        bins, after = max(self.bins[side], 1), self.after()
        if self.old is None:
            self.old, self.near, self.since, self.back = (before, 0.5 * abs(after - before)), 0, 0, -1
        n = min(min(self.bins[side] + 1, self.rule.n_gate), min(len(self.y), PAST) // 2)
        for past in (self.y, self.d):
            past[len(past) - n :] = past[len(past) - 2 * n : len(past) - n]
        self.settle()
        self.quiet, self.base, self.settled, self.lags = 0, after, 8, [0.0] * len(self.lags)
        self.g, self.gate = [0.0, 0.0], [0, 0]
        return 1, bins, -1
