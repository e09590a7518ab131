"""A TCP proxy in a thread, which cuts, delays and goes deaf when it is told to."""

from __future__ import annotations

import selectors
import socket
import threading
import time
from typing import Any


class Proxy:
    """Between a client and a target port of this machine.

    Attributes
    ----------
    port : int
        Where clients connect.
    accepted, bytes : int
        Connections taken, bytes passed on towards the target.
    delay_s : float
        Bytes are passed on so much later, either way.
    refusing : bool
        New connections are closed at once.
    """

    def __init__(self, target: int, *, refusing: bool = False) -> None:
        self.target, self.accepted, self.bytes, self.delay_s, self.refusing = target, 0, 0, 0.0, refusing
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.port = self._listener.getsockname()[1]
        self.endpoint = f"tcp://127.0.0.1:{self.port}"
        self._pairs: dict[socket.socket, socket.socket] = {}
        self._deaf: set[socket.socket] = set()
        self._later: list[tuple[float, socket.socket, bytes]] = []
        self._lock = threading.RLock()
        self._selector = selectors.DefaultSelector()
        self._selector.register(self._listener, selectors.EVENT_READ)
        self._running = True
        self._thread = threading.Thread(target=self._run, name="proxy", daemon=True)
        self._thread.start()

    def cut(self) -> None:
        """Every connection ends; what was under way is gone."""
        with self._lock:
            for end in list(self._pairs):
                self._drop(end)

    def go_deaf(self) -> None:
        """Connections that stand stay open and pass nothing on any more: half open. New ones are sound."""
        with self._lock:
            for end in self._pairs:
                self._deaf.add(end)

    def close(self) -> None:
        self._running = False
        self._thread.join(5)
        self.cut()
        self._listener.close()
        self._selector.close()

    def __enter__(self) -> Proxy:
        return self

    def __exit__(self, *exc: object) -> None:
        self.close()

    def _run(self) -> None:
        while self._running:
            for key, _ in self._selector.select(0.01):
                with self._lock:
                    if key.fileobj is self._listener:
                        self._accept()
                    else:
                        self._pass(key.fileobj)
            with self._lock:
                self._send_due()

    def _accept(self) -> None:
        client, _ = self._listener.accept()
        try:
            if self.refusing:
                raise OSError
            target = socket.create_connection(("127.0.0.1", self.target), 1.0)
        except OSError:
            client.close()
            return
        self.accepted += 1
        for end, other in ((client, target), (target, client)):
            self._pairs[end] = other
            self._selector.register(end, selectors.EVENT_READ)

    def _pass(self, end: Any) -> None:
        if end not in self._pairs:
            return
        try:
            data = end.recv(1 << 16)
        except OSError:
            data = b""
        if not data:
            self._drop(end)
        elif end not in self._deaf:
            self._later.append((time.monotonic() + self.delay_s, self._pairs[end], data))

    def _send_due(self) -> None:
        now = time.monotonic()
        while self._later and self._later[0][0] <= now:
            _, end, data = self._later.pop(0)
            if end not in self._pairs:
                continue
            try:
                end.settimeout(2.0)
                end.sendall(data)
            except OSError:
                self._drop(end)
                continue
            self.bytes += len(data) if self.towards_target(end) else 0

    def towards_target(self, end: socket.socket) -> bool:
        try:
            return bool(end.getpeername()[1] == self.target)
        except OSError:  # it has just ended
            return False

    def _drop(self, end: socket.socket) -> None:
        for one in (end, self._pairs.get(end)):
            if one is not None and one in self._pairs:
                self._selector.unregister(one)
                del self._pairs[one]
                self._deaf.discard(one)
                one.close()
