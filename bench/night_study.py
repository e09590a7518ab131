"""Nights of loggers on a small network whose truth is known: are leaks found once, where they are, and none else?

    python -m bench.night_study [nights]

Leaks lie anywhere on four pipes, 5 to 25 dB at the pipe; the pipes' true speeds are off by 2 % (in half of the nights all by
one factor, else each by its own), clocks by 0.2 ms, hum in two nights of three. The speeds told are off, so the error is theirs,
and the 95 % interval must hold the leak in about 95 % of the nights where nothing is said against it (a junction or a logger's
own place within the interval: the noise may come in from there). As many nights again are quiet: every leak there is false.
"""

from __future__ import annotations

import sys
from dataclasses import replace

import numpy as np

from lifeline_core.pipes.leaks import Leak, join
from lifeline_core.pipes.listen import Job, Manner, hear_pairs
from lifeline_core.pipes.overlap import Take
from lifeline_core.pipes.plan import plan_pairs
from lifeline_core.store.net import Net, read_net
from lifeline_core.synth.night import STREETS, Night

SPEED_SD, CLOCK_SD_S = 0.02, 2e-4


def made(seed: int, *, leak: bool) -> tuple[Night, np.random.Generator]:
    rng = np.random.default_rng(seed)
    one = rng.normal(0.0, SPEED_SD)
    off = [one if seed % 2 else rng.normal(0.0, SPEED_SD) for _ in STREETS]
    edges = tuple((*e[:4], e[4] * (1.0 + f)) for e, f in zip(STREETS, off, strict=True))
    pipe = STREETS[rng.integers(0, len(STREETS))]
    place = (pipe[0], float(rng.uniform(3.0, pipe[3] - 3.0)))
    told = Night()
    late = {n: float(rng.normal(0.0, CLOCK_SD_S)) for n in told.loggers}
    night = replace(told, edges=edges, leak=place if leak else None, late_s=late,
                    leak_db=float(rng.uniform(5.0, 25.0)), hum_db=0.0 if seed % 3 else None)
    return night, rng


def leaks_of(net: Net, night: Night, rng: np.random.Generator) -> list[Leak]:
    x = night.recordings(rng)
    pairs, _ = plan_pairs(net.pipes, net.loggers, longest_m=net.correlate.longest_m)
    same = net.correlate.same_place_m
    heard = list(hear_pairs([Job(p, SPEED_SD) for p in pairs], lambda n: [Take(0, "", night.fs, x[n])], Manner(same_place_m=same)))
    return join(net.pipes, heard, same_place_m=same)


def main(nights: int = 200) -> None:
    net = read_net(Night().net_toml())
    missed = more = flagged = held = 0
    errors: list[float] = []
    for seed in range(nights):
        night, rng = made(seed, leak=True)
        leaks = leaks_of(net, night, rng)
        if not leaks:
            missed += 1
            continue
        more += len(leaks) - 1
        leak = leaks[0]
        assert night.leak is not None
        true = net.pipes.place(*night.leak)
        errors.append(net.pipes.distance_m(leak.place, true))
        x, (low, high) = leak.main.pair.way.where_m(true), leak.interval_m
        if any(n.startswith(("outside", "end", "junction")) for n in leak.notes):
            flagged += 1
        else:
            held += x is not None and low <= x <= high
    false = sum(len(leaks_of(net, *made(10_000_000 + seed, leak=False))) for seed in range(nights))
    sure = nights - missed - flagged
    print(f"{nights} nights with a leak: {missed} missed, {more} leaks too many; median error {np.median(errors):.2f} m, "
          f"95 % below {np.quantile(errors, 0.95):.2f} m")
    print(f"95 % interval holds the leak in {held} of {sure} nights ({held / max(sure, 1):.1%}); {flagged} said to be unsure")
    print(f"{nights} quiet nights: {false} false leaks")


if __name__ == "__main__":
    main(*map(int, sys.argv[1:2]))
