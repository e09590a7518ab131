"""Which instruction set runs, and the refusal of one that is not there."""

from __future__ import annotations

import os
import subprocess
import sys

import pytest

from lifeline_core import _isa, isa


def run(wanted: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", "import lifeline_core; lifeline_core.show_config()"],
        capture_output=True,
        text=True,
        env={**os.environ, "LIFELINE_ISA": wanted},
        check=False,
    )


@pytest.mark.parametrize("name", isa.NAMES)
def test_forced(name: str) -> None:
    done = run(name)
    if isa.NAMES.index(name) <= isa.NAMES.index(_isa.best()):
        assert f"instruction set {name} " in done.stdout
    else:
        assert f"LIFELINE_ISA={name}: this processor and build have" in done.stderr


def test_unknown_is_refused() -> None:
    done = run("sse9")
    assert done.returncode
    assert "ValueError: LIFELINE_ISA=sse9: this processor and build have baseline" in done.stderr
