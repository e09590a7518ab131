"""Sockets of the service: bound with every bound set, and the address they really have."""

from __future__ import annotations

import contextlib
import ctypes
import os
import threading
from collections.abc import Callable, Mapping, Sequence

import zmq
from zmq.utils.monitor import recv_monitor_message

from lifeline_core.errors import ConfigError

# A half-open connection is noticed by the kernel within 25 s (keepalive; MAXRT where data is on its way), one whose program
# hangs by the heartbeat within a minute. Heartbeats are rare because each moves a timer of libzmq, which at 10,000 connections
# and one in five seconds kept its thread busy (python -m tests.faults crowd). A peer that never shakes hands is cut off, and no
# message is larger than it may be (libzmq's own default is without limit).
COMMON: Mapping[int, int] = {
    zmq.LINGER: 0,
    zmq.HANDSHAKE_IVL: 5_000,
    zmq.HEARTBEAT_IVL: 30_000,
    zmq.HEARTBEAT_TIMEOUT: 30_000,
    zmq.HEARTBEAT_TTL: 90_000,
    zmq.TCP_KEEPALIVE: 1,
    zmq.TCP_KEEPALIVE_IDLE: 10,
    zmq.TCP_KEEPALIVE_INTVL: 5,
    zmq.TCP_KEEPALIVE_CNT: 3,
    zmq.TCP_MAXRT: 25_000,
    zmq.BACKLOG: 4096,
}
ROUTER: Mapping[int, int] = {zmq.ROUTER_MANDATORY: 1, zmq.ROUTER_HANDOVER: 1}


def bind(
    context: zmq.Context[zmq.Socket[bytes]],
    kind: int,
    endpoint: str,
    key: str,
    options: Mapping[int, int],
    prepare: Callable[[zmq.Socket[bytes], str], None] | None = None,
) -> zmq.Socket[bytes]:
    """A bound socket; ConfigError names the key and the reason where the address cannot be had.

    ``prepare`` gets the socket and the key before it is bound.
    """
    if kind == zmq.ROUTER:
        _scatter()
    socket = context.socket(kind)
    if prepare is not None:
        prepare(socket, key)
    for option, value in {**COMMON, **(ROUTER if kind == zmq.ROUTER else {}), **options}.items():
        socket.setsockopt(option, value)
    try:
        socket.bind(endpoint)
    except zmq.ZMQError as error:
        socket.close(0)
        raise ConfigError([f"service.{key}: cannot bind {endpoint}: {error.strerror}"]) from error
    return socket


def _scatter() -> None:
    """Before a ROUTER is made: where its own names for connections begin is then nobody's guess.

    libzmq 4.3.5 counts them from C's rand(), which nobody seeds: the first is 6b8b4567 in every process. A peer made by hand may
    call itself the next one, and the connection that gets it ends the process by an assertion (socket_base.cpp, add_out_pipe).
    """
    with contextlib.suppress(OSError, AttributeError):  # a C library that cannot be reached so
        ctypes.CDLL(None).srand(int.from_bytes(os.urandom(4), "little"))


def address(socket: zmq.Socket[bytes]) -> str:
    """Where a client on this machine reaches the socket, with the port it was given."""
    bound = socket.getsockopt_string(zmq.LAST_ENDPOINT)
    return bound.replace("tcp://0.0.0.0:", "tcp://127.0.0.1:").replace("tcp://[::]:", "tcp://[::1]:")


def end(context: zmq.Context[zmq.Socket[bytes]], seconds: float = 5.0, linger_ms: int = 0) -> bool:
    """Close a context and its sockets; what is not sent within ``linger_ms`` is dropped. False after ``seconds`` in vain.

    libzmq 4.3.5 can wait for ever in zmq_ctx_term though every socket is closed without linger: seen about once in two
    thousand closings of a ROUTER and a DEALER with full pipes (libzmq issue 2586 tells of the same). A program that stops
    must not hang of it; the thread left behind sleeps and ends with the process.
    """
    ending = threading.Thread(target=context.destroy, args=(linger_ms,), name="end of a zmq context", daemon=True)
    ending.start()
    ending.join(seconds)
    return not ending.is_alive()


FAILED = zmq.EVENT_HANDSHAKE_FAILED_NO_DETAIL | zmq.EVENT_HANDSHAKE_FAILED_PROTOCOL
LOOK_MS = 200


class Refusals(threading.Thread):
    """Calls ``refused`` for every connection that did not get through its handshake, but for those a key was seen of.

    Made in the thread that made the sockets.
    """

    def __init__(self, sockets: Sequence[zmq.Socket[bytes]], refused: Callable[[], None]) -> None:
        super().__init__(name="refusals", daemon=True)
        self._refused, self._running = refused, True
        self._monitors = [s.get_monitor_socket(FAILED) for s in sockets]

    def run(self) -> None:
        poller = zmq.Poller()
        for monitor in self._monitors:
            poller.register(monitor, zmq.POLLIN)
        with contextlib.suppress(zmq.ContextTerminated):
            while self._running:
                for monitor, _ in poller.poll(LOOK_MS):
                    if recv_monitor_message(monitor)["event"] & FAILED:
                        self._refused()
        for monitor in self._monitors:
            monitor.close(0)

    def finish(self) -> None:
        self._running = False
        self.join(5.0)
