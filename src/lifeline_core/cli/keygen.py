"""``lifeline-core keygen``: a pair of CURVE keys, and the lines of the configuration that let their owner in."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from lifeline_core.cli.lines import note
from lifeline_core.fields import NAME
from lifeline_core.keys import KEYS
from lifeline_core.model import ROLES


def keygen(
    name: Annotated[str, typer.Argument(help="Whose keys: [a-z0-9-]+, for instance service, logger-17 or platform-a.")],
    folder: Annotated[Path, typer.Option("--dir", help="Where to write NAME.key and NAME.key_secret.")] = Path("keys"),
    role: Annotated[str, typer.Option("--role", help=f"service, {', '.join(ROLES)}: which lines are printed.")] = "device",
    device: Annotated[list[int] | None, typer.Option("--device", help="Number of a device it speaks for; may be repeated.")] = None,
) -> int:
    """Make a pair of CURVE keys. The lines for the configuration go to stdout; the secret stays in its file (mode 0600).

        lifeline-core keygen service --role service
        lifeline-core keygen logger-17 --device 17 >> city.toml
        lifeline-core keygen platform-a --role operator >> city.toml
    """
    from lifeline_core.service.certificates import make_keys, read_public

    if not NAME.fullmatch(name):
        raise ValueError(f"a name is of [a-z0-9-]+, is {name!r}")
    if role not in ("service", *ROLES):
        raise ValueError(f"a role is service or {KEYS['client']['role'].rule.removeprefix('must be ')}, is {role!r}")
    if role == "device" and not device:
        raise ValueError("a device's keys speak for devices: give their numbers (--device 17)")
    public, secret = make_keys(folder, name)
    note(f"{public} may be handed out, {secret} never leaves its machine")
    if role == "service":
        print(f'[security]\nmode = "curve"\nkey_file = "{secret.as_posix()}"')
        return 0
    print(f'[client.{name}]\nkey = "{read_public(str(public)).decode()}"\nrole = "{role}"')
    if role == "device":
        print(f"devices = {sorted(device or ())}")
    return 0


def add_to(app: typer.Typer) -> None:
    app.command("keygen")(keygen)
