"""``lifeline-core demo``: a small city for a minute, and the score."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer


def demo(
    seconds: Annotated[float, typer.Option(help="About how long the city lives, in seconds of yours.")] = 45.0,
    seed: Annotated[int, typer.Option(help="Of the city's noise.")] = 1,
    json: Annotated[bool, typer.Option("--json", help="Alarms and the score as JSON lines on stdout.")] = False,
    keep: Annotated[Path | None, typer.Option(help="Keep configuration, journal and captures in this directory.")] = None,
) -> int:
    """Start the real service and a small city of devices around it; show the alarms as they come and score them.

    Exit status 1 when a planted event was missed or a false alarm raised.
    """
    from lifeline_core.demo.show import run

    return run(seconds=seconds, seed=seed, json=json, keep=keep)


def add_to(app: typer.Typer) -> None:
    app.command("demo")(demo)
