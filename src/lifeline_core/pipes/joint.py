"""Place of a source and speed of its waves together, from three or more sensors along one line of pipe.

::

    slowness u (s/m) per section, M(q) = integral of u from 0 to q
    t_b - t_a = |M(x) - M(q_b)| - |M(x) - M(q_a)|

Between two neighbouring places where something changes (a sensor, a joint of sections) M(x) = M(p) + z with z = u (x - p), and
every delay is linear in the speeds' scales and in z. So each such stretch is one weighted least squares problem, solved
exactly; the stretch with the least chi-square holds the source. Told speeds are data with their standard deviation.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from math import inf, isfinite
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc

from lifeline_core.pipes.position import Section, travel_time

Real = NDArray[np.float64]

FREE_REL_SD = 1.0  # of a speed nobody told: it may well be half or twice as high
SEEN_REL_SD = 0.1  # the delays alone must know the speed at least this well
OUTSIDE = 2.0  # standard deviations: nearer to the last sensor, a source may as well lie beyond it: the delays are the same
RIVAL = 4.0  # chi-square; another stretch that fits less than this worse is as good an answer
CONSISTENT = 1e-3  # chance below which the delays contradict each other


class PairDelay(NamedTuple):
    """t_b - t_a of one pair of sensors, seconds: positive when the source is nearer to a. ``sd_s`` above 0."""

    a: str
    b: str
    delay_s: float
    sd_s: float


@dataclass(frozen=True, slots=True)
class Joint:
    """Where the source is and how fast its waves run.

    ``x_m``, ``sd_m`` in the coordinate of the sensors. ``scale``: float64, what the told speeds are to be multiplied by, one for
    all sections or one for each; ``scale_sd``; ``covariance`` of (x, scale...). ``chi2`` with ``dof`` degrees of freedom,
    ``p_value`` of a larger one. ``outside`` "", "low" or "high": at or beyond the first or last sensor. ``residuals_s`` of all
    delays, in order. ``left_out``: what was judged wrong, a pair "a-b" or a sensor's name. ``reasons``: each ``word: text``;
    not ``accepted`` if ambiguous, inconsistent, outside or too-few is among them; speed-unobservable and left-out are warnings.
    """

    x_m: float
    sd_m: float
    scale: Real
    scale_sd: Real
    covariance: Real
    chi2: float
    dof: int
    p_value: float
    outside: str
    residuals_s: Real
    left_out: tuple[str, ...]
    accepted: bool
    reasons: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class _Line:
    """The pipe and its sensors, cut wherever something changes."""

    places: Mapping[str, float]
    edges: Real  # metres, rising; stretches lie between them
    part: NDArray[np.intp]  # scale that rules each stretch
    slowness: Real  # told, of each stretch
    total: Real  # [edges, scales]: travel time from 0 to the edge, by scale

    @property
    def ends(self) -> tuple[float, float]:
        return min(self.places.values()), max(self.places.values())

    def at(self, name: str) -> Real:
        return np.asarray(self.total[int(np.searchsorted(self.edges, self.places[name]))])


class _Prior(NamedTuple):
    rel_sd: float
    told: bool  # otherwise it is no datum


class _Fit(NamedTuple):
    cost: float  # what is least: squares of delays and of the prior
    chi2: float  # what is judged
    stretch: int
    theta: Real  # scales of travel time, z
    covariance: Real  # as if the stretch went on beyond its ends


def joint_position(
    sensors: Mapping[str, float],
    delays: Sequence[PairDelay],
    sections: Sequence[Section],
    *,
    speed_rel_sd: float | None = None,
    each_section: bool = False,
) -> Joint:
    """Position of a source, and the speed of its waves.

    Parameters
    ----------
    sensors : mapping of name to metres
        From the beginning of the first section; within the sections.
    delays : sequence of PairDelay
        Any pairs, also of the same two sensors again. Their errors count as independent.
    sections : sequence of Section
        The pipe with its told speeds, from 0 m.
    speed_rel_sd : float, optional
        How well the speeds are told (0.05: 5 %), above 0. None: they are not; then they only say where to begin, with a
        relative standard deviation of 1.
    each_section : bool
        Every section's speed may be wrong by itself; otherwise one scale for all.

    Returns
    -------
    Joint
        ``reasons``: speed-unobservable (one pair, or a source in the middle of all: the place stands on the told speed),
        outside, ambiguous (two stretches fit as well), inconsistent (chi-square beyond chance, no culprit), left-out (one
        delay or one sensor contradicts the rest and was left out), too-few.

    Raises
    ------
    ValueError
        Fewer than two sensors, no delay, unknown or equal names, sensors off the pipe, numbers out of range.

    Examples
    --------
    >>> found = joint_position({"p1": 0.0, "p2": 100.0, "p3": 250.0}, [PairDelay("p1", "p2", 20 / 480, 1e-5),
    ...                        PairDelay("p2", "p3", 150 / 480, 1e-5)], [Section(250.0, 1200.0)])
    >>> round(found.x_m, 2), round(1200 * found.scale.item(), 1), found.accepted
    (40.0, 480.0, True)
    """
    line = _line(sensors, delays, sections, speed_rel_sd, each_section)
    prior = _Prior(FREE_REL_SD, False) if speed_rel_sd is None else _Prior(speed_rel_sd, True)
    unknowns = 1 + (0 if prior.told else line.total.shape[1])
    used, left_out, reasons = list(range(len(delays))), tuple[str, ...](), list[str]()
    fits = _fits(line, delays, prior)
    dof = len(delays) - unknowns
    if dof > 0 and chdtrc(dof, fits[0].chi2) < CONSISTENT:
        culprit = _culprit(line, delays, prior, unknowns)
        if culprit:
            left_out, used = culprit
            fits = _fits(line, [delays[i] for i in used], prior)
            dof = len(used) - unknowns
            reasons.append(f"left-out: {', '.join(left_out)} contradicts the rest")
        else:
            reasons.append(f"inconsistent: chi-square {fits[0].chi2:.1f} with {dof} degrees of freedom, "
                           f"chance {chdtrc(dof, fits[0].chi2):.1e}, and no single delay or sensor explains it")
    if dof < 0:
        reasons.append(f"too-few: {len(used)} delays for {unknowns} unknowns, and no speed told")
    return _answer(line, delays, [delays[i] for i in used], fits, dof, left_out, reasons)


def _line(sensors: Mapping[str, float], delays: Sequence[PairDelay], sections: Sequence[Section],
          speed_rel_sd: float | None, each_section: bool) -> _Line:
    travel_time(sections)  # its checks
    borders = np.concatenate([[0.0], np.cumsum([s.length_m for s in sections])])
    if len(sensors) < 2:
        raise ValueError(f"at least 2 sensors are needed, are {len(sensors)}")
    for name, q in sensors.items():
        if not -1e-9 <= q <= borders[-1] * (1 + 1e-12) + 1e-9:
            raise ValueError(f"sensor {name} must lie on the pipe, 0 .. {borders[-1]:g} m, is at {q}")
    if speed_rel_sd is not None and not (speed_rel_sd > 0.0 and isfinite(speed_rel_sd)):
        raise ValueError(f"speed_rel_sd must be above 0 and finite, is {speed_rel_sd}")
    if not delays:
        raise ValueError("delays must hold at least one pair, holds none")
    for d in delays:
        if d.a not in sensors or d.b not in sensors or d.a == d.b:
            raise ValueError(f"a delay must be of two of the sensors {', '.join(sensors)}, is of {d.a} and {d.b}")
        if not (isfinite(d.delay_s) and d.sd_s > 0.0 and isfinite(d.sd_s)):
            raise ValueError(f"delay {d.a}-{d.b} and its sd_s must be finite and sd_s above 0, are {d.delay_s} and {d.sd_s}")
    places = {name: float(min(max(q, 0.0), borders[-1])) for name, q in sensors.items()}
    edges = np.unique([*borders, *places.values()])
    section = np.clip(np.searchsorted(borders, (edges[:-1] + edges[1:]) / 2) - 1, 0, len(sections) - 1)
    slowness = np.array([1.0 / sections[k].speed_mps for k in section])
    part = section if each_section else np.zeros_like(section)
    steps = np.zeros((edges.size - 1, len(sections) if each_section else 1))
    steps[np.arange(edges.size - 1), part] = slowness * np.diff(edges)
    return _Line(places, edges, part, slowness, np.concatenate([np.zeros((1, steps.shape[1])), np.cumsum(steps, axis=0)]))


def _fits(line: _Line, delays: Sequence[PairDelay], prior: _Prior) -> list[_Fit]:
    """The best fit of every stretch between the outermost sensors, best first."""
    low, high = line.ends
    stretches = [k for k, (a, b) in enumerate(pairwise(line.edges)) if a >= low and b <= high]
    return sorted((_fit(line, delays, prior, k) for k in stretches), key=lambda fit: fit.cost)


def _fit(line: _Line, delays: Sequence[PairDelay], prior: _Prior, k: int) -> _Fit:
    """Least squares in one stretch: inside it if it can, else at the better of its ends."""
    sds, n, part = np.array([d.sd_s for d in delays]), line.total.shape[1], int(line.part[k])
    a = np.concatenate([_design(line, delays, k) / sds[:, None], np.eye(n, n + 1) / prior.rel_sd])
    y = np.concatenate([np.array([d.delay_s for d in delays]) / sds, np.full(n, 1.0 / prior.rel_sd)])
    theta, covariance = _solve(a, y)
    length = line.slowness[k] * (line.edges[k + 1] - line.edges[k])  # of z, per scale
    choices = [theta]
    if not 0.0 <= theta[-1] <= length * theta[part]:
        choices = []
        for z in (0.0, length):
            folded = a[:, :n].copy()
            folded[:, part] += a[:, n] * z
            scales, _ = _solve(folded, y)
            choices.append(np.append(scales, z * scales[part]))
    told = len(delays) + (n if prior.told else 0)
    squares = [(a @ at - y) ** 2 for at in choices]
    return min((_Fit(float(s.sum()) if (at[:n] > 0.0).all() else inf, float(s[:told].sum()), k, at, covariance)
                for at, s in zip(choices, squares, strict=True)), key=lambda fit: fit.cost)


def _solve(a: Real, y: Real) -> tuple[Real, Real]:
    """Least squares, and the covariance for errors of 1."""
    size = np.linalg.norm(a, axis=0)
    size[size == 0.0] = 1.0
    theta, *_ = np.linalg.lstsq(a / size, y, rcond=None)
    return theta / size, np.linalg.pinv((a / size).T @ (a / size)) / np.outer(size, size)


def _design(line: _Line, delays: Sequence[PairDelay], k: int) -> Real:
    """Rows of d(delay) / d(scales, z) for a source in stretch k."""

    def time(name: str) -> Real:
        sign = 1.0 if line.places[name] <= line.edges[k] else -1.0
        return sign * np.append(line.total[k] - line.at(name), 1.0)

    return np.array([time(d.b) - time(d.a) for d in delays])


def _culprit(line: _Line, delays: Sequence[PairDelay], prior: _Prior, unknowns: int) -> tuple[tuple[str, ...], list[int]] | None:
    """The one delay, else the one sensor, without which the rest agree; None where there is none or more than one."""
    every = range(len(delays))
    pairs = [((f"{d.a}-{d.b}",), [j for j in every if j != i]) for i, d in enumerate(delays)]
    whole = [((name,), [j for j in every if name not in delays[j][:2]]) for name in line.places]
    for trials in (pairs, whole):
        agree = []
        for names, rest in trials:
            dof = len(rest) - unknowns
            if dof > 0 and chdtrc(dof, _fits(line, [delays[j] for j in rest], prior)[0].chi2) >= 10.0 * CONSISTENT:
                agree.append((names, rest))
        if len(agree) == 1:
            return agree[0]
        if agree:
            return None
    return None


def _answer(line: _Line, delays: Sequence[PairDelay], used: Sequence[PairDelay], fits: Sequence[_Fit], dof: int,
            left_out: tuple[str, ...], reasons: list[str]) -> Joint:
    best, n = fits[0], line.total.shape[1]
    scales, k, part = best.theta[:n], best.stretch, int(line.part[best.stretch])
    u = scales[part] * line.slowness[k]
    x = float(line.edges[k] + best.theta[n] / u)
    turn = np.zeros((n + 1, n + 1))  # from (scales of travel time, z) to (x, scales of speed)
    turn[0, n], turn[0, part] = 1.0 / u, -best.theta[n] / (u * scales[part])
    turn[1:, :n] = -np.diag(1.0 / scales**2)
    covariance = turn @ best.covariance @ turn.T
    sd = np.sqrt(np.maximum(np.diag(covariance), 0.0))
    low, high = line.ends
    outside = "low" if x - low <= OUTSIDE * sd[0] and x - low <= high - x else "high" if high - x <= OUTSIDE * sd[0] else ""
    if outside:
        reasons.append(f"outside: the source lies at or beyond the {'first' if outside == 'low' else 'last'} sensor, "
                       f"{x:.1f} m with a standard deviation of {sd[0]:.1f}")
    reasons += _doubts(line, used, fits, x, float(sd[0]))
    residuals = np.array([d.delay_s for d in delays]) - _design(line, delays, k) @ best.theta
    bad = {"ambiguous", "inconsistent", "outside", "too-few"}
    return Joint(x, float(sd[0]), 1.0 / scales, sd[1:], covariance, best.chi2, dof,
                 float(chdtrc(dof, best.chi2)) if dof > 0 else 1.0, outside, residuals, left_out,
                 not any(r.split(":")[0] in bad for r in reasons), tuple(reasons))


def _doubts(line: _Line, used: Sequence[PairDelay], fits: Sequence[_Fit], x: float, sd: float) -> list[str]:
    """Speeds that the delays do not fix by themselves; other stretches, not beside the best one, that fit as well."""
    best, found, n = fits[0], [], line.total.shape[1]
    among = sorted({int(line.part[f.stretch]) for f in fits})
    a = _design(line, used, best.stretch) / np.array([d.sd_s for d in used])[:, None]
    a *= np.append(best.theta[:n], float(np.abs(line.total).max()))  # relative errors of the scales
    seen = np.linalg.inv(a.T @ a + 1e-6 / SEEN_REL_SD**2 * np.eye(n + 1))
    blind = [i for i in among if seen[i, i] > SEEN_REL_SD**2]
    if blind:
        which = "" if n == 1 else f" of section {', '.join(str(i) for i in blind)}"
        found.append(f"speed-unobservable: the delays alone do not fix the speed{which} to {SEEN_REL_SD:.0%}; "
                     "the place stands on the told one")
    for rival in fits[1:]:
        k = rival.stretch
        other = float(line.edges[k] + rival.theta[n] / (rival.theta[int(line.part[k])] * line.slowness[k]))
        if rival.cost - best.cost < RIVAL and abs(other - x) > 4.0 * sd + 1e-6 * float(line.edges[-1]):
            found.append(f"ambiguous: {other:.1f} m fits as well, chi-square {rival.cost - best.cost:.1f} more")
    return found
