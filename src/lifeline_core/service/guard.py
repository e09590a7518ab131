"""Who gets in, and what they may send: CURVE keys of the configuration, each with its role.

::

    handshake   key unknown, or of another role      refused by libzmq, counted ("key", "role")
                not CURVE, broken off, too slow      refused by libzmq, counted ("handshake")
    frame       of a device that is not the key's    refused and answered ("not-its-device")
                more than the key may send           not taken and not answered ("over-rate"): the device sends it again

The device number inside a frame is a claim; the key it came under is what is believed. Refusals are counted by reason and
by client, and stand as one alarm until none came for ten minutes.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import msgspec
import numpy as np
import zmq
from numpy.typing import NDArray
from zmq.auth.thread import ThreadAuthenticator

from lifeline_core.model import NS, Alarm, Client
from lifeline_core.service.log import Log
from lifeline_core.service.receive import FRAME, GATEWAY, Batch
from lifeline_core.service.sockets import Refusals
from lifeline_core.service.trouble import Standing, refusal_alarm

FOREIGN, FAST = 250, 251  # kinds of a batch that the guard gives: not its device, over its rate
REASONS = {FOREIGN: "not-its-device", FAST: "over-rate"}
ROLES = {"ingest": ("device",), "alarms": ("reader", "operator"), "feed": ("reader", "operator")}
AT_THE_DOOR = ("handshake", "key", "role")
QUIET_NS = 600 * NS  # without a refusal, until the alarm is cleared
BURST_S = 5.0  # of a rate that may come at once: what a device sends after it could not for a while
DEVICE_AT = 8  # of a frame's header


class Bucket:
    """What a key may still send: filled at its rate, never above ``BURST_S`` of it."""

    def __init__(self, rate: float, now: float) -> None:
        self.rate, self.level, self._filled = rate, BURST_S * rate, now

    def take(self, wanted: NDArray[np.float64], now: float) -> int:
        """How many of a run of amounts, one behind the other, it allows."""
        self.level = min(BURST_S * self.rate, self.level + self.rate * max(0.0, now - self._filled))
        self._filled = now
        total = np.cumsum(wanted)
        n = int(np.searchsorted(total, self.level, side="right"))
        if n:
            self.level -= float(total[n - 1])
        return n


class Guard:
    """The clients of one configuration. ``callback`` is for the handshakes' thread, `judge` and `renew` for the ingest thread."""

    def __init__(self, clients: Mapping[str, Client], log: Log, config_hash: str = "") -> None:
        self._log = log
        self._lock = threading.Lock()
        self.counts: Counter[str] = Counter()  # by reason
        self.by_client: Counter[tuple[str, str]] = Counter()
        self._held = threading.Condition()
        self.renew(clients)
        self._auth: ThreadAuthenticator | None = None
        self._refusals: Refusals | None = None
        self._told = 0  # refusals the last look knew of
        self._standing = Standing(lambda facts, t_ns: refusal_alarm(facts, t_ns, config_hash), QUIET_NS)

    def renew(self, clients: Mapping[str, Client]) -> None:
        """Other clients; a connection whose key is withdrawn stays, and no frame and no command of it is taken."""
        self._clients = sorted(clients.values(), key=lambda c: c.key)
        self._by_key = {c.key.encode(): c for c in self._clients}
        pairs = sorted((user << 32) | d for user, c in enumerate(self._clients, 1) for d in c.devices)
        self._pairs = np.array(pairs, np.uint64)
        now = time.monotonic()
        self._frames = {u: Bucket(c.max_frames_s, now) for u, c in enumerate(self._clients, 1) if c.max_frames_s}
        self._bytes = {u: Bucket(1024.0 * c.max_kib_s, now) for u, c in enumerate(self._clients, 1) if c.max_kib_s}
        with self._held:
            self._holding = clients
            self._held.notify_all()

    def withdraw(self, clients: Mapping[str, Client]) -> None:
        """Whoever is not among ``clients`` gets in nowhere from now on; from any thread, ahead of `renew`.

        Who is new waits for `renew`: let in before the ingest thread knows its key, its first frames would be refused for good.
        """
        allowed = {c.key.encode(): c for c in clients.values()}
        self._by_key = {key: allowed[key] for key in self._by_key if key in allowed}

    def holds(self, clients: Mapping[str, Client], timeout_s: float) -> bool:
        """Whether the ingest thread has taken ``clients``, within ``timeout_s``: what it reads from now on is judged by them."""
        with self._held:
            return self._held.wait_for(lambda: self._holding is clients, timeout_s)

    @property
    def keys(self) -> list[bytes]:
        """For the receiver: in the order of its users."""
        return [c.key.encode() for c in self._clients]

    def start(self, context: zmq.Context[zmq.Socket[bytes]]) -> None:
        """Before the sockets are bound."""
        silent = logging.Logger("curve", logging.CRITICAL)  # its own lines carry keys
        self._auth = ThreadAuthenticator(context, log=silent)
        self._auth.start()
        for domain in ROLES:
            self._auth.configure_curve_callback(domain=domain, credentials_provider=self)

    def listen(self, sockets: Sequence[zmq.Socket[bytes]]) -> None:
        """Count handshakes that never came to a key; before the sockets go to their threads.

        From now on nobody takes a connection over by calling itself by its name: the name is the peer's own choice, the
        key is not. A second connection of one name is heard when the first has ended and it connects anew.
        """
        for socket in sockets:
            if socket.type == zmq.ROUTER:
                socket.setsockopt(zmq.ROUTER_HANDOVER, 0)
        self._refusals = Refusals(sockets, lambda: self._refused("handshake", ""))
        self._refusals.start()

    def close(self) -> None:
        if self._refusals is not None:
            self._refusals.finish()
        if self._auth is not None:
            self._auth.stop()

    def _refused(self, reason: str, client: str, n: int = 1) -> None:
        with self._lock:
            self.counts[reason] += n
            self.by_client[reason, client] += n
        self._log.warning(f"refused-{reason}", client=client or "unknown")

    def tick(self, t_ns: int, *, ending: bool = False) -> list[Alarm]:
        """Once a second, by one thread: the alarm that begins with a refusal and ends when none came for ten minutes."""
        with self._lock:
            counts = {f"{reason} {client}".strip(): n for (reason, client), n in sorted(self.by_client.items())}
        before, self._told = self._told, sum(counts.values())
        return self._standing.tick(t_ns, self._told != before, counts, ending=ending)

    # ---- handshakes ----

    def callback(self, domain: str, key: bytes) -> bool:
        """Whether the owner of a key may use a socket; asked once a connection."""
        client = self._by_key.get(bytes(key))
        if client is None:
            self._refused("key", "")
            return False
        if client.role not in ROLES.get(domain, ()):
            self._refused("role", client.name)
            return False
        return True

    def reader(self, user: str) -> Client:
        """Who asks the feed, by the key of the message; one of no role there where that was withdrawn since its handshake."""
        return self._by_key.get(user.encode()) or Client(name="withdrawn", key=user)

    # ---- frames ----

    def judge(self, batch: Batch) -> None:
        """Marks in ``batch.kinds`` what may not be taken."""
        device, known = _devices(batch)
        pair = batch.users.astype(np.uint64) << np.uint64(32) | device
        at = np.minimum(np.searchsorted(self._pairs, pair), max(len(self._pairs) - 1, 0))
        own = self._pairs[at] == pair if len(self._pairs) else np.zeros(len(batch), bool)
        foreign = known & ~own
        batch.kinds[foreign] = FOREIGN
        limited = np.isin(batch.users, list(self._frames.keys() | self._bytes.keys())) & ~foreign
        if limited.any():
            self._hold(batch, limited)
        for kind, reason in REASONS.items():
            users, n = np.unique(batch.users[batch.kinds == kind], return_counts=True)
            for user, count in zip(users.tolist(), n.tolist(), strict=True):
                self._refused(reason, self._clients[user - 1].name if user else "", count)

    def _hold(self, batch: Batch, limited: NDArray[np.bool_]) -> None:
        now = time.monotonic()
        for user in np.unique(batch.users[limited]).tolist():
            mine = np.flatnonzero(limited & (batch.users == user))
            allowed = len(mine)
            if user in self._frames:
                allowed = min(allowed, self._frames[user].take(np.ones(len(mine)), now))
            if user in self._bytes:
                allowed = min(allowed, self._bytes[user].take(batch.lengths[mine].astype(np.float64), now))
            batch.kinds[mine[allowed:]] = FAST


def _devices(batch: Batch) -> tuple[NDArray[np.uint64], NDArray[np.bool_]]:
    """The device each message claims to be of, and whether it claims one at all (what does not is refused by the decoder)."""
    device, known = np.zeros(len(batch), np.uint64), np.zeros(len(batch), bool)
    frames = np.flatnonzero((batch.kinds == FRAME) & (batch.lengths >= DEVICE_AT + 4))
    if len(frames):
        at = batch.offsets[frames] + DEVICE_AT
        raw = batch.buf[at[:, None] + np.arange(4)]
        device[frames], known[frames] = np.ascontiguousarray(raw).view("<u4")[:, 0], True
    for k in np.flatnonzero(batch.kinds == GATEWAY).tolist():
        claimed = _claimed(batch.payload(k))
        if claimed is not None:
            device[k], known[k] = claimed, True
    return device, known


def _claimed(payload: bytes) -> int | None:
    """The device of a gateway's map; None where it names none that could be one."""
    try:
        said: Any = msgspec.msgpack.decode(payload)
    except (msgspec.MsgspecError, ValueError, RecursionError):
        return None
    device = said.get("device") if isinstance(said, dict) else None
    return device if isinstance(device, int) and not isinstance(device, bool) and 0 <= device < 2**32 else None
