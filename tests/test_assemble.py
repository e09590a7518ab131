"""Frames to blocks: order, holes, overlaps, epochs, clocks, history, joins."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lifeline_core import wire
from lifeline_core.assemble import FED, HISTORY, LIVE, NEEDS_ROOM, Join, make_assembler
from lifeline_core.model import NS, Block, Break, Channel
from tests.stream import T0, frames, noise


def channels(n: int = 1, device: int = 7, rate: float | None = 10.0, **kw: Any) -> list[Channel]:
    return [Channel(name=f"d{device}c{i}", site="s", device=device, channel=i, rate_hz=rate, **kw) for i in range(n)]


def feed(asm: Any, parts: list[bytes], force: int = 0) -> int:
    lengths = np.array([len(p) for p in parts], np.int64)
    offsets = np.concatenate([[0], np.cumsum(lengths)[:-1]]).astype(np.int64)
    status, _ = asm.feed(np.frombuffer(b"".join(parts), np.uint8), offsets, lengths, 0, force)
    return int(status)


def drain(asm: Any, join: int = 0, lane: int = LIVE) -> list[Block | Break]:
    out = []
    while (piece := asm.take(join, lane)) is not None:
        out.append(piece)
    return out


def flat(pieces: list[Block | Break]) -> list[Any]:
    """Pieces without their cuts: breaks, and (time, samples) pairs."""
    out: list[Any] = []
    for p in pieces:
        if isinstance(p, Break):
            out.append((p.reason, p.t_ns, p.lost))
        else:
            out += [(p.time_ns(i), *p.x[:, i].tolist(), p.flags) for i in range(p.n)]
    return out


def one(n_channels: int = 1, **kw: Any) -> Any:
    return make_assembler(channels(n_channels, **kw), [Join(tuple(range(n_channels)))])


def test_by_hand() -> None:
    asm = one(2, scale=0.5, offset=1.0)
    x = np.array([[2, 4, 6], [-2, -4, -6]], np.int16)
    assert feed(asm, frames(x, [2])) == FED
    pieces = drain(asm)
    assert flat(pieces) == [(T0, 2.0, 0.0, 1), (T0 + NS // 10, 3.0, -1.0, 1), (T0 + NS // 5, 4.0, -2.0, 1)]
    assert asm.take_acks() == [(7, 0, 1, 1, 1)]
    assert asm.counters()["samples"] == 6


@settings(max_examples=40, deadline=None)
@given(st.lists(st.integers(1, 199), max_size=8), st.lists(st.integers(1, 9), max_size=5), st.randoms())
def test_cuts_batches_doubles_and_order_never_show(cuts: list[int], batches: list[int], rnd: Any) -> None:
    x = noise(2, 200)
    reference = one(2)
    feed(reference, frames(x, []))
    want = flat(drain(reference))
    parts = frames(x, cuts)
    sent = [p for p in parts for _ in range(rnd.choice([1, 1, 2]))]
    for i in range(len(sent) - 1):  # neighbours change places: within the window for frames of any length only if short
        if len(sent[i]) + len(sent[i + 1]) < 2 * (64 + 8 * 9) and sent[i] is not parts[0] and rnd.random() < 0.3:
            sent[i], sent[i + 1] = sent[i + 1], sent[i]
    asm, got, at = one(2), [], 0
    for size in [*batches, len(sent)]:
        feed(asm, sent[at : at + size] or [parts[0]])
        got += drain(asm)
        at += size
    assert flat(got) == want
    assert asm.counters()["lost_frames"] == 0
    assert asm.take_acks()[0][3] == len(parts) - 1


def test_a_hole_is_waited_for_then_lost() -> None:
    x = noise(1, 100)
    parts = frames(x, range(10, 100, 10))  # 1-s frames
    asm = one()
    feed(asm, [parts[0], parts[2]])
    assert [p.n for p in drain(asm)] == [10]  # 2 s of samples from the hole: still waited for
    assert asm.take_acks()[0][3] == 0
    feed(asm, [parts[3]])
    pieces = drain(asm)
    assert [type(p) for p in pieces] == [Break, Block]
    assert (pieces[0].reason, pieces[0].lost, pieces[0].t_ns) == ("gap", 10, T0 + 2 * NS)
    assert asm.take_acks()[0][3] == 3
    count = asm.counters()
    assert (count["lost_frames"], count["gaps"], count["lost_samples"], count["reordered"]) == (1, 1, 10, 2)
    feed(asm, [parts[1]])  # it comes after all: history, not a duplicate
    assert drain(asm) == []
    assert flat(drain(asm, lane=HISTORY))[0][0] == T0 + NS
    assert asm.counters()["late"] == 1
    feed(asm, [parts[1]])
    assert asm.counters()["duplicates"] == 1


def test_sixty_four_held_frames_are_the_most() -> None:
    x = noise(1, 140)
    parts = frames(x, range(1, 140), rate=1000)  # 1-ms frames: the window of 2 s is never reached
    asm = make_assembler(channels(rate=1000.0), [Join((0,))])
    feed(asm, [parts[0], *parts[2:66]])
    assert sum(p.n for p in drain(asm) if isinstance(p, Block)) == 1
    feed(asm, [parts[66]])
    assert [type(p) for p in drain(asm)] == [Break, Block]
    assert asm.counters()["lost_frames"] == 1


def test_silence_after_a_hole_ends_the_wait() -> None:
    parts = frames(noise(1, 30), [10, 20])
    asm = one()
    feed(asm, [parts[0], parts[2]])
    drain(asm)
    for _ in range(6):
        assert asm.settle(5)
        asm.tick(5)
    assert [type(p) for p in drain(asm)] == [Break, Block]


def test_first_seq_seen_begins_the_stream() -> None:
    asm = one()
    feed(asm, frames(noise(1, 10), [], seq0=41, index0=410))
    assert asm.take_acks() == [(7, 0, 1, 41, 0)]
    assert asm.counters()["lost_frames"] == 0


def test_lost_inside_the_device_is_a_gap_without_lost_frames() -> None:
    asm = one()
    feed(asm, frames(noise(1, 10), []) + frames(noise(1, 10), [], seq0=1, index0=15, t0_ns=T0 + 3 * NS // 2))
    pieces = drain(asm)
    assert pieces[1] == Break(T0 + 3 * NS // 2, "gap", 5)
    assert asm.counters()["lost_frames"] == 0


def test_overlap_is_trimmed() -> None:
    x = noise(1, 20)
    asm = one()
    feed(asm, frames(x[:, :12], []) + frames(x[:, 8:], [], seq0=1, index0=8, t0_ns=T0 + 8 * NS // 10))
    assert np.array_equal(np.concatenate([p.x for p in drain(asm) if isinstance(p, Block)], axis=1), x)
    assert asm.counters()["overlap_samples"] == 4


def test_a_boot_is_a_break_and_old_frames_are_history() -> None:
    x = noise(1, 20)
    old = frames(x, [10])
    asm = one()
    feed(asm, [old[0], *frames(x, [], epoch=2, t0_ns=T0 + 60 * NS), old[1]])
    assert [p.reason for p in drain(asm) if isinstance(p, Break)] == ["epoch"]
    assert flat(drain(asm, lane=HISTORY))[0][0] == T0 + NS
    count = asm.counters()
    assert (count["epochs"], count["backfilled"]) == (1, 1)


def test_clock_steps_break_and_drifts_do_not() -> None:
    x = noise(1, 10)
    asm = one()
    feed(
        asm,
        frames(x, [])
        + frames(x, [], seq0=1, index0=10, t0_ns=T0 + NS + 80_000_000)
        + frames(x, [], seq0=2, index0=20, t0_ns=T0 - 5 * NS),
    )
    pieces = drain(asm)
    assert [type(p) for p in pieces] == [Block, Block, Break, Block]
    assert [p.t0_ns - T0 for p in pieces if isinstance(p, Block)] == [0, NS + 80_000_000, -5 * NS]
    assert pieces[2].reason == "clock-step"
    count = asm.counters()
    assert (count["clock_drifts"], count["clock_steps"]) == (1, 1)


def test_jitter_below_half_a_sample_never_shows() -> None:
    x = noise(1, 40)
    parts = [
        p
        for k in range(4)
        for p in frames(x[:, 10 * k : 10 * k + 10], [], seq0=k, index0=10 * k, t0_ns=T0 + k * NS + (-1) ** k * 20_000_000)
    ]
    asm = one()
    feed(asm, parts)
    times = [t[0] for t in flat(drain(asm))]
    assert np.array_equal(np.diff(times), np.full(39, NS // 10))


def test_backfill_goes_to_history() -> None:
    x = noise(1, 20)
    asm = one()
    feed(asm, frames(x, [], index0=100, t0_ns=T0 + 10 * NS) + frames(x, [], seq0=1, index0=20, t0_ns=T0 + 2 * NS, flags=1 | 8))
    assert len(drain(asm)) == 1
    assert flat(drain(asm, lane=HISTORY))[0][:2] == (T0 + 2 * NS, float(x[0, 0]))
    assert asm.take_acks()[0][3] == 1


def timed(t: list[float], v: list[float], seq: int, index: int, flags: int = 1) -> bytes:
    t_ns = np.array([[T0 + int(s * NS) for s in t]], np.int64)
    return wire.pack(np.array([v]), device=7, seq=seq, sample_index=index, t0_ns=int(t_ns[0, 0]), t_ns=t_ns, rate=0, flags=flags)


def test_irregular_samples_keep_their_times() -> None:
    asm = one(rate=None)
    feed(asm, [timed([0, 3, 3.5], [1, 2, 3], 0, 0), timed([3.2, 3.5, 9], [7, 7, 4], 1, 3)])
    blocks = drain(asm)
    assert [t for b in blocks for t in b.t_ns.tolist()] == [T0, T0 + 3 * NS, T0 + 7 * NS // 2, T0 + 9 * NS]
    assert [v for b in blocks for v in b.x[0].tolist()] == [1, 2, 3, 4]
    assert asm.counters()["overlap_samples"] == 2


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (lambda: frames(noise(1, 4), [], device=8), "unknown-device"),
        (lambda: frames(noise(1, 4), [], channel=9), "unknown-channel"),
        (lambda: frames(noise(1, 4), [], rate=11), "wrong-rate"),
        (lambda: [timed([0.0], [1.0], 0, 0)], "wrong-encoding"),
        (lambda: frames(noise(2, 4), []) + frames(noise(1, 4), [], channel=1), "stream-overlap"),
        (lambda: [frames(noise(1, 4), [])[0][:-1] + b"\xff"], "crc"),
    ],
)
def test_refusals_are_counted_and_told(make: Any, reason: str) -> None:
    asm = one(2)
    assert feed(asm, make()) == FED
    refused = asm.take_refused()
    assert [r[0] for r in refused] == [reason]
    assert refused[0][6] is (reason != "crc")
    assert asm.counters()["refused"] == {reason: 1}


def test_a_refused_frame_of_a_known_stream_counts_as_taken() -> None:
    x = noise(1, 10)
    asm = one()
    feed(asm, frames(x, []) + frames(x, [], seq0=1, index0=10, rate=11) + frames(x, [], seq0=2, index0=10, t0_ns=T0 + NS))
    assert asm.take_acks()[0][3] == 2
    assert sum(p.n for p in drain(asm)) == 20


def two_devices(coupled: bool = True) -> tuple[Any, list[Channel]]:
    both = channels(1, device=1) + channels(1, device=2)
    return make_assembler(both, [Join((0, 1), coupled)]), both


def test_a_join_starts_where_both_have_samples_and_tells_the_skew() -> None:
    asm, _ = two_devices()
    a, b = noise(1, 50, 1), noise(1, 50, 2)
    feed(asm, frames(a, [], device=1))
    assert drain(asm) == []
    feed(asm, frames(b, [], device=2, t0_ns=T0 + NS + 20_000_000))
    pieces = drain(asm)
    assert len(pieces) == 1
    assert pieces[0].n == 40
    assert np.array_equal(pieces[0].x, np.vstack([a[0, 10:], b[0, :40]]))
    assert pieces[0].skew_s == (0.0, 0.02)


@settings(max_examples=30, deadline=None)
@given(st.lists(st.integers(1, 99), max_size=6), st.lists(st.integers(1, 99), max_size=6), st.randoms())
def test_a_join_does_not_depend_on_who_comes_first(cuts_a: list[int], cuts_b: list[int], rnd: Any) -> None:
    a, b = noise(1, 100, 1), noise(1, 100, 2)

    def parts(cuts_1: list[int], cuts_2: list[int]) -> tuple[list[bytes], list[bytes]]:
        first = frames(a[:, :40], [c for c in cuts_1 if c < 40], device=1)
        first += frames(a[:, 47:], [c for c in cuts_1 if c < 53], device=1, seq0=len(first), index0=47, t0_ns=T0 + 47 * NS // 10)
        return first, frames(b, cuts_2, device=2, t0_ns=T0 + 300_000_000)

    def run(first: list[bytes], second: list[bytes], order: Any) -> list[Any]:
        asm, _ = two_devices()
        out, queues = [], [list(first), list(second)]
        while any(queues):
            q = order([q for q in queues if q])
            feed(asm, [q.pop(0)])
            out += drain(asm)
        return flat(out)

    want = run(*parts([], []), lambda qs: qs[0])
    assert [w for w in want if isinstance(w[0], str)] == [("gap", T0 + 47 * NS // 10, 7)]
    assert run(*parts(cuts_a, cuts_b), rnd.choice) == want


def test_a_partner_that_never_comes_costs_the_oldest_samples_and_a_break() -> None:
    asm, _ = two_devices(coupled=False)
    x = noise(1, 40_000)
    parts = {d: frames(x, range(10_000, 40_000, 10_000), device=d) for d in (1, 2)}
    assert feed(asm, parts[1]) == NEEDS_ROOM
    assert drain(asm) == []
    assert feed(asm, parts[1][3:], force=1) == FED
    assert asm.counters()["overflow_samples"] == 40_000 - (1 << 15)
    feed(asm, parts[2])
    pieces = drain(asm)
    assert pieces[0].t0_ns == T0 + (40_000 - (1 << 15)) * NS // 10
    assert np.array_equal(pieces[0].x[0], pieces[0].x[1])


def test_state_goes_on_bit_for_bit() -> None:
    asm, both = two_devices()
    a, b = frames(noise(1, 90, 1), range(10, 90, 10), device=1), frames(noise(1, 90, 2), range(10, 90, 10), device=2)
    feed(asm, [a[0], a[2], b[0]])  # one held, one waiting
    saved = asm.save()
    again = make_assembler(both, [Join((0, 1), True)])
    again.load(saved)
    for x in (asm, again):
        feed(x, [a[1], *b[1:4], a[5], a[6], a[7], a[8], *b[4:]])
    assert flat(drain(asm)) == flat(drain(again))
    assert asm.counters() == again.counters()
    assert asm.save() == again.save()


def test_damaged_state_is_refused() -> None:
    asm = one()
    feed(asm, frames(noise(1, 30), [10]))
    saved = asm.save()
    for wrong in (saved[:-1], saved[:40], b"\0" * len(saved), saved + b"\0", b"\xff" * 200):
        with pytest.raises(ValueError, match="saved state is of another version"):
            one().load(wrong)


def test_a_long_silent_ring_stays_small_and_old_epochs_go() -> None:
    asm = one()
    for epoch in range(1, 40):
        feed(asm, frames(noise(1, 10), [], epoch=epoch, t0_ns=T0 + epoch * 100 * NS))
        drain(asm)
    assert asm.counters()["epochs"] == 38
    assert len(asm.take_acks()) <= 4


def test_a_break_of_history_tells_the_time_of_what_follows() -> None:
    """Late frames go back before their anchor; the way back has a sign, also where a sample is no whole number of nanoseconds."""
    asm = one(rate=30.0)
    parts = frames(noise(1, 2400), range(30, 2400, 30), rate=30)
    feed(asm, [parts[0], *parts[70:]])  # the hole 1 .. 69 is given up
    asm.settle(0, 1)
    feed(asm, [parts[9], parts[5], parts[3]])
    pieces = drain(asm, lane=HISTORY)
    at = [i for i, p in enumerate(pieces) if isinstance(p, Break)]
    assert [pieces[i].t_ns for i in at] == [pieces[i + 1].t0_ns for i in at] == [T0 + 5 * NS, T0 + 3 * NS]


def test_rows_of_rates_that_differ_a_little_come_to_an_end() -> None:
    """The skew lies between half a sample of the one and of the other: told once or not at all, never for ever."""
    both = [*channels(1, device=1, rate=20.0), *channels(1, device=2, rate=20.0)]
    asm = make_assembler(both, [Join((0, 1))])
    for device, rate, t0_ns in ((1, 20.0, T0), (2, (200_010, 10_000), T0 + 25_000_000)):
        feed(asm, [wire.pack(np.ones((1, 20), np.float32), device=device, seq=0, t0_ns=t0_ns, rate=rate)])
    pieces = [asm.take(0, LIVE) for _ in range(10)]
    assert isinstance(pieces[0], Block) and pieces[0].n == 20
    assert pieces[1:] == [None] * 9


def test_few_bytes_of_very_many_samples_wait_for_their_reader() -> None:
    asm = one()
    x = np.zeros((1, 1 << 20), np.int32)
    told = [{"seq": k, "sample_index": k << 20, "t0_ns": T0 + (k << 20) * (NS // 10)} for k in range(4)]
    parts = [wire.pack(x, device=7, rate=10, encoding=wire.PACKED, **t) for t in told]
    assert sum(map(len, parts)) < 40_000
    assert feed(asm, parts) == NEEDS_ROOM
    assert sum(p.n for p in drain(asm)) == 2 << 20
    assert feed(asm, parts[2:]) == FED
    assert sum(p.n for p in drain(asm)) == 2 << 20
    assert asm.counters()["overflow_samples"] == 0


def test_seams_without_samples_are_forgotten() -> None:
    """A channel whose clock stands still, beside one that goes on: each frame has another flag, and nothing of the first is new."""
    asm = make_assembler(channels(2, rate=None), [Join((0,)), Join((1,))])
    sizes = []
    for k in range(300):
        t_ns = np.array([[T0], [T0 + k]])
        feed(asm, [wire.pack(np.ones((2, 1)), device=7, seq=k, sample_index=k, t_ns=t_ns, flags=k % 2)])
        drain(asm, 0), drain(asm, 1)
        sizes.append(len(asm.save()))
    assert sizes[-1] == sizes[9]
