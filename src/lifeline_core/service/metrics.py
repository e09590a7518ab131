"""HTTP for machines that watch the service: ``/metrics`` (Prometheus) and ``/healthz`` (JSON)."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable, Iterable, Iterator, Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from prometheus_client import CollectorRegistry
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_LATEST, generate_latest

from lifeline_core.errors import ConfigError

# What the numbers of `Service.numbers` are, by name. Those with a label are maps: the words of `refused` are a fixed list, and
# consumers are bounded (`store.outbox.CONSUMERS`).
LABELS = {"refused": "reason", "consumer_lag": "consumer", "consumer_lost": "consumer"}
GAUGES = {
    "lag_bytes": "journal bytes not yet through the engine",
    "journal_bytes": "journal bytes held",
    "blocked": "1 while the journal's budget is spent and nothing is read",
    "backlog": "alarms not yet committed",
    "last_seq": "seq of the last alarm committed",
    "captures": "captures kept beside alarms",
    "captures_bytes": "bytes of frames in them",
    "active": "alarms active just now",
    "unhealthy_channels": "channels a health alarm stands for",
    "history_waiting_bytes": "bytes of back-filled frames that wait for their share of the journal",
    "consumer_lag": "alarms a named consumer has not acknowledged",
}
HELP = {
    "frames": "frames through journal and detectors",
    "samples": "samples through the detectors",
    "gaps": "gaps in streams",
    "duplicates": "frames seen before",
    "alarms": "alarm revisions raised",
    "received": "messages from devices",
    "received_bytes": "payload bytes from devices",
    "captures_forgotten": "captures that made room for others",
    "live_stalls": "times a subscriber of the live view fell behind and began to miss alarms",
    "replies_dropped": "replies to devices given up, because too many waited for full connections",
    "requests_forgotten": "feed requests whose answer was given up",
    "readers_turned_away": "readers that could not wait for their alarm, because too many did",
    "dead_letters_failed": "dead letters that the disk refused",
    "dead_letters_dropped": "dead letters beyond those kept of a reason in a second",
    "captures_missed": "alarms that came too fast to get a capture",
    "captures_failed": "times the disk refused a capture",
    "denied_handshake": "connections that were not CURVE or broke off their handshake",
    "denied_key": "connections under a key nobody knows",
    "denied_role": "connections to a socket that is not for the role of their key",
    "removed_range": "samples taken out because no sensor can give them",
    "removed_spike": "samples taken out as spikes",
    "removed_stuck": "samples taken out because the sensor stood still",
    "renumbered": "alarm revisions kept under another number, because theirs was said before a power cut",
    "replies": "replies sent to devices",
    "replies_gone": "replies whose device was gone",
    "history_held": "back-filled frames that had to wait for their share of the journal",
    "refused": "frames and messages refused, by reason",
    "consumer_lost": "alarms that retention removed before a named consumer's cursor reached them",
}


def families(numbers: Mapping[str, Any]) -> Iterator[Metric]:
    for name, value in sorted(numbers.items()):
        kind = GaugeMetricFamily if name in GAUGES else CounterMetricFamily
        said = GAUGES.get(name) or HELP.get(name) or name.replace("_", " ")
        if name in LABELS:
            family = kind(f"lifeline_{name}", said, labels=[LABELS[name]])
            for label, count in sorted(value.items()):
                family.add_metric([label], count)
            yield family
        elif isinstance(value, (int, float)):
            yield kind(f"lifeline_{name}", said, value=float(value))


class _Collector:
    def __init__(self, numbers: Callable[[], Mapping[str, Any]]) -> None:
        self._numbers = numbers

    def collect(self) -> Iterable[Metric]:
        return families(self._numbers())


class MetricsServer:
    """Serves on ``host:port`` in threads of its own until `close`; ConfigError where the address cannot be had.

    ``numbers`` gives counters by name, ``health`` a map with ``live`` and ``ready``: 200 if both, otherwise 503.
    """

    def __init__(
        self, address: str, numbers: Callable[[], Mapping[str, Any]], health: Callable[[], Mapping[str, Any]]
    ) -> None:
        registry = CollectorRegistry(auto_describe=False)
        registry.register(_Collector(numbers))

        class Handler(BaseHTTPRequestHandler):
            timeout = 10
            server_version = "lifeline-core"
            sys_version = ""

            def do_GET(self) -> None:
                path = self.path.split("?")[0]
                if path == "/metrics":
                    self._say(200, CONTENT_TYPE_LATEST, generate_latest(registry))
                elif path == "/healthz":
                    said = health()
                    good = bool(said["live"] and said["ready"])
                    self._say(200 if good else 503, "application/json", json.dumps(dict(said)).encode() + b"\n")
                else:
                    self._say(404, "text/plain", b"there are /metrics and /healthz\n")

            def _say(self, status: int, kind: str, body: bytes) -> None:
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                self.wfile.write(body)

            def log_message(self, format: str, *args: Any) -> None:
                pass

        host, _, port = address.rpartition(":")
        try:
            self._server = ThreadingHTTPServer((host.strip("[]"), int(port)), Handler)
        except (OSError, ValueError, OverflowError) as error:
            raise ConfigError([f"service.metrics: cannot bind {address}: {error}"]) from error
        self._server.daemon_threads = True
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.2,), name="metrics", daemon=True)
        self._thread.start()

    @property
    def address(self) -> str:
        host, port = self._server.server_address[:2]
        return f"{host!s}:{port}"

    def close(self) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join(5)
