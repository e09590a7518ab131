"""Which channel is which, told by how channels move together: exchanged cables and turned sensors.

What a structure does ties its channels together: correlations between them and how loud each is form a pattern that hardly
changes. Two channels that exchanged their places exchange their rows and columns in it; a channel turned round turns the signs
of its row::

    learned  Z[k, l], L[k]           Fisher's z of the correlation, log RMS less what all have in common; with their scatter
    present  z[k, l], l[k]

    misfit(h) = sum over pairs of min(((h z)[k, l] - Z[k, l])^2 / s[k, l]^2, CAP)  +  the same over l

for every hypothesis h: a channel turned, two exchanged, a ring of more from the Hungarian assignment of present rows to learned
ones. One is believed if it explains what identity does not, and nothing else that concerns the same channels nearly does: channels
alike in their pattern (symmetric sensors) cannot be told apart, and nothing is said of them.

Source: R. A. Fisher, Biometrika 10 (1915) 507-521 (z); H. W. Kuhn, Naval Res. Logist. Quart. 2 (1955) 83-97 (assignment).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from itertools import combinations

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import linear_sum_assignment

Real = NDArray[np.float64]

CAP = 25.0  # one pair or loudness counts no more than five standard deviations
LEAST_Z, LEAST_LOUD = 0.05, 0.05  # no scatter is taken for smaller
LARGEST_R = 0.999
FIT, MISFIT = 4.0, 3.0  # mean misfit of the terms concerned: at most so much if believed, at least so much without it
LEFT = 0.3  # of the misfit without it, at most so much if believed
CLEAR = 0.5  # of what the hypothesis explains no other may come nearer
MOST = 3  # faults at once


@dataclass(frozen=True, slots=True)
class Pattern:
    """z float64[n, n], loud float64[n]; NaN where there is none."""

    z: Real
    loud: Real


@dataclass(frozen=True, slots=True)
class Reference:
    """A learned pattern and its scatter from bin to bin."""

    mean: Pattern
    scatter: Pattern


@dataclass(frozen=True, slots=True)
class Fault:
    """``kind`` "swapped" or "flipped"; ``channels`` concerned (a ring: the first stands where the second belongs, and so on);
    ``without``: mean misfit of the terms concerned without it, ``believed`` with all that are said, in squared deviations."""

    kind: str
    channels: tuple[int, ...]
    without: float
    believed: float


def fisher_z(correlation: Real) -> Real:
    """arctanh of correlations, the diagonal NaN."""
    z = np.arctanh(np.clip(correlation, -LARGEST_R, LARGEST_R))
    np.fill_diagonal(z, np.nan)
    return z


@dataclass(frozen=True, slots=True)
class _Guess:
    """order[k]: the present row that belongs to channel k; sign[k] of that row."""

    kind: str
    channels: tuple[int, ...]
    order: NDArray[np.intp]
    sign: Real

    def apply(self, p: Pattern) -> Pattern:
        z = p.z[np.ix_(self.order, self.order)] * self.sign[:, None] * self.sign
        return Pattern(z, p.loud[self.order])


def _terms(p: Pattern, r: Reference) -> tuple[Real, Real]:
    """Capped misfits of pairs float64[n, n] and loudness float64[n]; 0 where one of both is missing."""
    z = (p.z - r.mean.z) / np.maximum(r.scatter.z, LEAST_Z)
    loud = (p.loud - r.mean.loud) / np.maximum(r.scatter.loud, LEAST_LOUD)
    return np.nan_to_num(np.minimum(z * z, CAP), nan=0.0), np.nan_to_num(np.minimum(loud * loud, CAP), nan=0.0)


def _misfit(p: Pattern, r: Reference, concerned: tuple[int, ...]) -> tuple[float, int]:
    """Sum and number of the terms that concern some channels."""
    pairs, loud = _terms(p, r)
    rows = list(concerned)
    inside = np.ix_(rows, rows)
    there = np.isfinite(p.z + r.mean.z)
    total = pairs[rows].sum() - 0.5 * pairs[inside].sum() + loud[rows].sum()
    number = there[rows].sum() - there[inside].sum() // 2 + np.isfinite(p.loud + r.mean.loud)[rows].sum()
    return float(total), int(number)


def _guesses(p: Pattern, r: Reference) -> Iterator[_Guess]:
    n = len(p.loud)
    same, plain = np.arange(n), np.ones(n)
    for k in range(n):
        sign = plain.copy()
        sign[k] = -1.0
        yield _Guess("flipped", (k,), same, sign)
    pairs = set(combinations(range(n), 2))
    for a, b in sorted(pairs):
        order = same.copy()
        order[[a, b]] = b, a
        yield _Guess("swapped", (a, b), order, plain)
    for ring in _rings(p, r):
        order = same.copy()
        order[list(ring)] = np.roll(ring, -1)
        yield _Guess("swapped", ring, order, plain)


def _rings(p: Pattern, r: Reference) -> list[tuple[int, ...]]:
    """Rings of three or more in the assignment of present rows to learned ones."""
    n = len(p.loud)
    cost = np.full((n, n), CAP)
    for k in range(n):  # the learned channel
        scale = np.maximum(r.scatter.z[k], LEAST_Z)
        for m in range(n):  # the present row
            d = np.minimum(((p.z[m] - r.mean.z[k]) / scale) ** 2, CAP)
            d[[k, m]] = np.nan
            if np.isfinite(d).any():
                cost[k, m] = float(np.nanmedian(d))
    _, order = linear_sum_assignment(cost)
    left, rings = {k for k in range(n) if order[k] != k}, []
    while left:
        ring = [min(left)]
        while (following := int(order[ring[-1]])) != ring[0]:
            ring.append(following)
        left -= set(ring)
        if len(ring) > 2:
            rings.append(tuple(ring))
    return rings


def find_faults(present: Pattern, reference: Reference) -> list[Fault]:
    """What of exchanged and turned channels the present pattern shows beyond doubt, at most MOST faults.

    Parameters
    ----------
    present : pattern of now; rows of channels that are not to be judged are NaN.
    reference : learned pattern of the same channels.
    """
    usable = np.isfinite(present.loud) & np.isfinite(reference.mean.loud)
    if usable.sum() < 3:
        return []
    now, found = present, list[Fault]()
    good: list[Fault] = []
    while len(found) < MOST and (best := _best(now, reference, usable)) is not None:
        guess, fault = best
        now = guess.apply(now)
        found.append(fault)
        concerned = tuple(sorted({k for f in found for k in f.channels}))
        total, number = _misfit(now, reference, concerned)
        if total <= number * min(FIT, LEFT * min(f.without for f in found)):  # one of two alone does not fit: both together do
            good = [replace(f, believed=total / number) for f in found]
    return good


def _best(now: Pattern, r: Reference, usable: NDArray[np.bool_]) -> tuple[_Guess, Fault] | None:
    """The hypothesis that explains most, if it is clear."""
    tried = []
    if not _strange(now, r):
        return None
    for guess in _guesses(now, r):
        if not usable[list(guess.channels)].all():
            continue
        before, number = _misfit(now, r, guess.channels)
        after, _ = _misfit(guess.apply(now), r, guess.channels)
        if number:
            tried.append((before - after, guess, before / number))
    if not tried:
        return None
    gain, guess, without = max(tried, key=lambda t: t[0])
    if gain <= 0 or without < MISFIT or not _clear(gain, guess, tried, now, r):
        return None
    return guess, Fault(guess.kind, guess.channels, without, 0.0)


def _strange(now: Pattern, r: Reference) -> bool:
    """Whether any channel misfits enough that a hypothesis could be needed: soon seen, and nearly never true."""
    pairs, loud = _terms(now, r)
    number = np.isfinite(now.z + r.mean.z).sum(axis=1) + np.isfinite(now.loud + r.mean.loud)
    return bool(((pairs.sum(axis=1) + loud) >= 0.8 * MISFIT * np.maximum(number, 1)).any())


def _clear(gain: float, guess: _Guess, tried: list[tuple[float, _Guess, float]], now: Pattern, r: Reference) -> bool:
    """Whether no other hypothesis about the same channels explains nearly as much."""
    mine = set(guess.channels)
    others = [g for g, other, _ in tried if other is not guess and mine & set(other.channels)]
    if guess.kind == "swapped":  # channels of opposite sense look exchanged when all of them are turned
        sign = np.ones(len(now.loud))
        sign[list(guess.channels)] = -1.0
        turned = _Guess("flipped", guess.channels, np.arange(len(sign)), sign)
        others.append(_misfit(now, r, guess.channels)[0] - _misfit(turned.apply(now), r, guess.channels)[0])
    return max(others, default=0.0) <= (1.0 - CLEAR) * gain
