"""Naive twins of the pipe graph: Dijkstra over a dict, and a location by trying every place and speed."""

from __future__ import annotations

import heapq
import math
from collections.abc import Mapping, Sequence

Edge = tuple[str, str, str, float]


def travel(edges: Sequence[Edge], start: str, speed: float, barriers: Sequence[str] = ()) -> dict[str, float]:
    """Seconds from start to every node it can reach; nothing passes a barrier."""
    near: dict[str, list[tuple[str, float]]] = {}
    for _, a, b, length in edges:
        near.setdefault(a, []).append((b, length / speed))
        near.setdefault(b, []).append((a, length / speed))
    found: dict[str, float] = {}
    queue = [(0.0, start)]
    while queue:
        t, node = heapq.heappop(queue)
        if node in found:
            continue
        found[node] = t
        if node not in barriers:
            for other, step in near[node]:
                heapq.heappush(queue, (t + step, other))
    return found


def locate(edges: Sequence[Edge], arrivals: Mapping[str, float], speed: float, step_m: float = 5.0) -> tuple[str, float, float]:
    """Link, offset and rms of the best of many places at a known speed, by least squares with a free start."""
    ways = {node: travel(edges, node, speed) for node in arrivals}
    best = ("", 0.0, math.inf)
    for name, a, b, length in edges:
        n = max(1, round(length / step_m))
        for i in range(n + 1):
            x = length * i / n
            late = [
                t - min(ways[s].get(a, math.inf) + x / speed, ways[s].get(b, math.inf) + (length - x) / speed)
                for s, t in arrivals.items()
            ]
            mean = sum(late) / len(late)
            rms = math.sqrt(sum((v - mean) ** 2 for v in late) / len(late))
            if rms < best[2]:
                best = (name, x, rms)
    return best
