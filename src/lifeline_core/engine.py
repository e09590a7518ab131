"""Frames, ticks and commands in, alarms out: pure, deterministic, and able to be put down and taken up again.

No socket, no thread, no clock. The same inputs in the same order give the same alarms, bit for bit, however they are batched:
blocks may be cut anywhere, and whatever looks at several devices at once (burst location, the health of dependent channels)
happens in `Engine.tick` alone.
"""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from fractions import Fraction
from typing import Any, NamedTuple

import msgpack
import msgspec
import numpy as np
from numpy.typing import ArrayLike, NDArray

from lifeline_core import isa, wire
from lifeline_core.alarms.episodes import Episode, Episodes
from lifeline_core.assemble import FED, LIVE, NEEDS_PYTHON, NEEDS_READERS, NEEDS_ROOM, PATIENCE, Join, make_assembler
from lifeline_core.detectors import find, first_groups
from lifeline_core.detectors.base import Window
from lifeline_core.detectors.cleaned import REMOVED, Cleaning
from lifeline_core.errors import StateError
from lifeline_core.model import Alarm, Block, Break, Channel, City, Finding
from lifeline_core.networks import Networks
from lifeline_core.runs import Run, Saving
from lifeline_core.version import __version__

STATE_VERSION = 3
EPISODES = 64  # of one piece of saved state
PUSHED = 0xFFFFFFFF  # the epoch of irregular samples that come without frames


class Receipts(NamedTuple):
    """What to answer to devices; ``record`` is the frame's place in the last batch."""

    acks: list[tuple[int, int, int, int, int]]  # device, channel, epoch, ack, record
    refused: list[tuple[str, int, int, int, int, int, bool]]  # reason, record, device, channel, epoch, seq, sound
    hellos: list[tuple[int, int, int, int]]  # device, channel, epoch, record


class Engine:
    """The signal core of one city.

    Parameters
    ----------
    city : City
        A checked configuration (`lifeline_core.config.load_city`).

    Examples
    --------
    ::

        engine = Engine(load_city("city.toml"))
        alarms = engine.push(frame_bytes)      # LLF1, one or a list
        alarms += engine.tick(now_ns)          # once a second
    """

    def __init__(self, city: City) -> None:
        self._build(city, {})

    def _build(self, city: City, groups: Mapping[str, list[list[str]]]) -> None:
        """Set up channels, joins and runs; ``groups`` overrides how a watch's channels arrive (known from saved state)."""
        self.city = city
        self.channels = list(city.channels.values())
        self._number = {c.name: i for i, c in enumerate(self.channels)}
        self.runs: list[Run] = []
        self._cleanings: dict[str, Cleaning] = {}  # by watch, of those that ask for it
        self._readers: list[list[tuple[Run, int]]] = []  # by join: watches over the same channels share one, and its blocks
        numbers: dict[Join, int] = {}
        joins: list[Join] = []
        for watch in city.watches.values():
            members = [city.channels[name] for name in watch.channels]
            kind = find(watch.detector)
            if watch.name in groups:
                arrive = [tuple(city.channels[n] for n in g) for g in groups[watch.name]]
            else:
                arrive = first_groups(kind, watch.params, members)
            run = Run(watch, city.sites[watch.site], arrive)
            self.runs.append(run)
            if watch.clean is not None:
                self._cleanings[watch.name] = Cleaning(watch.clean, run.groups)
            for g, group in enumerate(run.groups):
                join = Join(tuple(self._number[c.name] for c in group), run.kind.COUPLED)
                if join not in numbers:
                    numbers[join] = len(joins)
                    joins.append(join)
                    self._readers.append([])
                self._readers[numbers[join]].append((run, g))
        self._assembler = make_assembler(self.channels, joins)
        self._find_loose()
        self._offer_all()
        self.episodes = Episodes(city.hash)
        self.networks = Networks(city)
        self._heads: dict[str, int] = {}
        self._unhealthy: dict[str, list[str]] = {}
        self._pushed: dict[str, tuple[int, int]] = {}  # next seq and sample_index of irregular samples without frames
        self._tick_ns: int | None = None
        self._unsaid: list[Alarm] = []
        self._revisions = 0
        self._gateway: list[tuple[str, int]] = []  # refused before the assembler saw them
        self._odd: dict[str, int] = {}  # the same, counted
        self.load_notes: list[str] = []
        self._saving: Saving | None = None
        self._readers_said = 0, b""

    # ---- inputs ----

    def push(self, frames: bytes | Iterable[bytes]) -> list[Alarm]:
        """Frames in the order of their arrival: LLF1, or a gateway's msgpack map.

        Parameters
        ----------
        frames : bytes or iterable of bytes
            One frame each. What is no frame is counted by reason (`stats`) and told by `take_receipts`; it raises nothing.

        Returns
        -------
        list of Alarm
            New alarms and revisions, with ``seq`` 0.
        """
        parts = [frames] if isinstance(frames, bytes | bytearray | memoryview) else list(frames)
        lengths = np.array([len(p) for p in parts], np.int64)
        offsets = np.concatenate([np.zeros(1, np.int64), np.cumsum(lengths)])[:-1]
        return self.push_batch(b"".join(parts), offsets, lengths)

    def push_batch(self, buf: Any, offsets: NDArray[np.int64], lengths: NDArray[np.int64]) -> list[Alarm]:
        """As `push`, for frames that lie in one buffer: frame ``i`` is ``buf[offsets[i] : offsets[i] + lengths[i]]``."""
        data = np.frombuffer(buf, np.uint8) if len(buf) else np.zeros(1, np.uint8)
        out, self._unsaid = self._unsaid, []
        try:
            self._feed(data, offsets, lengths, out)
        except BaseException:  # what was said before the fault is said by the next call
            self._unsaid = out
            raise
        return out

    def _feed(self, data: NDArray[np.uint8], offsets: NDArray[np.int64], lengths: NDArray[np.int64], out: list[Alarm]) -> None:
        offsets, lengths = np.ascontiguousarray(offsets, np.int64), np.ascontiguousarray(lengths, np.int64)
        at, force = 0, 0
        while True:
            status, at = self._assembler.feed(data, offsets, lengths, at, force)
            if status == FED:
                break
            if status == NEEDS_PYTHON:
                one = bytes(data[offsets[at] : offsets[at] + lengths[at]])
                self._feed_special(one, at, out)
                at, force = at + 1, 0
            else:
                if status == NEEDS_READERS and self._assembler.wanted >= 0:
                    self._drain_join(self._assembler.wanted, LIVE, out)
                else:
                    self._drain(out)
                force = int(status == NEEDS_ROOM)
        self._drain(out)

    def _feed_special(self, one: bytes, record: int, out: list[Alarm]) -> None:
        """A gateway's map, or a header with extensions: Python reads it, then it goes the way of all frames."""
        if one[:4] == b"LLF1":
            read = wire.decode(one)
            converted: Any = read if isinstance(read, wire.Refusal) else one
        else:
            converted = wire.from_gateway(one)
        if isinstance(converted, wire.Refusal):
            if one[:4] == b"LLF1":
                self._assembler.spend(np.frombuffer(one, np.uint8), record, converted.reason)
            else:
                self._gateway.append((converted.reason, record))
            self._odd[converted.reason] = self._odd.get(converted.reason, 0) + 1
            return
        self._regular(converted, record, out)

    def _regular(self, frame: bytes, record: int, out: list[Alarm]) -> None:
        data = np.frombuffer(frame, np.uint8)
        # The frame keeps its place in the batch: receipts speak of that.
        offsets, lengths = np.zeros(record + 1, np.int64), np.full(record + 1, len(frame), np.int64)
        status, _ = self._assembler.feed(data, offsets, lengths, record, 0, 1)
        while status != FED:
            self._drain(out)
            status, _ = self._assembler.feed(data, offsets, lengths, record, 1, 1)

    def push_samples(self, channel: str, t0_ns: int | Sequence[int] | NDArray[np.int64], array: ArrayLike) -> list[Alarm]:
        """Samples without a wire, already in the channel's unit.

        Parameters
        ----------
        channel : str
            Its name in the configuration; KeyError otherwise.
        t0_ns : int, or int64[n] for an irregular channel
            Time of the first sample (of every sample). Arrays that go on within half a sample join without a seam; later is a
            Break "gap", earlier a Break "clock-step".
        array : float[n]
        """
        c = self.city.channels[channel]
        x = np.ascontiguousarray(array, np.float32)
        if x.ndim != 1:
            raise ValueError(f"push_samples takes one dimension, not {x.ndim}")
        out: list[Alarm] = []
        if c.rate_hz is None:
            t_ns = np.atleast_1d(np.asarray(t0_ns, np.int64))
            if t_ns.shape != x.shape:
                raise ValueError(f"{channel} is irregular: as many times as samples, not {t_ns.size} for {x.size}")
            return self._push_timed(c, t_ns, np.asarray(array, np.float64)) if x.size else []
        if not isinstance(t0_ns, int | np.integer):
            raise ValueError(f"{channel} has a rate: one t0_ns, not {type(t0_ns).__name__}")
        rate = Fraction(c.rate_hz).limit_denominator(100_000)
        for start in range(0, x.size, 1 << 14):
            part, t = x[start : start + (1 << 14)], int(t0_ns) + start * rate.denominator * 1_000_000_000 // rate.numerator
            if not self._assembler.put(self._number[channel], t, rate.numerator, rate.denominator, part):
                self._drain(out)
                self._assembler.put(self._number[channel], t, rate.numerator, rate.denominator, part, 1)
            self._drain(out)
        return out

    def _push_timed(self, c: Channel, t_ns: NDArray[np.int64], x: NDArray[np.float64]) -> list[Alarm]:
        """Irregular samples take the way of frames, as a device of their own epoch."""
        seq, index = self._pushed.get(c.name, (0, 0))
        frame = wire.pack(
            (x[None, :] - c.offset) / c.scale,
            device=c.device,
            seq=seq,
            sample_index=index,
            t_ns=t_ns[None, :],
            t0_ns=int(t_ns[0]),
            channel=c.channel,
            epoch=PUSHED,
            rate=0,
        )
        self._pushed[c.name] = (seq + 1, index + x.size)
        return self.push(frame)

    def tick(self, t_ns: int) -> list[Alarm]:
        """Once a second, in order with the frames: what silence means, and what several devices say together."""
        out: list[Alarm] = []
        self._settle(out)
        self._assembler.tick(PATIENCE)
        self._drain(out)
        self._note_heads()
        self._tick_ns = t_ns if self._tick_ns is None else max(t_ns, self._tick_ns)
        for run in self.runs:
            for finding in run.tick(self._tick_ns):
                self._hear(run, finding, out)
        heads = {name: t for name, t in self._heads.items() if self._assembler.quiet(self._number[name]) < PATIENCE}
        for site, watch, finding in self.networks.tick(self._tick_ns, heads, self._recall):
            out += self._count(self.episodes.hear(finding, site, watch))
        out += self._count(self.episodes.tick(self._tick_ns))
        self._unhealthy = self._ailments()
        return out

    def _settle(self, out: list[Alarm], everything: int = 0) -> None:
        """Frames whose wait is over go on; where a ring stays full because a partner never comes, its oldest samples make room."""
        force = 0
        while not self._assembler.settle(PATIENCE, everything, force):
            self._drain(out)
            force = 1
        self._drain(out)

    def command(
        self, alarm_id: str, action: str, *, actor: str, reason: str = "", t_ns: int | None = None, until_ns: int | None = None
    ) -> list[Alarm]:
        """An operator's step on an alarm; CommandRefused (``code``) where it is not possible.

        ``action`` is confirm, reject, dispatch, handle, resolve, verify, close, evaluate, shelve (with ``until_ns`` and
        ``reason``) or unshelve.
        """
        now = t_ns if t_ns is not None else self._tick_ns or 0
        return self._count([self.episodes.command(alarm_id, action, actor=actor, reason=reason, t_ns=now, until_ns=until_ns)])

    def flush(self) -> list[Alarm]:
        """The streams end here: held frames are let go, open bins and windows are closed."""
        out: list[Alarm] = []
        self._settle(out, 1)
        self._note_heads()
        for run in self.runs:
            if run.watch.name in self._cleanings:
                run.touch()
                for lane, group, block in self._cleanings[run.watch.name].flush():
                    for finding in run.take(group, lane, block):
                        self._hear(run, finding, out, lane)
            t_ns = max((self._heads.get(n, 0) for n in run.watch.channels), default=0)
            for lane, finding in run.flush(t_ns):
                self._hear(run, finding, out, lane)
        for site, watch, finding in self.networks.flush(self._heads, self._recall):
            out += self._count(self.episodes.hear(finding, site, watch))
        return out

    # ---- inside ----

    def _drain(self, out: list[Alarm]) -> None:
        """Let every detector read what there is. What takers take is given to them by the assembler."""
        for channels in self._assembler.take_new_streams():
            self._regroup(set(channels))
        while dirty := self._assembler.take_dirty():
            for join, lane in dirty:
                self._drain_join(join, lane, out)

    def _drain_join(self, join: int, lane: int, out: list[Alarm]) -> None:
        if self._assembler.is_held(join):  # first of all a `Saving` has its watches as they were
            for run, _ in self._readers[join]:
                run.touch()
            self._assembler.release(join)
        while (piece := self._assembler.take(join, lane)) is not None:
            self._read(join, lane, piece, self._assembler.had(), out)

    def _read(self, join: int, lane: int, piece: Block | Break, begun: list[int] | None, out: list[Alarm]) -> None:
        """A block or a break to every reader of a join; of a block what their takers have not had (``begun``)."""
        for k, (run, group) in enumerate(self._readers[join]):
            part: Block | Break = piece
            if isinstance(piece, Block) and begun is not None and begun[k]:
                if begun[k] == piece.n:
                    continue
                part = _rest(piece, begun[k])
            if self._cleanings and (cleaning := self._cleanings.get(run.watch.name)) is not None:
                run.touch()
                for clean in cleaning.take(group, lane, part):
                    for finding in run.take(group, lane, clean):
                        self._hear(run, finding, out, lane)
                continue
            for finding in run.take(group, lane, part):
                self._hear(run, finding, out, lane)

    def _offer_all(self) -> None:
        self._joins: dict[str, list[int]] = {}  # by watch: those it reads
        for join, readers in enumerate(self._readers):
            for run, _ in readers:
                self._joins.setdefault(run.watch.name, []).append(join)
        self._offer(range(len(self._readers)))

    def _offer(self, joins: Iterable[int]) -> None:
        """Tell the assembler which short ways the readers of joins have. Cleaned samples go through Python."""
        for join in joins:
            self._assembler.offer(
                join, [[] if run.watch.name in self._cleanings else run.takers(group) for run, group in self._readers[join]]
            )

    def _note_heads(self) -> None:
        """How far the live samples of each channel have come."""
        for join, t_ns in self._assembler.take_lasts():
            run, group = self._readers[join][0]
            for c in run.groups[group]:
                self._heads[c.name] = t_ns

    def _find_loose(self) -> None:
        """By channel: the joins that fall apart when their channels come by themselves. Most have one channel and never do."""
        self._loose: dict[int, set[int]] = {}
        for join, readers in enumerate(self._readers):
            members = self._assembler.members(join)
            for m in members if len(members) > 1 and not readers[0][0].kind.COUPLED else ():
                self._loose.setdefault(m, set()).add(join)

    def _regroup(self, stream: set[int]) -> None:
        """A device turned out to send fewer channels together than a group expects: the group falls apart."""
        for join in sorted({join for channel in stream for join in self._loose.get(channel, ())}):
            readers = self._readers[join]
            members = self._assembler.members(join)
            part = [m for m in members if m in stream]
            if part and len(part) < len(members):
                number = self._assembler.split(join, part)
                assert number == len(self._readers)
                channels = [self.channels[m] for m in part]
                for m in part if len(part) > 1 else ():
                    self._loose.setdefault(m, set()).add(number)
                self._readers.append([(run, run.split(group, channels)) for run, group in readers])
                for run, _ in readers:
                    if run.watch.name in self._cleanings:
                        self._cleanings[run.watch.name].regroup(run.groups)
                    self._joins[run.watch.name].append(number)
                    self._offer(self._joins[run.watch.name])

    def _hear(self, run: Run, finding: Finding, out: list[Alarm], lane: int = LIVE) -> None:
        if run.renewed:  # it failed: what was offered is of the detector before
            self._offer(self._joins[run.watch.name])
        health: dict[str, list[str]] = {}
        if run.watch.detector != "health":
            concerned = [finding.source] if finding.source in self._unhealthy else [] if finding.source else run.watch.channels
            health = {c: self._unhealthy[c] for c in concerned if c in self._unhealthy}
        self.networks.hear(run.site.name, run.watch.name, finding)
        out += self._count(self.episodes.hear(finding, run.site, run.watch.name, late=lane != LIVE, health=health))

    def _recall(self, channel: str, start_ns: int, stop_ns: int) -> Window | None:
        """Samples of a channel as the first row that still keeps them has them."""
        mine = (run for run in self.runs if channel in run.watch.channels)
        return next((w for run in mine if (w := run.recall(channel, start_ns, stop_ns)) is not None), None)

    def _count(self, alarms: list[Alarm]) -> list[Alarm]:
        self._revisions += len(alarms)
        return alarms

    def _ailments(self) -> dict[str, list[str]]:
        """What ails each channel, as the health watches say at this tick."""
        ill: dict[str, list[str]] = {}
        for run in self.runs:
            if run.watch.detector != "health":
                continue
            for kind in run.kind.KINDS:
                for source in self.episodes.sources(run.site.name, run.watch.name, kind):
                    for name in [source] if source else run.watch.channels:
                        ill.setdefault(name, []).append(kind)
        return ill

    # ---- answers ----

    def take_receipts(self) -> Receipts:
        """What to answer to devices for everything since the last call."""
        odd = [(reason, record, 0, 0, 0, 0, False) for reason, record in self._gateway]
        self._gateway = []
        a = self._assembler
        return Receipts(a.take_acks(), a.take_refused() + odd, a.take_greetings())

    def stats(self) -> dict[str, Any]:
        """Counters since the first start: frames, samples, refused by reason, gaps, duplicates, alarms ..."""
        counts: dict[str, Any] = self._assembler.counters()
        for reason, n in self._odd.items():
            counts["refused"][reason] = counts["refused"].get(reason, 0) + n
        counts.update(
            alarms=self.episodes.raised,
            revisions=self._revisions,
            active=len(self.episodes.active),
            detector_errors=sum(r.errors for r in self.runs),
            unhealthy_channels=len(self._unhealthy),
        )
        removed = self.removed()
        for i, reason in enumerate(REMOVED):
            counts[f"removed_{reason}"] = sum(row[i] for rows in removed.values() for row in rows.values())
        return counts

    def removed(self) -> dict[str, dict[str, list[int]]]:
        """Samples taken out before detectors since the first start: watch -> channel -> number by reason, as REMOVED has them."""
        return {name: cleaning.removed() for name, cleaning in self._cleanings.items()}

    # ---- state ----

    def save(self) -> bytes:
        """Everything that is needed to go on bit for bit, between two calls."""
        parts: list[bytes] = []
        self.begin_save(parts.append).finish()
        return b"".join(parts)

    def begin_save(self, out: Callable[[bytes], object]) -> Saving:
        """As `save`, but gathered while the engine goes on: no call waits for more than one watch of it.

        Parameters
        ----------
        out : callable
            Gets the state of this moment in pieces, some at once, some before a later call changes what they say, the rest
            as `Saving.go_on` is called until it is False. `restore` takes them one behind the other, in the order in which
            they came. Called by the thread that calls the engine.

        Returns
        -------
        Saving
            One at a time: what is left of an earlier one is gathered now.
        """
        if self._saving is not None:
            with contextlib.suppress(Exception):  # of a watch that cannot be saved: whoever began it is told by `Saving.go_on`
                self._saving.finish()
        self._note_heads()
        known, active = list(self.episodes.known.values()), self.episodes.active
        alarms = [e.alarm for e in known]  # a finished episode changes no more but for its alarm, which is replaced
        held = {i: (dict(e.sources), list(e.channels)) for i in active.values() if (e := self.episodes.known.get(i)) is not None}
        head = {
            "v": STATE_VERSION,
            "version": __version__,
            "isa": isa.check(),
            "city": self.city.hash,
            "n_runs": len(self.runs),
            "n_episodes": len(known),
            "readers": self._said_readers(),
            "active": active,
            "raised": self.episodes.raised,
            "networks": self.networks.save(),
            "heads": self._heads,
            "unhealthy": self._unhealthy,
            "pushed": self._pushed,
            "tick_ns": self._tick_ns,
            "revisions": self._revisions,
            "odd": self._odd,
        }
        out(msgpack.packb(head))
        assembler = self._assembler.save()
        out(b"\xc6" + len(assembler).to_bytes(4, "big"))  # msgpack's bin 32: what is large is not copied into a map
        out(assembler)
        self._saving = Saving(self.runs, self._cleanings, _packed(known, alarms, held), out)
        self._assembler.hold()  # no taker may change a watch before it is saved
        return self._saving

    def _said_readers(self) -> bytes:
        """Who reads each join. Joins are only ever added, so it is worked out again only when there are more."""
        if self._readers_said[0] != len(self._readers):
            said = msgpack.packb([[[r.watch.name, g] for r, g in readers] for readers in self._readers])
            self._readers_said = len(self._readers), said
        return self._readers_said[1]

    @classmethod
    def restore(cls, city: City, state: bytes | memoryview) -> Engine:
        """An engine that goes on where `save` was called.

        With another configuration, what still fits is taken (episodes always, a watch's detector where nothing of the
        watch changed) and the rest starts anew; `load_notes` says what did. StateError: these bytes are no state of this
        version.
        """
        content = _unpacked(state)
        engine = cls.__new__(cls)
        same = content["city"] == city.hash
        engine._build(city, {n: r["groups"] for n, r in content["runs"].items()} if same else {})
        if content["isa"] != isa.check():
            engine.load_notes.append(f"state of instruction set {content['isa']}, now {isa.check()}: equal within tolerances only")
        engine._load(content, same)
        engine._offer_all()
        return engine

    def _load(self, content: Mapping[str, Any], same: bool) -> None:
        self.episodes.load({k: content[k] for k in ("known", "active", "raised")})
        self._tick_ns, self._revisions, self._odd = content["tick_ns"], content["revisions"], content["odd"]
        self._unhealthy, self._pushed = content["unhealthy"], {n: (s, i) for n, (s, i) in content["pushed"].items()}
        self._heads = {n: t for n, t in content["heads"].items() if n in self._number}
        if same:
            order = {(name, g): (r, g) for r in self.runs for name, g in [(r.watch.name, k) for k in range(len(r.groups))]}
            self._readers = [[order[name, g] for name, g in readers] for readers in msgpack.unpackb(content["readers"])]
            self._assembler.load(content["assembler"])
            self._find_loose()
            self.networks.load(content["networks"])
        else:
            self.load_notes.append("the configuration changed: streams begin anew")
        for run in self.runs:
            saved = content["runs"].get(run.watch.name)
            if saved is None:
                self.load_notes.append(f"watch {run.watch.name} is new")
                continue
            try:
                run.load(saved)
                if run.watch.name in self._cleanings:
                    self._cleanings[run.watch.name].load(content["cleanings"][run.watch.name])
            except StateError as error:
                self.load_notes.append(str(error))


def _rest(block: Block, start: int) -> Block:
    """A regular block from its sample ``start`` on."""
    return dataclasses.replace(block, x=np.ascontiguousarray(block.x[:, start:]), index=block.index + start)


def _packed(
    known: list[Episode], alarms: list[Alarm], held: Mapping[str, tuple[dict[str, int], list[str]]]
) -> Iterator[bytes]:
    """Episodes as they were, in their order, some at a time: msgpack arrays ``["episodes", [..]]``."""
    for start in range(0, len(known), EPISODES):
        rows = []
        for episode, alarm in zip(known[start : start + EPISODES], alarms[start : start + EPISODES], strict=True):
            sources, channels = held.get(alarm.alarm_id, ({}, episode.channels))
            rows.append(Episode(alarm, sources, channels))
        yield msgspec.msgpack.encode(("episodes", rows))


def _unpacked(state: bytes | memoryview) -> dict[str, Any]:
    """What `Engine.save` said, with ``assembler``, ``known``, ``runs`` and ``cleanings`` gathered from its pieces."""
    try:
        parts = msgpack.Unpacker(strict_map_key=False, max_buffer_size=0)
        parts.feed(state)
        content: dict[str, Any] = next(parts)
        version = content["v"]
        if version == STATE_VERSION:
            runs: dict[str, Any] = {}
            content |= {"assembler": next(parts), "known": [], "runs": runs, "cleanings": {}}
            while len(runs) < content["n_runs"] or len(content["known"]) < content["n_episodes"]:
                what, *said = next(parts)
                if what == "run" and said[0] not in runs:
                    name, runs[name], content["cleanings"][name] = said[0], said[1], said[2]
                elif what == "episodes":
                    content["known"] += said[0]
                else:
                    raise ValueError(f"{what} does not belong here")
            if parts.tell() != len(state):
                raise ValueError("there is more than was said")
    except Exception as error:
        raise StateError(f"saved state cannot be read: {error!r}") from error
    if version != STATE_VERSION:
        raise StateError(f"saved state has version {version}, this build takes {STATE_VERSION}")
    return content
