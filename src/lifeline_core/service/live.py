"""The live view's socket: a subscriber that does not keep up misses alarms, and how often one fell behind is counted."""

from __future__ import annotations

import zmq


class Live:
    """One PUB socket, for the desk's thread; ``stalls`` may be read by any.

    libzmq lets a PUB drop in silence. Told to refuse instead (ZMQ_XPUB_NODROP) it says when somebody's queue has just become
    full; then the alarm is sent once more in the silent way, so that all the others get it. What the slow one misses from
    there until its queue has room again is not told: the ``seq`` of its alarms does.
    """

    def __init__(self, socket: zmq.Socket[bytes]) -> None:
        self._socket = socket
        self.stalls = 0  # times a subscriber fell behind
        socket.setsockopt(zmq.XPUB_NODROP, 1)

    def send(self, topic: bytes, body: bytes) -> None:
        try:
            self._socket.send_multipart([topic, body], zmq.DONTWAIT)
        except zmq.Again:
            self.stalls += 1
            self._socket.setsockopt(zmq.XPUB_NODROP, 0)
            self._socket.send_multipart([topic, body], zmq.DONTWAIT)
            self._socket.setsockopt(zmq.XPUB_NODROP, 1)

    def close(self, linger_ms: int) -> None:
        self._socket.close(linger_ms)
