"""The figures of bench_path as tables for people."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, TextIO

from rich.console import Console
from rich.table import Table


def _table(title: str, *columns: str) -> Table:
    table = Table(title=title, title_justify="left")
    for i, column in enumerate(columns):
        table.add_column(column, justify="left" if i == 0 else "right")
    return table


def _path(p: Mapping[str, Any]) -> Table:
    title = f"Socket to alarm, {p['rounds']} turns of {p['frames']:,} frames (medians)"
    table = _table(title, "", "frames/s", "samples/s", "us/frame")
    for name, label in (("service", "service: journal, detectors, alarm out"), ("bare", "bare pyzmq loop: recv_multipart() only")):
        rate = p[f"{name}_frames_per_s"]
        table.add_row(label, f"{rate:,.0f}", f"{p[f'{name}_samples_per_s'] / 1e6:,.1f} M", f"{1e6 / rate:.2f}")
    least, most = min(p["ratios"]), max(p["ratios"])
    table.add_row("ratio, median of the turns", f"{p['ratio']:.3f}", f"{least:.3f} to {most:.3f}", "")
    table.add_row("the sender waited for credit, times a turn", f"{p['credit_waits_per_turn']:,.0f}", "", "")
    return table


def _parts(found: Mapping[str, Any]) -> Table:
    table = _table("Parts by themselves", "part", "us/frame")
    for size, us in found["engine"]["us_per_frame"].items():
        table.add_row(f"Engine.push_batch, {size} frames a batch", f"{us:.2f}")
    e = found["engine"]
    most = max(e["call_us_per_frame"])
    table.add_row("  fitted: each further frame", f"{e['us_per_further_frame']:.2f}")
    table.add_row(f"  fitted: the call's own share, {most} frames a batch", f"{e['call_us_per_frame'][most]:.2f}")
    table.add_row(f"  fitted: a call with frames of all devices, {e['us_per_call']:,.0f} us", "")
    for name, us in found["detectors"].items():
        table.add_row(f"  engine, {name}", f"{us:.2f}")
    table.add_row("compiled receive loop, over the socket", f"{found['receive_us_per_frame']:.2f}")
    table.add_row("journal, append 1024 at a time", f"{found['journal']['append_us']:.2f}")
    table.add_row("journal, read", f"{found['journal']['read_us']:.3f}")
    return table


def _latency(rows: list[Mapping[str, Any]]) -> Table:
    columns = ("", "frames/s", "blows/s", "alarms", "p50 ms", "p99 ms", "max ms", "sync p50", "p99 ms")
    table = _table("Latency, frame sent to alarm received; beside it a bare fdatasync", *columns)
    for row in rows:
        label = "beside a busy thread" if row["busy"] else "alone"
        numbers = [f"{row[key]:.1f}" for key in ("p50_ms", "p99_ms", "max_ms", "disk_p50_ms", "disk_p99_ms")]
        table.add_row(label, f"{row['frames_per_s']:,.0f}", f"{row['blows_per_s']:.0f}", str(row["alarms"]), *numbers)
    return table


def show(found: Mapping[str, Any], to: TextIO) -> None:
    """Print what there is of it."""
    console = Console(file=to, width=100)
    if "bridge" in found:
        b = found["bridge"]
        console.print(
            f"{b['devices']} devices, 4 channels, 1 s at 200 Hz, {b['encoding']} ({b['frame_bytes']} bytes a frame), "
            f"{b['connections']} connections, {b['transport']}; each watched by {', '.join(b['detectors'])}"
        )
        console.print(f"{found['cores']} cores; the load was {found['load']:.1f} before the beginning, 0 is quiet")
    console.print(_path(found["path"]))
    if found.get("latency"):
        console.print(_latency(found["latency"]))
    if "engine" in found:
        console.print(_parts(found))
