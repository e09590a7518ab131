"""What channels betray about their sensors, told from what the structure does: by neighbours, and by their own past.

Complements `health`, which sees one sample after the other (identical values, ends of the range, silence). Here bins of minutes
are judged, on samples cleaned as `dsp.cleaning` does; the first ``train`` bins are learned from, and nothing but spikes is said
before. Spikes, dead and noisy begin and end with ``confirm`` bins in a row; swapped and flipped with one ``pattern_s``, the others
with a day. It says nothing about the asset.

=========  =====================================================================================================
kind       begins when
=========  =====================================================================================================
spikes     more than ``spike_share`` of a channel's samples are spikes
dead       its RMS about the mean, against its neighbours', fell by ``dead_factor``, and below all it was in training
noisy      the same rose by ``noisy_factor``, and above all it was in training
swapped    channels exchanged their places in the pattern of correlations and loudness (`dsp.likeness`)
flipped    a channel's correlations with the others turned their signs
gain       its daily loudness against the neighbours, freed of how loud all are, left its past (`dsp.drift`), by
           ``gain_drift`` or more
drift      its daily level, less what neighbours and weather explain, did, by ``offset_drift`` or more
=========  =====================================================================================================

What needs neighbours is not said without them: dead and noisy need one other channel that moves, the rest three channels in all.
A channel that repeats one value is left to `health`.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import astuple, dataclass
from typing import Annotated, Any

import numpy as np
from msgspec import Meta
from numpy.typing import NDArray

from lifeline_core.bridges.weather import Weather
from lifeline_core.detectors.base import Detector, Group, Params, Severity
from lifeline_core.dsp.cleaning import REASONS, Cleaner
from lifeline_core.dsp.comoments import Comoments, Moments
from lifeline_core.dsp.days import Days, Told
from lifeline_core.dsp.delayed import Delayed
from lifeline_core.dsp.likeness import MISFIT, fisher_z
from lifeline_core.dsp.placing import Placed, Placing
from lifeline_core.dsp.usual import Usual, common
from lifeline_core.errors import StateError
from lifeline_core.model import NS, Block, Break, Finding, Site, Watch

Real = NDArray[np.float64]

VERSION = 1
DAY_S = 86_400
COVERAGE = 0.7  # of a bin's samples, and of a day's bins
SCATTERS = 6.0  # no factor is nearer than so many standard deviations of what was learned
FEWEST = 3  # spikes in a bin


class QualityParams(Params, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Keys of a ``quality`` watch: channels of one quantity that feel one structure."""

    bin_s: Annotated[float, Meta(ge=1.0, le=86_400.0, description="length of a bin; bins begin at its multiples, UTC")] = 600.0
    train: Annotated[int, Meta(ge=20, le=100_000, description="bins that are learned from; should hold whole weeks")] = 1008
    confirm: Annotated[int, Meta(ge=1, le=1000, description="bins in a row that a finding, or its end, must hold")] = 6
    pattern_s: Annotated[
        float, Meta(ge=2.0, le=604_800.0, description="so long is averaged to tell channels apart; whole days hold the traffic")
    ] = 86_400.0
    spike_share: Annotated[float, Meta(gt=0.0, le=1.0, description="spikes among the samples of a bin, 3 or more")] = 1e-3
    dead_factor: Annotated[float, Meta(gt=1.0, description="fall of the RMS against the neighbours'")] = 10.0
    noisy_factor: Annotated[float, Meta(gt=1.0, description="rise of the RMS against the neighbours'")] = 3.0
    gain_drift: Annotated[float, Meta(ge=0.0, description="smallest drift of a gain that is said, relative; 0: not watched")] = 0.05
    offset_drift: Annotated[
        float, Meta(ge=0.0, description="smallest drift of a level that is said, in the channels' unit; 0: not watched")
    ] = 0.0
    drift_days: Annotated[int, Meta(ge=10, le=3660, description="days after training that drifts are learned from")] = 21
    false_per_year: Annotated[
        float, Meta(gt=0.0, le=10.0, description="drifts that may be said in a year of one channel that does not drift")
    ] = 0.1
    environment: Annotated[int, Meta(ge=0, le=16, description="so many channels at the end of the list tell the weather")] = 0
    severity: Annotated[Severity, Meta(description="of all kinds; 1 blue .. 4 red")] = 1


@dataclass(slots=True)
class _Said:
    """Bins in a row for and against one finding."""

    run: int = 0
    back: int = 0
    active: bool = False
    onset_ns: int = 0


class Quality(Detector):
    """Kinds ``spikes``, ``dead``, ``noisy``, ``swapped``, ``flipped``, ``drift``; see the module's docstring.

    Source is the channel's name, of ``swapped`` the names with a comma between. ``value`` and ``limit``: spikes, share of a bin;
    dead and noisy, the factor against the neighbours; drift and gain, the departure, in the unit and relative, both with slope
    a day, its 95 % interval and the days it is read from; swapped and flipped, the misfit of the terms concerned in squared
    standard deviations, with what is left of it if it is so.
    """

    PARAMS = QualityParams
    KINDS = ("spikes", "dead", "noisy", "swapped", "flipped", "gain", "drift")
    COUPLED = True

    def __init__(self, watch: Watch, groups: Sequence[Group], site: Site) -> None:
        super().__init__(watch, groups, site)
        p = self.params = watch.params if watch.params is not None else QualityParams()
        names = watch.channels[len(watch.channels) - p.environment :]
        self._own = next((i for i, g in enumerate(self.groups) if g.channels[0].name not in names), -1)
        if self._own < 0:
            raise ValueError(f"environment: must leave a channel to be judged, is {p.environment}")
        self._channels = self.groups[self._own].channels
        n, rate = len(self._channels), self.groups[self._own].rate_hz
        assert rate is not None
        if p.offset_drift and n < 3 and not p.environment:
            raise ValueError(f"offset_drift: needs three channels or environment, for a level alone follows the weather, is {n}")
        self._expected = p.bin_s * rate
        self._cleaner, self._held, self._sums = Cleaner(n), Delayed(), Comoments(n)
        self._spikes, self._end_ns = np.zeros(n, np.int64), 0
        self._bin: int | None = None
        self._usual = Usual(n, p.train)
        self._placing = Placing(n, round(p.pattern_s * NS), p.pattern_s / p.bin_s)
        self._said: dict[tuple[str, str], _Said] = {}
        self._weather = Weather(names, DAY_S, 0.0)
        limits = (float(np.log1p(p.gain_drift)), p.offset_drift)
        self._days = Days(n, p.environment, p.drift_days, limits, p.false_per_year, COVERAGE * DAY_S / p.bin_s)

    @classmethod
    def aside(cls, params: Any) -> int:
        return params.environment if params is not None else 0

    def push(self, group: int, block: Block) -> list[Finding]:
        if group != self._own:
            self._weather.hear(self.groups[group].channels, block)
            return []
        if not block.n:
            return []
        self._held.put(block)
        return self._take(*self._cleaner.push(np.ascontiguousarray(block.x, np.float32)))

    def gap(self, group: int, brk: Break) -> list[Finding]:
        return self._take(*self._cleaner.flush()) if group == self._own else []

    def flush(self) -> list[Finding]:
        return self._take(*self._cleaner.flush()) + self._close()

    # ---- bins ----

    def _take(self, x: NDArray[np.float32], reasons: NDArray[np.uint8]) -> list[Finding]:
        found, at = list[Finding](), 0
        for block in self._held.take(x):
            for begin, end, number in self._pieces(block):
                if self._bin is not None and number != self._bin:
                    found += self._close()
                self._bin, self._end_ns = number, block.time_ns(end)
                self._sums.push(block.x[:, begin:end])
                self._spikes += (reasons[:, at + begin : at + end] == REASONS.index("spike")).sum(axis=1)
            at += block.n
        return found

    def _pieces(self, block: Block) -> Iterator[tuple[int, int, int]]:
        """Stretches of a block that lie in one bin, with its number."""
        bin_ns, begin = round(self.params.bin_s * NS), 0
        while begin < block.n:
            number = block.time_ns(begin) // bin_ns
            first = -(-((number + 1) * bin_ns - block.anchor_ns) * block.rate_num // (block.rate_den * NS)) - block.index
            end = min(block.n, max(first, begin + 1))
            yield begin, end, number
            begin = end

    def _close(self) -> list[Finding]:
        """Judge the bin that ends here."""
        if self._bin is None:
            return []
        m, spikes, start_ns = self._sums.close(), self._spikes, self._bin * round(self.params.bin_s * NS)
        self._spikes, self._bin = np.zeros_like(spikes), None
        heard = m.count >= COVERAGE * self._expected
        found = list[Finding]()
        for c, channel in enumerate(self._channels):
            if heard[c]:
                share = float(spikes[c] / (m.count[c] + spikes[c]))
                on = spikes[c] >= FEWEST and share > self.params.spike_share
                told = {"value": share, "limit": self.params.spike_share, "score": share / self.params.spike_share,
                        "evidence": {"spikes": int(spikes[c]), "samples": int(m.count[c] + spikes[c])}}
                found += self._hold("spikes", channel.name, on, start_ns, told)
        with np.errstate(divide="ignore"):
            loud = np.where(heard & (m.std > 0), np.log(np.where(m.std > 0, m.std, 1.0)), np.nan)
        if np.isfinite(loud).any():
            found += self._compare(m, loud, start_ns)
        return found

    def _compare(self, m: Moments, loud: Real, start_ns: int) -> list[Finding]:
        """What only shows beside neighbours and the past."""
        level, learned = self._usual.level, self._usual.learned
        placed = self._placing.take(fisher_z(m.correlation), loud, start_ns, level if learned else None)
        found = [f for p in placed for f in self._place(p)]
        if not learned:
            self._usual.learn(loud)
            return found
        louder, misplaced = loud - level, self._placing.misplaced
        for c in np.flatnonzero(np.isfinite(louder)).tolist():
            change = float(louder[c]) - common(np.delete(louder, c))
            if c not in misplaced and change == change:
                found += self._strength(c, change, float(loud[c]), start_ns, m)
        return found + self._gather(m, louder, start_ns)

    def _place(self, placed: Placed) -> list[Finding]:
        """What is exchanged or turned explains how loud it seemed: that is over, and no day of it counts."""
        names = [self._channels[c].name for c in placed.channels]
        told = {"score": 0.0} if not placed.active else {"value": placed.without, "limit": MISFIT, "score": placed.without / MISFIT,
                                                         "evidence": {"left": placed.believed}}
        found = [self._say(placed.kind, ",".join(names), placed.t_ns, placed.onset_ns, placed.active, **told)]
        if placed.active:
            self._days.forget(placed.channels)
            for key in [(kind, name) for kind in ("dead", "noisy") for name in names if (kind, name) in self._said]:
                said = self._said.pop(key)
                found += [self._say(*key, placed.t_ns, said.onset_ns, False, score=0.0)] * said.active
        return found

    def _strength(self, c: int, change: float, loud: float, start_ns: int, m: Moments) -> list[Finding]:
        """Dead or noisy: against the neighbours and against all it was."""
        p, usual, found = self.params, self._usual, list[Finding]()
        least = SCATTERS * float(usual.scatter[c])
        down, up = max(np.log(p.dead_factor), least), max(np.log(p.noisy_factor), least)
        for kind, on, limit in (("dead", change < -down and loud < usual.low[c], -down),
                                ("noisy", change > up and loud > usual.high[c], up)):
            told = {"value": float(np.exp(change)), "limit": float(np.exp(limit)), "score": abs(change / limit),
                    "evidence": {"rms": float(m.std[c]), "usual_rms": float(np.exp(usual.level[c]))}}
            found += self._hold(kind, self._channels[c].name, on, start_ns, told)
        return found

    # ---- days ----

    def _gather(self, m: Moments, louder: Real, start_ns: int) -> list[Finding]:
        day, found = start_ns // (DAY_S * NS), list[Finding]()
        if self._days.is_over(day):
            weather = self._weather.at((self._days.day + 1) * DAY_S * NS).tolist() if self.params.environment else []
            found = [self._tell(told, start_ns) for told in self._days.close(weather)]
        ill = {name for (_, name), said in self._said.items() if said.active}
        kept = np.array([channel.name not in ill and c not in self._placing.misplaced for c, channel in enumerate(self._channels)])
        self._days.add(day, np.where(kept, louder, np.nan), np.where(kept, m.mean, np.nan))
        return found

    def _tell(self, told: Told, t_ns: int) -> Finding:
        """A drift begins or ends."""
        kind, c, d = told
        p, is_gain = self.params, kind == "gain"
        limit, value = (p.gain_drift, float(np.expm1(d.departure))) if is_gain else (p.offset_drift, d.departure)
        return self._say(kind, self._channels[c].name, t_ns, min(d.since * DAY_S * NS, t_ns), d.active, value=value, limit=limit,
                         score=abs(value) / limit if d.active else 0.0, unit="" if is_gain else self._channels[c].unit,
                         evidence={"slope_per_day": d.slope, "low": d.low, "high": d.high, "days": d.days})

    # ---- saying ----

    def _hold(self, kind: str, name: str, on: bool, start_ns: int, told: Mapping[str, Any]) -> list[Finding]:
        said = self._said.setdefault((kind, name), _Said())
        said.run, said.back = (said.run + 1, 0) if on else (0, said.back + 1)
        if said.run == 1 and not said.active:
            said.onset_ns = start_ns
        changed = said.run >= self.params.confirm if not said.active else said.back >= self.params.confirm
        said.active = said.active != changed
        if not said.active and not said.run:
            del self._said[kind, name]
        return [self._say(kind, name, self._end_ns, said.onset_ns, said.active, **told)] if changed else []

    def _say(self, kind: str, name: str, t_ns: int, onset_ns: int, active: bool, **more: Any) -> Finding:
        return Finding(kind=kind, t_ns=t_ns, onset_ns=onset_ns, active=active, severity=self.params.severity, source=name, **more)

    def report(self) -> list[dict[str, Any]]:
        counts = self._cleaner.counts[:, 1:].sum(axis=1).tolist()
        phase = "watch" if self._usual.learned else "train"
        return [{"channel": c.name, "phase": phase, "removed": n} for c, n in zip(self._channels, counts, strict=True)]

    def save(self) -> dict[str, Any]:
        return {
            "version": VERSION, "cleaner": self._cleaner.save(), "held": self._held.save(), "sums": self._sums.save(),
            "spikes": self._spikes.tolist(), "bin": self._bin, "end": self._end_ns, "usual": self._usual.save(),
            "said": [[*key, *astuple(said)] for key, said in self._said.items()], "weather": self._weather.save(),
            "days": self._days.save(), "placing": self._placing.save(),
        }  # fmt: skip

    def load(self, state: Mapping[str, Any]) -> None:
        if state.get("version") != VERSION or len(state.get("spikes", ())) != len(self._channels):
            raise StateError(f"quality: saved state is of another version or has not {len(self._channels)} channels")
        self._cleaner.load(bytes(state["cleaner"]))
        self._held.load(bytes(state["held"]))
        self._sums.load(bytes(state["sums"]))
        self._spikes, self._bin, self._end_ns = np.array(state["spikes"], np.int64), state["bin"], int(state["end"])
        self._usual.load(state["usual"])
        self._placing.load(state["placing"])
        self._said = {(kind, name): _Said(*rest) for kind, name, *rest in state["said"]}
        self._weather.load(state["weather"])
        self._days.load(state["days"])
