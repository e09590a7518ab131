"""Commands around a running service: serve, record, send, alarms."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import msgspec
import numpy as np
import typer

from lifeline_core import wire
from lifeline_core.cli.arrays import (
    Channels,
    Columns,
    DayFirst,
    Event,
    Factor,
    Files,
    Key,
    Rate,
    Source,
    Start,
    exact_rate,
    timeline,
)
from lifeline_core.cli.lines import PEOPLE, note, show
from lifeline_core.config import load_city
from lifeline_core.model import City, Service

DEFAULTS = Service()
Json = Annotated[bool, typer.Option("--json", help="One JSON object per line on stdout.")]
ServerKey = Annotated[str | None, typer.Option("--server-key", help="The service's public key (CURVE), or its file NAME.key.")]
KeyFile = Annotated[Path | None, typer.Option("--key-file", help="One's own NAME.key_secret, made by keygen.")]
Endpoint = Annotated[str, typer.Option("--to", help="Ingest address of the service.")]


def serve(
    config: Annotated[Path, typer.Option("--config", "--city", help="Configuration (TOML).")],
    receiver: Annotated[str, typer.Option(help="auto, compiled or plain (pyzmq) receive loop.")] = "auto",
) -> int:
    """Run the service until SIGTERM or SIGINT: frames in, alarms out, nothing lost over a restart. SIGHUP reads the
    configuration again; what did not change keeps its state."""
    from lifeline_core.service.process import serve as run
    from lifeline_core.service.service import Service as Running

    city = load_city(config)

    def ready(service: Running) -> None:
        for name, address in service.endpoints.items():
            note(f"{name:8} {address}")
        note(f"data     {city.service.data_dir}")

    return run(city, receiver=receiver, ready=ready, config=config)


def record(
    out: Annotated[Path, typer.Argument(help="Capture to write (.llf); an existing one is added to.")],
    bind: Annotated[str, typer.Option("--bind", help="Address devices connect to.")] = DEFAULTS.ingest,
    seconds: Annotated[float | None, typer.Option("--seconds", help="Stop after this long; by default at Ctrl-C.")] = None,
) -> int:
    """Take frames at the ingest address in the service's place, acknowledge them and keep them in a capture.

    Only sound frames are kept; rubbish is counted. Frames are acknowledged once they are with the operating system.
    """
    from lifeline_core.service.recorder import Recorder

    with Recorder(bind, out) as recorder:
        note(f"recording at {recorder.address} to {out}; Ctrl-C ends it")
        until = None if seconds is None else time.monotonic() + seconds
        try:
            while until is None or time.monotonic() < until:
                recorder.step(100)
        except KeyboardInterrupt:
            pass
        note(f"{recorder.frames} frames, {recorder.bytes} bytes, {recorder.refused} refused")
    return 0


def send(
    files: Files,
    city: Annotated[Path | None, typer.Option("--city", help="Configuration; arrays need it for device, scale and rate.")] = None,
    to: Endpoint = DEFAULTS.ingest,
    speed: Annotated[float, typer.Option("--speed", help="Times life; 0: as fast as the service takes it.")] = 1.0,
    now: Annotated[bool, typer.Option("--now", help="Shift arrays so that they begin now.")] = False,
    channel: Channels = None,
    column: Columns = None,
    rate: Rate = None,
    factor: Factor = 1.0,
    t0: Start = None,
    key: Key = None,
    day_first: DayFirst = False,
) -> int:
    """Play captures or arrays to a service as devices would: credit, acknowledgements, resending, pacing."""
    from lifeline_core.service.device import Device

    loaded = load_city(city) if city else City(sites={}, channels={}, watches={})
    source = Source(files, channel or (), column or (), rate, factor, str(time.time_ns()) if now else t0, key, day_first)
    sent, begun, first = 0, time.monotonic(), None
    packer = Packer()
    with Device(to) as device, PEOPLE.status("sending") as status:
        for event in timeline(loaded, source):
            first = event.t_ns if first is None else first
            while speed > 0 and (wait := (event.t_ns - first) / 1e9 / speed - (time.monotonic() - begun)) > 0:
                device.pump(min(wait, 0.2))
            device.send_frame(packer.frame(event))
            sent += 1
            status.update(f"sent {sent} frames, {device.unacked} not yet acknowledged")
        good = device.drain(60.0)
        note(f"{sent} frames sent, {device.acked} acknowledged, {device.refused} refused {device.reasons or ''}")
    return 0 if good and not device.refused else 1


class Packer:
    """Pieces of arrays as frames, each channel a stream of its own."""

    def __init__(self) -> None:
        self.epoch = int(time.time()) & 0xFFFF_FFFF
        self._next: dict[str, tuple[int, int]] = {}

    def frame(self, event: Event) -> bytes:
        if event.frame is not None:
            return event.frame
        c = event.channel
        assert c is not None and event.x is not None
        seq, index = self._next.get(c.name, (0, 0))
        counts = (np.asarray(event.x, np.float64)[None, :] - c.offset) / c.scale
        self._next[c.name] = (seq + 1, index + counts.shape[1])
        where: dict[str, Any] = {"device": c.device, "channel": c.channel, "epoch": self.epoch, "seq": seq, "sample_index": index}
        if c.rate_hz is None:
            return wire.pack(counts, t_ns=np.asarray(event.t0_ns, np.int64)[None, :], **where)
        return wire.pack(counts, t0_ns=int(event.t0_ns), rate=exact_rate(c), **where)


def alarms(
    feed: Annotated[str, typer.Option("--from", help="Feed address of the service.")] = DEFAULTS.feed,
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Go on as alarms come.")] = False,
    after: Annotated[int, typer.Option("--after", help="Begin behind this number.")] = 0,
    consumer: Annotated[
        str | None, typer.Option("--consumer", help="Read and acknowledge under this name's durable cursor.")
    ] = None,
    newest: Annotated[bool, typer.Option("--newest", help="Only the newest revision of each alarm.")] = False,
    server_key: ServerKey = None,
    key_file: KeyFile = None,
    json: Json = False,
) -> int:
    """List the alarms of a running service, or follow them. Without --consumer nothing is acknowledged."""
    from lifeline_core.service.feed import FeedClient

    cursor, latest, told = after, {}, False
    with FeedClient(feed, server_key=server_key, key_file=key_file) as client:
        while True:
            if consumer:
                found, at = client.read(consumer, wait_ms=1000 if follow else 0)
            else:
                found, at = client.read(after=cursor, wait_ms=1000 if follow else 0)
            for alarm in found:
                if newest and not follow:
                    latest[alarm.alarm_id] = alarm
                else:
                    show(alarm, json=json)
            if not client.whole and not told:
                told = True
                note(f"alarms from before were removed by retention: {client.lost}" if client.lost else
                     "some alarms from before were removed by retention")
            if consumer and found:
                client.ack(consumer, at)
            cursor = at
            if not found and not follow:
                break
    for alarm in latest.values():
        show(alarm, json=json)
    return 0


def evidence(
    alarm_id: Annotated[str, typer.Argument(help="Of the alarm, as `alarms` prints it.")],
    out: Annotated[Path | None, typer.Option("--out", "-o", help="Capture to write; by default ALARM_ID.llf.")] = None,
    feed: Annotated[str, typer.Option("--from", help="Feed address of the service.")] = DEFAULTS.feed,
    server_key: ServerKey = None,
    key_file: KeyFile = None,
) -> int:
    """Fetch the frames kept beside an alarm: from a minute before its onset until its clear. `replay` takes the file.

    What the engine had learned before the alarm comes as a second file, .state, where it is kept: `replay` begins with it.

        lifeline-core evidence 5f0c... -o event.llf
        lifeline-core replay event.llf --city city.toml
    """
    from lifeline_core.service.feed import FeedClient

    path = out or Path(f"{alarm_id}.llf")
    with FeedClient(feed, server_key=server_key, key_file=key_file) as client:
        found = client.ask({"op": "evidence", "alarm_id": alarm_id, "state": True})
    path.write_bytes(found["capture"])
    beside = path.with_suffix(".state")
    beside.unlink(missing_ok=True)
    if found.get("replayable"):
        said = {"bytes": len(found["capture"]), "before": found["before"], "state": found["state"]}
        beside.write_bytes(msgspec.msgpack.encode(said))
    what = "" if found["whole"] else "; not whole: a bound or the journal's budget cut it short"
    seconds = (found["to_ns"] - found["from_ns"]) / 1e9
    note(f"{path}: {found['frames']} frames, {len(found['capture'])} bytes, {seconds:.0f} s{what}")
    if not found.get("replayable"):
        note(f"a replay begins with nothing learned: {found.get('why', 'the service keeps no state')}")
    return 0


def add_to(app: typer.Typer) -> None:
    app.command("serve")(serve)
    app.command("record")(record)
    app.command("send")(send)
    app.command("alarms")(alarms)
    app.command("evidence")(evidence)
