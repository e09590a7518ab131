"""What is said of an event on a network: findings with place, reasons and how they were come by."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from lifeline_core.model import BLUE, NS, ORANGE, Finding
from lifeline_core.pipes.burst import FEWEST
from lifeline_core.pipes.candidates import Candidates
from lifeline_core.pipes.causes import Cause
from lifeline_core.pipes.graph import PipeGraph
from lifeline_core.pipes.joukowsky import burst_flow
from lifeline_core.pipes.onsets import Event, Heard
from lifeline_core.pipes.placed import Placed


def burst_finding(
    graph: PipeGraph, event: Event, found: Candidates, used: Sequence[Heard], heads: Mapping[str, float], t_ns: int
) -> Finding:
    """A burst with its place.

    Parameters
    ----------
    used : sequence of Heard
        Whose onsets carry it, at least one.
    heads : mapping of node to metres
        Their steps, where the unit is one of pressure; the flow is read from those that fell, where no records tell it.
    """
    largest = max(used, key=lambda h: (abs(h.step), h.channel))
    best = found[0]
    flow = event.flow
    if not flow:
        read = burst_flow(graph, best, {node: step for node, step in heads.items() if step < 0})
        flow = (read.q_m3s, read.sd_m3s)
    runs = {"flow_m3s": flow[0], "flow_sd_m3s": flow[1]} if math.isfinite(flow[0]) else {}
    return Finding(
        kind="burst", t_ns=t_ns, onset_ns=event.onset_ns, active=True, severity=ORANGE, score=len(used) / FEWEST,
        value=largest.step, unit=largest.unit, where=whereabouts(found), quality=sum(h.quality for h in used) / len(used),
        evidence={
            "sensors": [h.channel for h in used],
            "began_ns": event.first_ns + round(best.t0_s * NS),
            "speed_mps": best.speed,
            "misfit": best.misfit,
            "probability": best.probability,
            **manner(found),
            **runs,
            **({"reasons": list(event.reasons)} if event.reasons else {}),
        },
    )  # fmt: skip


def other_finding(
    kind: str, where: Mapping[str, Any], why: Mapping[str, Any], event: Event, own: Sequence[Heard], t_ns: int
) -> Finding:
    """What is no burst, blue; ``why`` goes into the evidence."""
    largest = max(own, key=lambda h: (abs(h.step), h.channel))
    return Finding(
        kind=kind, t_ns=t_ns, onset_ns=event.onset_ns, active=True, severity=BLUE, score=len(own) / FEWEST,
        value=largest.step, unit=largest.unit, quality=sum(h.quality for h in own) / len(own), where=where,
        evidence={"sensors": [h.channel for h in own], **why},
    )  # fmt: skip


def device_finding(told: Cause, event: Event, own: Sequence[Heard], t_ns: int) -> Finding:
    """What `lifeline_core.pipes.causes.cause` says."""
    where = {"asset": told.place, "candidates": [{"place": name, "probability": round(p, 4)} for name, p in told.places]}
    return other_finding(
        told.kind, where, {"probability": told.probability[told.kind], "reasons": list(told.reasons)}, event, own, t_ns
    )


def pulse_finding(found: Placed, event: Event, own: Sequence[Heard], t_ns: int) -> Finding:
    """A demand that has ended, as its waves show."""
    why = {"reasons": [f"{found.flow_kept:.0%} of the flow is left at the end of the records"], **manner(found)}
    return other_finding("demand-pulse", whereabouts(found), why, event, own, t_ns)


def whereabouts(found: Candidates) -> dict[str, Any]:
    """Candidates as a finding's ``where``."""
    best = found[0]
    where: dict[str, Any] = {"asset": best.name, "link": best.link, "offset_m": best.offset_m}
    if best.node is not None:
        where["node"] = best.node
    if math.isfinite(best.x) and math.isfinite(best.y):
        where.update(x=best.x, y=best.y)
    where.update(candidates=found.to_rows(), places=len(found.region()), rms_s=best.rms_s)
    sd = found.sd_m()
    if math.isfinite(sd):
        where["sd_m"] = sd
    return where


def manner(found: Candidates) -> dict[str, Any]:
    """How a place was found, as part of a finding's evidence; ``fits``: the network as told explains what was heard."""
    told: dict[str, Any] = {"method": "arrivals", "fits": found.fits}
    note = ", ".join(found.account.doubts)
    if isinstance(found, Placed):
        told.update(method="waveforms", flow_kept=found.flow_kept)
        note = found.note
    return {**told, "note": note} if note else told
