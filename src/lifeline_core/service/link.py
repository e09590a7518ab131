"""A device's connection to the ingest socket: what may be sent now, what was said, and whether the connection was lost.

libzmq connects again by itself and says nothing of it to who sends; what was under way is gone. A monitor of the socket
tells, so that a device sends again at once what nobody has acknowledged, before anything newer.
"""

from __future__ import annotations

import struct
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
        self._endpoint = endpoint
        self._own_context = zmq.Context() if context is None else None
        self._socket = (context or self._own_context or zmq.Context()).socket(zmq.DEALER)
        try:
            for option, value in OPTIONS.items():
                self._socket.setsockopt(option, value)
            if identity is not None:
                self._socket.setsockopt(zmq.IDENTITY, identity)
            if keys is not None:
                self._socket.curve_serverkey = keys.server.encode("ascii")
                self._socket.curve_publickey = keys.public.encode("ascii")
                self._socket.curve_secretkey = keys.secret.encode("ascii")
            self._monitor = self._socket.get_monitor_socket(MADE | LOST | FAILED)
            self._socket.connect(endpoint)
        except BaseException:
            self.close()
            raise

    def was_lost(self) -> bool:
        """Whether a connection ended since this was asked last: what was sent over it may be gone."""
        before = self.lost
        while _events(self._monitor) & zmq.POLLIN:
            event, _value = _event.unpack(self._monitor.recv_multipart(zmq.DONTWAIT)[0])
            self.made += event == MADE
            self.lost += event == LOST
            self.failed += bool(event & FAILED)
        return self.lost > before

    def takes(self) -> bool:
        """Whether `send` would take a message now."""
        return bool(_events(self._socket) & zmq.POLLOUT)

    def send(self, data: bytes) -> bool:
        """False when there is no connection, or it takes no more now."""
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
        self._socket.disconnect(self._endpoint)
        self._socket.connect(self._endpoint)
        self.lost += 1

    def close(self) -> None:
        monitor = getattr(self, "_monitor", None)
        if monitor is not None:
            self._socket.disable_monitor()
            monitor.close(0)
        self._socket.close(0)
        if self._own_context is not None:
            end(self._own_context)
