"""What the commands say: alarms as lines, for people on stderr or for programs on stdout."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import msgspec
from rich.console import Console
from rich.markup import escape

from lifeline_core.model import NS, Alarm

# A pipe has no width: tables keep their columns there.
PEOPLE = Console(stderr=True, highlight=False, width=None if sys.stderr.isatty() else 180)
COLOUR = {1: "blue", 2: "yellow", 3: "dark_orange", 4: "bold red"}


def complain(text: str) -> None:
    """An error, for people."""
    PEOPLE.print(f"[bold red]error[/] {escape(text)}", soft_wrap=True)


def note(text: str) -> None:
    PEOPLE.print(escape(text), soft_wrap=True)


def clock(t_ns: int) -> str:
    """A time for people, UTC, to the millisecond.

    >>> clock(1_700_000_000_250_000_000)
    '2023-11-14 22:13:20.250'
    """
    return f"{datetime.fromtimestamp(t_ns // NS, UTC):%Y-%m-%d %H:%M:%S}.{t_ns % NS // 1_000_000:03d}"


def emit(value: Mapping[str, Any]) -> None:
    """One JSON object on a line of stdout."""
    sys.stdout.write(msgspec.json.encode(value).decode() + "\n")
    sys.stdout.flush()


def show(alarm: Alarm, *, json: bool) -> None:
    """One revision of an alarm."""
    if json:
        emit(alarm.to_map())
        return
    style = "green" if alarm.process == "cleared" else COLOUR[alarm.severity]
    PEOPLE.print(
        f"{clock(alarm.onset_ns)}  [{style}]{escape(alarm.text['en'])}[/]  r{alarm.revision} {alarm.handling}", soft_wrap=True
    )
