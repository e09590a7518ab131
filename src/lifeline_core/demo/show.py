"""Run the demo: service, devices, alarms as they come, the score."""

from __future__ import annotations

import contextlib
import multiprocessing as mp
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from lifeline_core.cli.lines import PEOPLE, emit, note, show
from lifeline_core.demo import devices, plan
from lifeline_core.demo.score import Score, table
from lifeline_core.model import NS, Alarm, Service
from lifeline_core.service.feed import FeedClient

BIN_NS = 600 * NS
TAIL_S = 3.0  # for what is decided by the last samples


def run(*, seconds: float, seed: int, json: bool, keep: Path | None) -> int:
    """The whole demo; 0 when every planted event was found and nothing else was raised."""
    if seconds < 20:
        raise ValueError(f"--seconds: the city needs at least 20, got {seconds:g}")
    with contextlib.ExitStack() as stack:
        folder = keep or Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="lifeline-demo-")))
        folder.mkdir(parents=True, exist_ok=True)
        if any(folder.iterdir()):
            raise ValueError(f"--keep: the directory must be empty, {folder} is not")
        config, sockets = _write_city(folder)
        sites = len({d.site for d in plan.DEVICES})
        note(f"a small city: {len(plan.DEVICES) + 1} devices at {sites} sites; half an hour of it in {seconds:.0f} s")
        t0_ns = time.time_ns() // BIN_NS * BIN_NS - 3 * BIN_NS
        players = stack.enter_context(Players(sockets["ingest"], t0_ns, seed, seconds))
        service = stack.enter_context(_service(config))
        feed = stack.enter_context(FeedClient(sockets["feed"]))
        _wait_for(feed, service)
        begun = players.start()
        note("service and devices are ready: the city lives")
        alarms = _watch(feed, begun + seconds + TAIL_S, json=json, service=service)
        reports = players.reports()
        elapsed = time.time() - begun
        score = Score(alarms, t0_ns, reports, feed.stats(), elapsed)
    for row in score.rows() if json else ():
        emit({"score": row})
    PEOPLE.print(table(score))
    return 0 if score.good else 1


def _free(endpoint: str) -> str:
    """The default address, or one with a free port where somebody else has it."""
    host, port = endpoint.removeprefix("tcp://").rsplit(":", 1)
    prefix = "tcp://" if endpoint.startswith("tcp://") else ""
    for candidate in (int(port), 0):
        with socket.socket() as trial:
            trial.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            with contextlib.suppress(OSError):
                trial.bind((host, candidate))
                return f"{prefix}{host}:{trial.getsockname()[1]}"
    raise OSError(f"no free port on {host}")


def _write_city(folder: Path) -> tuple[Path, dict[str, str]]:
    defaults = Service()
    sockets = {key: _free(getattr(defaults, key)) for key in ("ingest", "alarms", "feed", "metrics")}
    (folder / "network.inp").write_text(plan.network().inp(), encoding="utf-8")
    config = folder / "city.toml"
    config.write_text(plan.configuration(str(folder / "data"), sockets), encoding="utf-8")
    return config, sockets


@contextlib.contextmanager
def _service(config: Path) -> Iterator[subprocess.Popen[bytes]]:
    """`lifeline-core serve` as anybody would run it; its log goes beside the configuration."""
    with (config.parent / "service.log").open("wb") as log:
        process = subprocess.Popen(
            [sys.executable, "-m", "lifeline_core", "serve", "--config", str(config)], stderr=log, stdout=log
        )
        try:
            yield process
        finally:
            process.terminate()
            try:
                process.wait(20)
            except subprocess.TimeoutExpired:
                process.kill()
                process.wait()


def _wait_for(feed: FeedClient, service: subprocess.Popen[bytes], patience_s: float = 60.0) -> None:
    until = time.monotonic() + patience_s
    while time.monotonic() < until:
        if service.poll() is not None:
            raise OSError(f"the service ended at its start with status {service.returncode}; see service.log (--keep DIR)")
        with contextlib.suppress(TimeoutError):
            feed.stats()
            return
    raise TimeoutError(f"the service did not answer within {patience_s:.0f} s")


class Players:
    """The device processes: made ready, started together, asked for what they sent."""

    def __init__(self, ingest: str, t0_ns: int, seed: int, seconds: float) -> None:
        spawn = mp.get_context("spawn")
        self._ready, self._start, self._sent = spawn.Semaphore(0), spawn.Value("d", 0.0), spawn.Queue()
        sites = sorted({d.site for d in plan.DEVICES})
        shared = (self._ready, self._start, seconds, self._sent)
        self._processes = [
            spawn.Process(target=devices.play_site, args=(s, ingest, t0_ns, seed, *shared), daemon=True) for s in sites
        ]
        self._processes.append(spawn.Process(target=devices.play_garbage, args=(ingest, seed, *shared), daemon=True))

    def start(self) -> float:
        """All at once; the wall time of it."""
        self._start.value = time.time() + 0.2
        return float(self._start.value)

    def __enter__(self) -> Players:
        for process in self._processes:
            process.start()
        with PEOPLE.status("devices are being built"):
            for _ in self._processes:
                if not self._ready.acquire(timeout=120):
                    raise TimeoutError("a device process did not become ready within 120 s")
        return self

    def __exit__(self, *exc: object) -> None:
        for process in self._processes:
            process.terminate()
            process.join(5)

    def reports(self) -> list[tuple[str, int, bool, list[tuple[int, int, int]]]]:
        return [self._sent.get(timeout=30) for _ in self._processes]


def _watch(feed: FeedClient, until: float, *, json: bool, service: subprocess.Popen[bytes]) -> list[Alarm]:
    """Read the feed as a platform would until the time is over."""
    alarms: list[Alarm] = []
    while (left := until - time.time()) > 0:
        if service.poll() is not None:
            raise OSError(f"the service ended with status {service.returncode}; see service.log (--keep DIR)")
        found, cursor = feed.read("demo", wait_ms=int(min(left, 0.5) * 1000) + 1)
        for alarm in found:
            alarms.append(alarm)
            show(alarm, json=json)
        if found:
            feed.ack("demo", cursor)
    return alarms
