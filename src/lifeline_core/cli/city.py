"""Commands about a configuration: check it, print the example."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from lifeline_core.cli.lines import PEOPLE, emit, note
from lifeline_core.config import check_city, example_config, load_city


def check(
    city: Annotated[Path, typer.Argument(help="Configuration to check (TOML).")],
    json: Annotated[bool, typer.Option("--json", help="One JSON object per finding on stdout.")] = False,
) -> int:
    """Say everything that is wrong with a configuration at once, each with its path; exit status 2 then."""
    found = check_city(city)
    for level, texts in (("fault", found.faults), ("warning", found.warnings)):
        for text in texts:
            if json:
                emit({"level": level, "text": text})
            else:
                PEOPLE.print(f"[{'red' if level == 'fault' else 'yellow'}]{level}[/] ", end="")
                note(text)
    if found.faults:
        note(f"{len(found.faults)} faults, {len(found.warnings)} warnings in {city}")
        return 2
    loaded = load_city(city)
    note(f"{city} is good: {len(loaded.sites)} sites, {len(loaded.channels)} channels, {len(loaded.watches)} watches")
    return 0


def example() -> None:
    """Print a commented configuration with every section, key, default and profile; it is valid as it stands."""
    sys.stdout.write(example_config())


def add_to(app: typer.Typer) -> None:
    app.command("check")(check)
    app.command("example-config")(example)
