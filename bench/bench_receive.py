"""Messages of a ROUTER socket, where they arrived: the compiled loop beside recv_multipart. Neither looks at their bytes.

The messages are sent within the measured time, by the same pyzmq loop for both, because they cannot lie ready twice.
"""

from __future__ import annotations

from typing import Any

import pytest
import zmq

from bench.duel import Case, Work, duel
from lifeline_core.service.receive import CompiledReceiver

N, SIZE = 4096, 664  # frames of one channel x 200 int24 samples


def make_receive() -> tuple[Work, Work]:
    context = zmq.Context()
    payload = b"LLF1" + bytes(SIZE - 4)
    pairs = []
    for name in ("inproc://ours", "inproc://theirs"):
        router, dealer = context.socket(zmq.ROUTER), context.socket(zmq.DEALER)
        for socket in (router, dealer):
            socket.set_hwm(0)
            socket.linger = 0
        router.bind(name)
        dealer.connect(name)
        pairs.append((router, dealer))
    receiver = CompiledReceiver(pairs[0][0], -1, arena_bytes=N * SIZE, gather_us=0)

    def send(dealer: zmq.Socket[bytes]) -> None:
        for _ in range(N):
            dealer.send(payload)

    def ours() -> int:
        send(pairs[0][1])
        got = total = 0
        while got < N:
            batch = receiver.drain(1000)
            got += len(batch)
            total += int(batch.lengths.sum())
        return total

    def theirs() -> int:
        router, dealer = pairs[1]
        send(dealer)
        found = [router.recv_multipart() for _ in range(N)]
        return sum(len(parts[-1]) for parts in found)

    assert ours() == theirs() == N * SIZE
    return ours, theirs


CASES = [
    Case(f"{N:,} messages of {SIZE} bytes sent and received", "receive", "send, recv_multipart", 2.5, make_receive, baseline=2.5)
]


@pytest.mark.parametrize("case", CASES, ids=lambda c: c.name)
def test_ratio(benchmark: Any, case: Case) -> None:
    duel(benchmark, case)
