"""The doors through which lengths come from outside: frames, batches, the journal's files, messages, counts, saved states.

An entry makes sound seeds and runs on bytes; `run` returns quietly or raises, and what it raises is a finding. The bytes and
their number, which seeds the generator, decide what is done, so a saved input repeats its crash.
"""

from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import zmq

from lifeline_core.service.receive import CompiledReceiver
from tests.fuzz.frames import (
    as_batch,
    batches,
    frames,
    offset_seeds,
    own,
    records_of,
    run_assemble,
    run_assembler_state,
    run_offsets,
    run_wire,
    states_of_assembler,
)
from tests.fuzz.segments import journal_seeds, run_journal, run_segment
from tests.fuzz.states import TABLE

Random = np.random.Generator


@dataclass(frozen=True)
class Entry:
    """same_size: share of mutations that keep the length, where another length is refused at once.
    wraps: damaged numbers go on being added, so a signed overflow is none of the findings.
    """

    name: str
    seeds: Callable[[Random], Sequence[bytes]]
    run: Callable[[bytes, Random], None]
    same_size: float = 0.0
    wraps: bool = False


# ---- receive ----


class Ends:
    """One ROUTER with the compiled loop, one DEALER; new for each input."""

    context: zmq.Context[Any] | None = None
    numbers = itertools.count()

    def __init__(self) -> None:
        type(self).context = type(self).context or zmq.Context()
        context = type(self).context
        assert context
        self.router, self.dealer = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
        address = f"inproc://fuzz-{next(self.numbers)}"  # libzmq closes the old one in its own time
        self.router.bind(address)
        self.dealer.connect(address)
        self.receiver = CompiledReceiver(self.router, -1, arena_bytes=4096, gather_us=0, peers=2)

    def close(self) -> None:
        self.receiver.close()
        self.router.close(0), self.dealer.close(0)


def message_seeds(rng: Random) -> list[bytes]:
    one = [b"LLF1" + bytes(60), b"\x81\xa1a\x01"]
    several = as_batch([b"\1a", b"\1b", b"\0" + bytes(5000)])
    return [as_batch([b"\0" + one[0], b"\0" + one[1]]), as_batch([b"\1", b"\0" + one[0]]), several]


def run_messages(data: bytes, rng: Random) -> None:
    """Parts with a byte in front: odd says that more follow."""
    ends = Ends()
    try:
        parts = list(records_of(data))[:60]
        for k, part in enumerate(parts):
            more = zmq.SNDMORE if part[:1] and part[0] & 1 and k < len(parts) - 1 else 0
            ends.dealer.send(part[1:9000], more | zmq.DONTWAIT)
        numbers = []
        for _ in range(70):
            batch = ends.receiver.drain(0)
            numbers += batch.sources.tolist()
            for k in range(len(batch)):
                assert len(batch.payload(k)) == batch.lengths[k]
            if not len(batch):
                break
        ends.receiver.reply([(int(n), rng.bytes(3)) for n in [*numbers, 0, 1, 1 << 31]])
    finally:
        ends.close()


# ---- counts ----


def count_seeds(rng: Random) -> list[bytes]:
    return [rng.bytes(n) for n in (1, 6, 24, 96, 300, 3 * 64 * 20)]


def run_counts(data: bytes, rng: Random) -> None:
    from lifeline_core.dsp.counts import BYTES, counts_to_float

    for kind, width in BYTES.items():
        n_ch = int(rng.integers(0, 9))
        order = str(rng.choice(["channel", "sample"]))
        with contextlib.suppress(ValueError):
            x = counts_to_float(own(data), kind, n_ch, scale=1.0, order=order, threads=int(rng.integers(1, 3)))
            assert x.size * width == len(data)


ENTRIES = [
    Entry("wire", lambda rng: frames(rng, 2), run_wire),
    Entry("assemble.feed", batches, run_assemble),
    Entry("assemble offsets", offset_seeds, run_offsets, 0.5),
    Entry("assemble.load", states_of_assembler, run_assembler_state, 0.9),
    Entry("journal", journal_seeds, run_journal, 0.7),
    Entry("journal segment", journal_seeds, run_segment, 0.5),
    Entry("receive", message_seeds, run_messages),
    Entry("counts", count_seeds, run_counts),
    *(Entry(kept.name, kept.seeds, kept.run, 0.9, wraps=True) for kept in TABLE),
]
