"""The receiving ends, each in a process of its own: the real service, a bare pyzmq loop, the compiled loop alone."""

from __future__ import annotations

import contextlib
import multiprocessing as mp
import os
import signal
import threading
import time
from collections.abc import Callable
from typing import Any

import zmq

from bench.held import in_use
from bench.threads import thread_seconds
from lifeline_core.config import read_city
from lifeline_core.service import Service, serve
from lifeline_core.service.bell import Bell
from lifeline_core.service.receive import open_receiver
from lifeline_core.service.sockets import end


class _Busy(threading.Thread):
    """Another thread that runs Python all the time, and so wants the interpreter's lock as often as it can."""

    def __init__(self) -> None:
        super().__init__(name="busy", daemon=True)
        self.ended = False

    def run(self) -> None:
        total = 0
        while not self.ended:
            for k in range(1000):
                total += k * k


def service_main(pipe: Any, text: str) -> None:
    """`lifeline_core.service.serve` as the command line runs it, and a thread that answers the benchmark."""

    def ready(service: Service) -> None:
        threading.Thread(target=_answer, args=(pipe, service), name="benchmark", daemon=True).start()

    serve(read_city(text), ready=ready)


def _answer(pipe: Any, service: Service) -> None:
    busy: _Busy | None = None
    pipe.send(service.endpoints)
    while (order := _next_order(pipe)) is not None:
        if order == "threads":
            pipe.send(thread_seconds())
        elif order == "memory":
            pipe.send(in_use())
        elif order == "failure":
            pipe.send(service.failure)
        elif order == "busy" and busy is None:
            busy = _Busy()
            busy.start()
        elif order == "calm" and busy is not None:
            busy.ended = True
            busy.join()
            busy = None
    os.kill(os.getpid(), signal.SIGTERM)


def _next_order(pipe: Any) -> Any:
    """None, too, where the benchmark is gone."""
    try:
        return pipe.recv()
    except EOFError:
        return None


def bare_main(pipe: Any, address: str) -> None:
    """The loop everything is held against: it receives, and does nothing else."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.PULL)
    socket.bind(address)
    pipe.send(socket.getsockopt_string(zmq.LAST_ENDPOINT))
    while (n := _next_order(pipe)) is not None:
        if n == "threads":
            pipe.send(thread_seconds())
            continue
        pipe.send("ready")
        for _ in range(n):
            socket.recv_multipart()
        pipe.send(time.monotonic_ns())
    end(context)


def loop_main(pipe: Any, address: str) -> None:
    """The service's compiled receive loop, which throws away what it takes."""
    context: zmq.Context[zmq.Socket[bytes]] = zmq.Context()
    socket = context.socket(zmq.ROUTER)
    socket.bind(address)
    bell = Bell()
    receiver, _ = open_receiver(socket, bell.fileno(), arena_bytes=8 << 20)
    pipe.send(socket.getsockopt_string(zmq.LAST_ENDPOINT))
    while (n := _next_order(pipe)) is not None:
        if n == "threads":
            pipe.send(thread_seconds())
            continue
        pipe.send("ready")
        while n > 0:
            n -= len(receiver.drain(200))
        pipe.send(time.monotonic_ns())
    receiver.close()
    socket.close(0)
    end(context)


class End:
    """A process that runs one of the mains; ``said`` is what it told first, its address or addresses."""

    def __init__(self, main: Callable[..., None], argument: Any) -> None:
        spawn = mp.get_context("spawn")
        self._pipe, end = spawn.Pipe()
        self._process = spawn.Process(target=main, args=(end, argument), daemon=True)
        self._process.start()
        end.close()
        self.said = self.hear()

    def tell(self, order: Any) -> None:
        self._pipe.send(order)

    def hear(self, timeout: float = 120.0) -> Any:
        if not self._pipe.poll(timeout):
            raise TimeoutError(f"the receiving end said nothing for {timeout} s")
        try:
            return self._pipe.recv()
        except EOFError:
            raise RuntimeError("the receiving end is gone; its own error stands above") from None

    def ask(self, order: Any) -> Any:
        self.tell(order)
        return self.hear()

    def close(self) -> None:
        with contextlib.suppress(OSError):
            self._pipe.send(None)
        self._process.join(30)
        if self._process.is_alive():
            self._process.terminate()
