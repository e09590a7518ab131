"""From places that were examined to ranked candidates: probabilities, branches, what was set aside, what is in doubt."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray
from scipy.special import chdtrc

from lifeline_core.pipes.candidates import Account, Candidates, Scale
from lifeline_core.pipes.ways import Shared, shared
from lifeline_core.pipes.weigh import Fits, Scales

if TYPE_CHECKING:
    from lifeline_core.pipes.graph import PipeGraph
    from lifeline_core.pipes.heard import Heard
    from lifeline_core.pipes.search import Spots

Floats = NDArray[np.float64]
Ints = NDArray[np.intp]

RARE = 1e-3  # residuals of the arrivals that stayed are doubted below this chance
NOTHING = 1e-18  # a smaller probability is none
USED_SHARE = 0.6  # of the arrivals, and three, explain a location that fits


@dataclass(frozen=True, slots=True)
class Examined:
    """Places and how they fit, in parts."""

    spots: tuple[Spots, ...]
    fits: tuple[Fits, ...]

    def shifted(self, by: float) -> Examined:
        """With another zero of the score."""
        tables = [fits.table.copy() for fits in self.fits]
        for table in tables:
            table[:, 0] += by
        return Examined(self.spots, tuple(Fits(table) for table in tables))


@dataclass(frozen=True, slots=True)
class _Rows:
    """All places in one: node (-1 inside a link), link (of a node: one that ends there), offset, cell, columns of fits."""

    node: Ints
    link: Ints
    offset_m: Floats
    cell_m: Floats
    fits: Fits

    @classmethod
    def of(cls, graph: PipeGraph, full: Examined, rest: Examined) -> _Rows:
        spots = [*full.spots, *rest.spots]
        link = np.concatenate([s.link for s in spots])
        a = np.concatenate([s.ends[:, 0] for s in spots])
        node = np.where(link < 0, a, -1).astype(np.intp)
        return cls(
            node, np.where(link < 0, graph.node_home[0][a], link), np.concatenate([s.offset_m for s in spots]),
            np.concatenate([s.cell_m for s in spots]), Fits.joined([*full.fits, *rest.fits]),
        )  # fmt: skip


def _mass(rows: _Rows, behind_s: float) -> tuple[Floats, Floats]:
    """Log of likelihood times prior of every place, and the probability of its cell: even odds for joints and for pipes."""
    worth = rows.fits.score - rows.fits.shared / behind_s
    worth[np.isnan(worth)] = -np.inf
    at_node = rows.node >= 0
    metres, joints = max(float(rows.cell_m.sum()), 1e-9), max(int(at_node.sum()), 1)
    cell = np.where(at_node, 1.0 / joints, rows.cell_m / metres)
    top = worth.max()
    p = np.exp(worth - top) * cell if np.isfinite(top) else cell
    return worth, p / p.sum()


def _listed(rows: _Rows, worth: Floats, p: Floats, n_full: int) -> tuple[Ints, Floats]:
    """Nodes, and of every link its best point with the probability of the whole link; the likeliest first."""
    nodes, points = np.nonzero(rows.node >= 0)[0], np.nonzero(rows.node < 0)[0]
    # What was weighed lies in parts, the rest link by link; no link is in both.
    mixed = int(np.searchsorted(points, n_full))
    order = np.concatenate([points[:mixed][np.argsort(rows.link[points[:mixed]], kind="stable")], points[mixed:]])
    link = rows.link[order]
    first = np.nonzero(np.diff(link, prepend=-1))[0]
    if len(order):
        best = np.repeat(np.maximum.reduceat(worth[order], first), np.diff(first, append=len(order)))
        at = np.nonzero(worth[order] == best)[0]
        at = at[np.nonzero(np.diff(link[at], prepend=-1))[0]]
        listed = np.concatenate([nodes, order[at]])
        chance = np.concatenate([p[nodes], np.add.reduceat(p[order], first)])
    else:
        listed, chance = nodes, p[nodes]
    # Most of a city is as good as impossible; nobody asks for an order there.
    chance[chance < NOTHING] = 0.0
    some = np.nonzero(chance)[0]
    ranked = np.concatenate([some[np.argsort(-chance[some], kind="stable")], np.nonzero(chance == 0)[0]])
    return listed[ranked], chance[ranked]


def _branches(graph: PipeGraph, parting: NDArray[np.int32], node: Ints, link: Ints) -> Ints:
    """The node through which all ways from a place lead, -1 where there is none; a link counts where both ends agree."""
    a, b = parting[graph.link_a[link]], parting[graph.link_b[link]]
    at: Ints = np.where(node >= 0, parting[np.maximum(node, 0)], np.where(a == b, a, -1)).astype(np.intp)
    return at


def _doubts(scales: Scales, table: Floats, heard_by: int) -> tuple[str, ...]:
    """What speaks against the best place: a row of `Fits.table`."""
    at = Fits(table[None, :])
    chi2, kept, slow = (float(at.column(name)[0]) for name in ("chi2", "kept", "slow"))
    doubts = []
    if chdtrc(max(kept - 2.0, 1.0), max(chi2, 0.0)) < RARE:
        doubts.append("residuals")
    if heard_by > 2 and kept < max(3.0, USED_SHARE * heard_by):
        doubts.append("set-aside")
    least, most = scales.bounds
    if scales.speeds and not least < slow < most:
        doubts.append("speed")
    return tuple(doubts)


def candidates(
    graph: PipeGraph,
    heard: Heard,
    scales: Scales,
    full: Examined,
    rest: Examined,
    apart: Mapping[str, str],
    *,
    common: Shared,
    behind_s: float,
) -> Candidates:
    """The ranked list of one search; ``apart`` are arrivals that had been set aside before it, ``common`` is what the ways to all
    others share."""
    rows = _Rows.of(graph, full, rest)
    worth, p = _mass(rows, behind_s)
    n_full = sum(len(s) for s in full.spots)
    listed, chance = _listed(rows, worth, p, n_full)
    weight = p[:n_full] / max(float(p[:n_full].sum()), 1e-300)
    out = weight @ np.concatenate([f.out_of for f in full.fits if f.out_of is not None])
    strays = {node: "outlier" for node, share in zip(heard.nodes, out, strict=True) if share > 0.5}
    used = tuple(node for node in heard.nodes if node not in strays) or heard.nodes
    best = int(np.argmax(np.where(np.arange(len(p)) < n_full, worth, -np.inf)))
    slow, slow_sd = (np.concatenate([x for x in part if x is not None])[best] for part in
                     ([f.slow for f in full.fits], [f.slow_sd for f in full.fits]))  # fmt: skip
    factors = {name: Scale(1.0 / k, s / k**2) for name, k, s in zip(scales.names, slow.tolist(), slow_sd.tolist(), strict=True)}
    account = Account(
        used, {**apart, **strays}, _doubts(scales, rows.fits.table[best], len(heard.nodes) + len(apart)), factors,
        float(p[n_full:].sum()),
    )  # fmt: skip
    parting = (common if len(used) == len(heard.nodes) else shared(graph, used)).parting
    node, link, table = rows.node[listed], rows.link[listed], Fits(np.take(rows.fits.table, listed, axis=0))
    score, branch = table.score, _branches(graph, parting, node, link)
    top = float(rows.fits.score[:n_full].max())
    fit = {
        "t0_s": table.column("t0"), "rms_s": table.column("rms"), "misfit": table.column("misfit"), "probability": chance,
        "likelihood": np.minimum(np.exp(score - top), 1.0), "speed": graph.wave_speed / table.column("slow"),
    }  # fmt: skip
    return Candidates(graph, link, rows.offset_m[listed], node, fit, top, branch, account)
