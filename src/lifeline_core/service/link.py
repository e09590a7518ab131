"""A device's connection to the ingest socket: what may be sent now, what was said, and whether the connection was lost.

libzmq connects again by itself and says nothing of it to who sends; what was under way is gone. A monitor of the socket
tells, so that a device sends again at once what nobody has acknowledged, before anything newer.

* From the end of a connection to the handshake of the next nothing is sent: libzmq takes messages for the dead one a little
  longer and forgets them, and what goes over the next would stand before them.
* After a breach of the protocol (a byte that changed on the way, under keys above all) libzmq never connects again. Nothing
  more is heard of the monitor then; after `DEAD_S` of that the socket is made anew.
"""

from __future__ import annotations

import struct
import time
from dataclasses import dataclass

import zmq
from zmq.utils import z85

from lifeline_core.service.sockets import end

OPTIONS = {
    zmq.LINGER: 0,
    zmq.IMMEDIATE: 1,  # nothing is queued for a connection that does not stand
    zmq.SNDHWM: 1000,
    zmq.RECONNECT_IVL: 100,
    zmq.RECONNECT_IVL_MAX: 800,  # with its scatter below a second, and 10,000 devices do not come in step
    zmq.HANDSHAKE_IVL: 5000,
    zmq.HEARTBEAT_IVL: 5000,
    zmq.HEARTBEAT_TIMEOUT: 15000,
    zmq.MAXMSGSIZE: 1 << 16,  # a reply has some hundred bytes
}
MADE = zmq.EVENT_HANDSHAKE_SUCCEEDED
LOST = zmq.EVENT_DISCONNECTED
FAILED = zmq.EVENT_HANDSHAKE_FAILED_AUTH | zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
TRIES = zmq.EVENT_CONNECTED | zmq.EVENT_CONNECT_DELAYED | zmq.EVENT_CONNECT_RETRIED
DEAD_S = 6.0  # without a connection or a try at one: longer than a handshake may take
_event = struct.Struct("=Hi")


@dataclass(frozen=True, slots=True)
class Keys:
    """CURVE keys in Z85 (40 characters each): the service's public one, and the device's own pair.

    ValueError where one is missing or is no key; it never shows a key.
    """

    server: str
    public: str
    secret: str

    def __post_init__(self) -> None:
        for name in ("server", "public", "secret"):
            key = getattr(self, name)
            try:
                sound = len(key) == 40 and len(z85.decode(key.encode("ascii"))) == 32
            except (ValueError, KeyError, AttributeError, struct.error):
                sound = False
            if not sound:
                raise ValueError(f"the {name} key must be 40 characters of Z85; keys are given all three or not at all")
        if not zmq.has("curve"):
            raise ValueError("this build of libzmq has no CURVE, and keys were given")

    def __repr__(self) -> str:
        return "Keys(...)"


def keys_of(server: str | bytes | None, public: str | bytes | None, secret: str | bytes | None) -> Keys | None:
    """All three, or none; text or bytes."""
    if server is None and public is None and secret is None:
        return None
    return Keys(*(key.decode("ascii", "replace") if isinstance(key, bytes) else key or "" for key in (server, public, secret)))


def _events(socket: zmq.Socket[bytes]) -> int:
    """What can be done with it now: cheaper than to try and to be told that it cannot."""
    return int(socket.getsockopt(zmq.EVENTS))


class Link:
    """One DEALER and its monitor. One thread only.

    Attributes
    ----------
    made, lost, failed : int
        Connections made, lost, and handshakes that failed (wrong keys, or no service at all behind the address).
    """

    def __init__(
        self,
        endpoint: str,
        *,
        identity: bytes | None = None,
        keys: Keys | None = None,
        context: zmq.Context[zmq.Socket[bytes]] | None = None,
    ) -> None:
        self.made = self.lost = self.failed = 0
        self._endpoint, self._identity, self._keys = endpoint, identity, keys
        self._own_context = zmq.Context() if context is None else None
        self._context = context or self._own_context or zmq.Context()
        try:
            self._open()
        except BaseException:
            self.close()
            raise

    def _open(self) -> None:
        """A socket that connects, and its monitor; a connection does not stand before its handshake is done."""
        self._stands, self._broke, self._stirred = False, False, time.monotonic()
        self._socket = self._context.socket(zmq.DEALER)
        for option, value in OPTIONS.items():
            self._socket.setsockopt(option, value)
        if self._identity is not None and self._keys is None:  # under CURVE the key says who it is, and a name could be taken
            self._socket.setsockopt(zmq.IDENTITY, self._identity)
        if self._keys is not None:
            self._socket.curve_serverkey = self._keys.server.encode("ascii")
            self._socket.curve_publickey = self._keys.public.encode("ascii")
            self._socket.curve_secretkey = self._keys.secret.encode("ascii")
        self._monitor = self._socket.get_monitor_socket(MADE | LOST | FAILED | TRIES)
        self._socket.connect(self._endpoint)

    def _look(self) -> None:
        """What the monitor has to tell."""
        while _events(self._monitor) & zmq.POLLIN:
            event, _value = _event.unpack(self._monitor.recv_multipart(zmq.DONTWAIT)[0])
            self.made += event == MADE
            self.lost += event == LOST
            self.failed += bool(event & FAILED)
            self._broke |= event == LOST
            self._stands = event == MADE or (self._stands and not event & (LOST | FAILED))
            self._stirred = time.monotonic()

    def was_lost(self) -> bool:
        """Whether a connection ended since this was asked last: what was sent over it may be gone."""
        self._look()
        broke, self._broke = self._broke, False
        if not self._stands and time.monotonic() - self._stirred > DEAD_S:
            self._open_anew()
        return broke

    def takes(self) -> bool:
        """Whether `send` would take a message now."""
        self._look()
        return self._stands and bool(_events(self._socket) & zmq.POLLOUT)

    def send(self, data: bytes) -> bool:
        """False when there is no connection, or it takes no more now."""
        self._look()
        if not self._stands:
            return False
        try:
            self._socket.send(data, zmq.DONTWAIT)
        except zmq.Again:
            return False
        return True

    def hear(self, wait_s: float) -> list[bytes]:
        """What has been said, or is said within ``wait_s`` seconds; a lost or new connection ends the wait too."""
        heard: list[bytes] = []
        if wait_s > 0 and not _events(self._socket) & zmq.POLLIN:
            zmq.zmq_poll([(self._socket, zmq.POLLIN), (self._monitor, zmq.POLLIN)], int(wait_s * 1000))
        while _events(self._socket) & zmq.POLLIN:
            heard.append(bytes(self._socket.recv_multipart(zmq.DONTWAIT)[-1]))
        return heard

    def renew(self) -> None:
        """Give up a connection that says nothing any more (half open: the other end is gone, no one told us), make another."""
        self._open_anew()
        self.lost += 1

    def _open_anew(self) -> None:
        self._shut()
        self._open()

    def _shut(self) -> None:
        monitor, socket = getattr(self, "_monitor", None), getattr(self, "_socket", None)
        if monitor is not None and not monitor.closed:
            self._socket.disable_monitor()
            monitor.close(0)
        if socket is not None:
            socket.close(0)

    def close(self) -> None:
        self._shut()
        if self._own_context is not None:
            end(self._own_context)
