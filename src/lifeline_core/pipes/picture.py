"""One picture that a leak engineer can judge a suspected leak by. Needs matplotlib."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from scipy.ndimage import median_filter

from lifeline_core.pipes.leaks import NORMAL_95, Leak
from lifeline_core.pipes.loggers import Levels
from lifeline_core.pipes.persistence import Event, Rules
from lifeline_core.pipes.places import PipeMap

Real = NDArray[np.float64]
_BLUE, _ORANGE, _RED, _GREY = "C0", "C1", "C3", "0.6"
_GRADES = {1: "tab:blue", 2: "gold", 3: "darkorange", 4: "tab:red"}
_WORDS = {1: "blue", 2: "yellow", 3: "orange", 4: "red"}


@dataclass(frozen=True)
class Evidence:
    """What is drawn beside the leak: power spectra of loggers a and b of its main pair (unit^2/Hz), their levels."""

    f: Real
    power_a: Real
    power_b: Real
    levels_a: Levels
    levels_b: Levels


def headline(leak: Leak, pipes: PipeMap) -> str:
    """The verdict in words.

    The first line of a picture, for instance ``Leak suspected on mill-lane, 185.0 m from L01 towards L02 (95 %: 183.7 to
    186.3 m)``.
    """
    assert leak.main.position is not None
    pair, (low, high) = leak.main.pair, leak.interval_m
    link = pipes.graph.links[leak.place.link]
    if leak.main.position.outside:
        end = pair.a.name if leak.main.position.side == "a" else pair.b.name
        return f"Leak noise comes in at or beyond logger {end}, outside {pair.a.name} - {pair.b.name}"
    return (f"Leak suspected on {link}: {leak.x_m:.1f} m from {pair.a.name} towards {pair.b.name} "
            f"(95 %: {low:.1f} to {high:.1f} m)")


def _pipe(ax: Any, leak: Leak, pipes: PipeMap) -> None:
    """The way as a line, each piece in a shade of its own with its speed, loggers at its ends, the interval and the place."""
    pair, (low, high), x = leak.main.pair, leak.interval_m, 0.0
    length = pair.way.length_m
    for i, p in enumerate(p for p in pair.way.pieces if p.length_m):
        ax.plot([x, x + p.length_m], [0, 0], lw=9, color=("0.75", "0.87")[i % 2], solid_capstyle="butt", zorder=1)
        name = pipes.graph.links[p.link]
        ax.text(x + p.length_m / 2, -0.42, f"{name}\n{p.length_m:.0f} m, {p.speed_mps:.0f} m/s", ha="center", va="top",
                fontsize="small", color="0.35")
        x += p.length_m
    for node, at in pair.way.crossed():
        ax.plot(at, 0, "o", ms=5, color="white", mec="0.3", zorder=3)
        ax.text(at, 0.3, pipes.graph.nodes[node], ha="center", fontsize="small", color="0.35")
    ax.plot([0, length], [0, 0], "^", ms=11, color="0.2", zorder=4)
    for name, at, side in ((pair.a.name, 0.0, "left"), (pair.b.name, length, "right")):
        ax.text(at, 0.42, name, ha=side, fontweight="bold")
    ax.axvspan(low, high, ymin=0.36, ymax=0.72, color=_RED, alpha=0.25, zorder=2)
    for i, h in enumerate(leak.same):
        where = pair.way.where_m(h.place) if h.place is not None else None
        if where is not None and h.position is not None and i < 3:
            y, name = -0.22 - 0.1 * i, f"{h.pair.a.name}-{h.pair.b.name}  "
            ax.errorbar(where, y, xerr=NORMAL_95 * h.position.sd_m, fmt="|", color=_RED, lw=1.0, capsize=2, ms=6)
            ax.text(low, y, name, ha="right", va="center", fontsize="x-small", color=_RED)
    ax.plot(leak.x_m, 0, "*", ms=17, color=_RED, zorder=5)
    ax.text(leak.x_m, 0.62, f"{leak.x_m:.1f} m ± {leak.sd_m:.1f} m", ha="center", color=_RED, fontweight="bold")
    ax.set_ylim(-1.25, 1.05)
    ax.set_xlim(-0.02 * length, 1.02 * length)
    ax.set_yticks([])
    ax.set_xlabel(f"metres along the pipe from {pair.a.name}")
    for side in ("left", "right", "top"):
        ax.spines[side].set_visible(False)


def _correlogram(ax: Any, leak: Leak) -> None:
    h, c = leak.main, leak.main.found
    assert c is not None
    travel = h.pair.way.travel_s * 1e3
    later = (h.delay_s - c.delay_s) * 1e3
    ax.plot(c.lags_s * 1e3 + later, c.r, color=_BLUE, lw=0.8)
    ax.axvline(h.delay_s * 1e3, color=_RED, lw=1.2)
    for at in (-travel, travel):
        ax.axvline(at, color=_GREY, lw=0.8, ls="--")
    for delay, width, _ in c.suppressed:
        ax.axvspan((delay - width) * 1e3 + later, (delay + width) * 1e3 + later, color="0.9")
    ax.axhline(0.0, color="0.85", lw=0.6, zorder=0)
    ax.set_xlabel(f"delay of {h.pair.b.name} behind {h.pair.a.name}, ms   (dashed: travel time of the whole pipe)")
    ax.set_ylabel("correlation")
    ax.set_title(f"{h.delay_s * 1e3:.2f} ms ± {c.delay_sd_s * 1e3:.3f} ms, peak {c.psr:.1f} times the next", fontsize="medium")


def _top_hz(leak: Leak) -> float:
    """Twice the band, but no more than there is: what lies far above it says nothing."""
    c = leak.main.found
    assert c is not None
    return float(min(max(2.0 * c.band[1], 5.0 * float(c.f[1])), c.f[-1]))


def _shade(ax: Any, leak: Leak) -> None:
    c = leak.main.found
    assert c is not None
    ax.axvspan(*c.band, color="C2", alpha=0.10, zorder=0)
    ax.set_xlim(0.0, _top_hz(leak))
    ax.set_xlabel("frequency, Hz   (green: the band in use)")


def _coherence(ax: Any, leak: Leak) -> None:
    c = leak.main.found
    assert c is not None
    ax.plot(c.f, c.coherence, color=_BLUE, lw=0.8)
    ax.set_ylim(0.0, 1.02)
    ax.set_ylabel("coherence")
    ax.set_title(f"coherence {c.coherence_mean:.2f} from {c.band[0]:.0f} to {c.band[1]:.0f} Hz", fontsize="medium")
    _shade(ax, leak)


def _phase(ax: Any, leak: Leak) -> None:
    """Measured phase turned back by the delay found: one source on a straight pipe lies on zero."""
    c = leak.main.found
    assert c is not None
    left = np.angle(np.exp(1j * (c.phase + 2.0 * np.pi * c.f * c.delay_s)))
    if leak.main.pair.inverted:
        left = np.angle(-np.exp(1j * left))
    inside = (c.f >= c.band[0]) & (c.f <= c.band[1])
    ax.plot(c.f[~inside], left[~inside], ".", ms=2, color="0.8")
    sure = median_filter(c.coherence, 15, mode="nearest")  # a line of the mains is narrower, and no leak
    ax.scatter(c.f[inside], left[inside], s=7, c=sure[inside], cmap="Blues", vmin=-0.3, vmax=1.0, zorder=2)
    ax.axhline(0.0, color=_RED, lw=1.0)
    ax.set_ylim(-np.pi, np.pi)
    ax.set_yticks([-np.pi, 0, np.pi], ["-π", "0", "π"])
    ax.set_ylabel("phase left over, rad")
    like = np.abs(c.coherence[inside] - sure[inside]) < 0.3
    weight = sure[inside] * like
    spread = float(np.sqrt(np.sum(weight * left[inside] ** 2) / weight.sum())) if weight.sum() > 0.0 else float("nan")
    ax.set_title(f"phase against the straight line of {c.delay_s * 1e3:.2f} ms: {spread:.2f} rad (rms, by coherence)",
                 fontsize="medium")
    _shade(ax, leak)


def _spectra(ax: Any, leak: Leak, e: Evidence) -> None:
    inside = (e.f > 0) & (e.f <= _top_hz(leak))
    for power, name, colour in ((e.power_a, leak.main.pair.a.name, _BLUE), (e.power_b, leak.main.pair.b.name, _ORANGE)):
        with np.errstate(divide="ignore"):
            ax.plot(e.f[inside], 10.0 * np.log10(power[inside]), color=colour, lw=0.8, label=name)
    ax.set_ylabel("level, dB re 1/Hz")
    ax.legend(loc="upper right", fontsize="small")
    ax.set_title("power spectra", fontsize="medium")
    _shade(ax, leak)


def _levels(ax: Any, leak: Leak, e: Evidence) -> None:
    titles = []
    for levels, name, colour in ((e.levels_a, leak.main.pair.a.name, _BLUE), (e.levels_b, leak.main.pair.b.name, _ORANGE)):
        if levels.seconds:
            ax.stairs(levels.count, levels.edges_db, color=colour, fill=True, alpha=0.35)
            ax.stairs(levels.count, levels.edges_db, color=colour, label=f"{name}: Lmin {levels.lmin_db:.0f} dB")
            ax.axvline(levels.lmin_db, color=colour, lw=1.0, ls=":")
            titles.append(f"{name} {levels.level_db:.0f} / {levels.spread_db:.1f} dB")
    low, high = ax.get_xlim()
    ax.set_xlim(min(low, (low + high) / 2 - 4.0), max(high, (low + high) / 2 + 4.0))
    ax.set_xlabel("level of one second, dB re 1")
    ax.set_ylabel("seconds")
    ax.set_title("Level / Spread: " + ", ".join(titles), fontsize="medium")
    if titles:
        ax.legend(loc="best", fontsize="small")


def _nights(ax: Any, event: Event, rules: Rules) -> None:
    """One square a night: filled where it was heard, the fuller the clearer; open where listened in vain."""
    shown = event.history[-31:]
    colour = _GRADES[event.grade(rules)]
    for i, night in enumerate(shown):
        heard = night.spot is not None
        ax.bar(i, night.score if heard else 1.0, color=colour if heard else "white", edgecolor="0.5", width=0.8, alpha=1.0)
        if not heard:
            ax.text(i, 0.5, "nothing", ha="center", va="center", color="0.5", rotation=90, fontsize="small")
    ax.set_xticks(range(len(shown)), [h.night[5:] for h in shown], rotation=90, fontsize="x-small")
    ax.set_xlim(-0.7, max(len(shown), 14) - 0.3)
    ax.set_ylim(0.0, 1.05)
    ax.set_ylabel("score")
    ax.set_title(f"heard on {len(event.heard)} of {event.nights_looked} nights since {event.first_night}, "
                 f"grade {event.grade(rules)} ({_WORDS[event.grade(rules)]})", fontsize="medium")


def draw_leak(leak: Leak, pipes: PipeMap, evidence: Evidence, *, night: str | None = None, event: Event | None = None,
              rules: Rules | None = None) -> Any:
    """A matplotlib Figure: pipe with the interval, correlogram, coherence, phase, spectra, levels, earlier nights.

    Parameters
    ----------
    leak : Leak
        With the curves of its main pair.
    pipes : PipeMap
    evidence : Evidence
    night : str, optional
        ISO date, for the title.
    event, rules : optional
        The leak over many nights, where a history is kept.
    """
    from matplotlib.figure import Figure

    figure = Figure(figsize=(12, 11 if event is None else 12.6), layout="constrained")
    heights: Sequence[float] = [0.95, 1.3, 1.1, 1.1] + ([0.8] if event is not None else [])
    grid = figure.add_gridspec(len(heights), 2, height_ratios=heights)
    _pipe(figure.add_subplot(grid[0, :]), leak, pipes)
    _correlogram(figure.add_subplot(grid[1, :]), leak)
    _coherence(figure.add_subplot(grid[2, 0]), leak)
    _phase(figure.add_subplot(grid[3, 0]), leak)
    _spectra(figure.add_subplot(grid[2, 1]), leak, evidence)
    _levels(figure.add_subplot(grid[3, 1]), leak, evidence)
    if event is not None:
        _nights(figure.add_subplot(grid[4, :]), event, rules or Rules())
    seen = ", ".join(f"{h.pair.a.name}-{h.pair.b.name}" for h in (leak.main, *leak.same, *leak.witnesses))
    second = f"{'night of ' + night + ', ' if night else ''}score {leak.score:.2f}, heard by {seen}"
    notes = "".join(f"\n{n}" for n in leak.notes if not n.startswith("witnesses"))
    figure.suptitle(f"{headline(leak, pipes)}\n{second}{notes}", fontsize="large")
    return figure
