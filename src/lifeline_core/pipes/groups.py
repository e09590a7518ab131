"""Groups of pipes whose speeds are wrong together: one material, one diameter, one decade of laying."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from lifeline_core.pipes.ways import MOST_GROUPS

if TYPE_CHECKING:
    from lifeline_core.pipes.graph import PipeGraph


@dataclass(frozen=True, slots=True)
class Groups:
    """``names`` of the groups, the one of every link (``of_link`` int32[n_links], -1: none, its speed is as told) and the
    standard deviation of each one's scale about 1."""

    names: tuple[str, ...]
    of_link: NDArray[np.int32]
    sd: NDArray[np.float64]

    @classmethod
    def of(cls, graph: PipeGraph, spec: Mapping[str, str] | str, sd: float | Mapping[str, float]) -> Groups:
        """From a mapping of link to group (links it does not name keep the speed told), or the word "diameter".

        Raises
        ------
        ValueError
            A link that is not in the graph, no group or more than 16, a standard deviation outside 0 .. 0.5.
        """
        if isinstance(spec, str):
            if spec != "diameter":
                raise ValueError(f"speed_groups maps links to groups or is diameter, got {spec!r}")
            known = zip(graph.links, graph.diameter_m.tolist(), strict=True)
            spec = {name: f"{round(1000 * d)} mm" for name, d in known if math.isfinite(d)}
        for name in spec:
            if name not in graph.link_index:
                raise ValueError(f"speed_groups names links of the network, got {name!r}")
        names = tuple(sorted({str(v) for v in spec.values()}))
        if not 1 <= len(names) <= MOST_GROUPS:
            raise ValueError(f"speed_groups has 1 .. {MOST_GROUPS} groups, got {len(names)}")
        number = {name: i for i, name in enumerate(names)}
        of_link = np.full(len(graph.links), -1, dtype=np.int32)
        for link, name in spec.items():
            of_link[graph.link_index[link]] = number[str(name)]
        each = np.array([float(sd.get(n, math.nan)) if isinstance(sd, Mapping) else float(sd) for n in names])
        if not ((each >= 0) & (each <= 0.5)).all():
            raise ValueError(f"group_sd is within 0 .. 0.5 for every group, got {sd!r}")
        return cls(names, of_link, each)
