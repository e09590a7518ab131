"""Forces of stay cables and hangers, from their own vibration, against the forces as built.

A bin of the clock (ten minutes by default) gives one spectrum a channel; its peaks are read as orders of the exact
equation of a beam under tension (`lifeline_core.bridges.orders`), and the tension is graded by its distance from ``as_built``::

    -15 %      -10 %                      +10 %      +15 %     of as_built
    --4--|-------3-----|------ sound -----|-----3------|--4--   must hold `confirm` bins in a row, as must its end

A bin whose peaks cannot be read for certain says nothing.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from lifeline_core.bridges.orders import Tension, read_tension
from lifeline_core.detectors.base import Detector, Group, Held, Params, Severity, Step, relation, rise_faults, where_of
from lifeline_core.dsp.binspectra import FEWEST_SEGMENTS, BinSpectra, BinSpectrum, segment_length
from lifeline_core.dsp.peaks import dominant_peaks
from lifeline_core.errors import StateError
from lifeline_core.model import NS, Block, Break, Channel, Finding, Site, Watch

VERSION = 2
PEAKS = 16
RESOLUTION = 0.02  # of the first order: bins of the spectrum are at most so wide

Above = Annotated[float, Meta(gt=0.0)]


class CableRow(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One cable."""

    length_m: Annotated[float, Meta(gt=0.0, le=5000.0, description="free length")]
    mass_kg_m: Annotated[float, Meta(gt=0.0, le=1e5, description="mass per metre")]
    as_built_kn: Annotated[float, Meta(gt=0.0, le=1e6, description="force as built")]
    ei_nm2: Annotated[Annotated[float, Meta(ge=0.0)] | None, Meta(description="bending stiffness; absent: fitted")] = None
    ends: Literal["pinned", "clamped"] = "pinned"


class Off(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """One row of a table of deviations: a severity and the relative distance from the force as built."""

    severity: Severity
    off: Annotated[float, Meta(gt=0.0, lt=1.0, description="relative, 0.1 is ten percent either way")]


class CableParams(Params, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Keys of a ``cable`` watch; every channel of the watch must have its row in ``cables``."""

    cables: Annotated[
        tuple[CableRow, ...],
        Meta(min_length=1, description="by channel, in their order: length_m, mass_kg_m, as_built_kn, ei_nm2, ends"),
    ]
    deviations: Annotated[tuple[Off, ...], Meta(description="severity by the distance from the force as built")] = ()
    bin_s: Annotated[float, Meta(ge=60.0, le=86_400.0, description="length of a bin; bins begin at its multiples, UTC")] = 600.0
    coverage: Annotated[float, Meta(gt=0.0, le=1.0, description="a bin with a smaller part of its samples says nothing")] = 0.7
    confirm: Annotated[int, Meta(ge=1, le=100, description="bins in a row that a deviation, or its end, must hold")] = 3
    sure: Annotated[float, Meta(gt=0.0, lt=0.5, description="a tension with a larger relative sd says nothing")] = 0.02

    def faults(self) -> list[str]:
        return rise_faults("deviations", sorted((r.off, r.severity) for r in self.deviations), "distance")


class _Cables:
    """The cables of one group."""

    def __init__(self, group: Group, rows: list[CableRow], params: CableParams) -> None:
        assert group.rate_hz is not None
        self.channels, self.rate_hz = group.channels, group.rate_hz
        self.rows = rows
        first = min(0.5 / r.length_m * (1e3 * r.as_built_kn / r.mass_kg_m) ** 0.5 for r in self.rows)
        n = segment_length(self.rate_hz, params.bin_s, RESOLUTION * first)
        self.spectra = BinSpectra(len(self.channels), self.rate_hz, round(params.bin_s * NS), n, [c.range for c in self.channels])
        self.held = [Held() for _ in self.channels]
        self.told: list[Tension | None] = [None] * len(self.channels)  # for report(): not state


class Cable(Detector):
    """Kind ``cable-force``, source = the channel's name.

    ``value`` is the tension in kN, ``limit`` the force as built times 1 +- the deviation reached, ``score`` the deviation
    over the mildest one. Evidence: ``sd_kn``, ``orders``, ``f_hz``, ``deviation``, ``ei_nm2``, ``misfit``.
    """

    PARAMS = CableParams
    KINDS = ("cable-force",)

    def __init__(self, watch: Watch, groups: Sequence[Group], site: Site) -> None:
        super().__init__(watch, groups, site)
        if watch.params is None:
            raise ValueError("cables: must give every channel's cable, gives none")
        self.params: CableParams = watch.params
        if len(self.params.cables) != len(watch.channels):
            raise ValueError(f"cables: must have a row for each of {len(watch.channels)} channels, has {len(self.params.cables)}")
        cables = dict(zip(watch.channels, self.params.cables, strict=True))
        if found := self.params.faults():
            raise ValueError("; ".join(found))
        self._off = sorted((r.off, r.severity) for r in self.params.deviations)
        self._groups = [_Cables(group, [cables[c.name] for c in group.channels], self.params) for group in self.groups]

    def push(self, group: int, block: Block) -> list[Finding]:
        own = self._groups[group]
        return [f for seen in own.spectra.push(block) for f in self._close(own, seen)]

    def gap(self, group: int, brk: Break) -> list[Finding]:
        """The bin goes on with what comes; the segment that was under way is dropped."""
        self._groups[group].spectra.restart()
        return []

    def flush(self) -> list[Finding]:
        return [f for own in self._groups for seen in own.spectra.flush() for f in self._close(own, seen)]

    def _close(self, own: _Cables, seen: BinSpectrum) -> list[Finding]:
        found: list[Finding] = []
        for i, channel in enumerate(own.channels):
            if seen.bin.coverage(i) < self.params.coverage or seen.segments[i] < FEWEST_SEGMENTS:
                continue
            read = self._read(own.rows[i], seen.f, seen.p[i])
            own.told[i] = read
            if not read.reason and read.sd_n <= self.params.sure * read.tension_n:
                deviation = read.tension_n / (1e3 * own.rows[i].as_built_kn) - 1.0
                reached = max((s for off, s in self._off if abs(deviation) >= off), default=0)
                step = own.held[i].see(reached, seen.bin.start_ns, need=self.params.confirm)
                found += [] if step is None else [self._say(step, own.rows[i], channel, read, deviation, seen)]
        return found

    def _read(self, row: CableRow, f: Any, p: Any) -> Tension:
        first = 0.5 / row.length_m * (1e3 * row.as_built_kn / row.mass_kg_m) ** 0.5
        peaks = dominant_peaks(f, p, PEAKS, f_min=0.5 * first, f_max=0.9 * float(f[-1]), prominence=4.0, separation=0.02)
        return read_tension(peaks, row.length_m, row.mass_kg_m, 1e3 * row.as_built_kn, ei_nm2=row.ei_nm2, ends=row.ends)

    def _say(self, step: Step, row: CableRow, channel: Channel, read: Tension, deviation: float, seen: BinSpectrum) -> Finding:
        off = {s: off for off, s in self._off}[step.severity] if step.active else self._off[0][0]
        side = 1.0 if deviation >= 0 else -1.0
        value, limit = read.tension_n / 1e3, row.as_built_kn * (1.0 + side * off)
        return Finding(
            kind="cable-force", t_ns=seen.bin.closed_ns, onset_ns=step.onset_ns, active=step.active, severity=step.severity,
            score=abs(deviation) / self._off[0][0], value=value, limit=limit, unit="kN", source=channel.name,
            where=where_of(channel), historical=seen.historical,
            evidence={"deviation": deviation, "relation": relation(value, limit, step.active), "sd_kn": read.sd_n / 1e3,
                      "orders": list(read.orders), "f_hz": list(read.f_hz), "ei_nm2": read.ei_nm2, "misfit": read.misfit},
        )  # fmt: skip

    def report(self) -> list[dict[str, Any]]:
        """The last tension of each cable, or why there is none."""
        out: list[dict[str, Any]] = []
        for own in self._groups:
            for channel, read in zip(own.channels, own.told, strict=True):
                if read is not None:
                    told: dict[str, Any] = {"reason": read.reason} if read.reason else {
                        "tension_kn": read.tension_n / 1e3, "sd_kn": read.sd_n / 1e3, "orders": list(read.orders)}
                    out.append({"channel": channel.name, **told})
        return out

    def save(self) -> dict[str, Any]:
        return {"version": VERSION, "groups": [{"spectra": g.spectra.save(), "held": [h.save() for h in g.held]}
                                               for g in self._groups]}

    def load(self, state: Mapping[str, Any]) -> None:
        if state.get("version") != VERSION or len(state.get("groups", ())) != len(self._groups):
            raise StateError(f"cable: saved state is of another version or has not {len(self._groups)} groups")
        for own, saved in zip(self._groups, state["groups"], strict=True):
            if len(saved["held"]) != len(own.held):
                raise StateError(f"cable: saved state has {len(saved['held'])} cables, not {len(own.held)}")
            own.spectra.load(saved["spectra"])
            own.held = [Held.of(h) for h in saved["held"]]
