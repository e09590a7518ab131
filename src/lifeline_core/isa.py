"""The instruction set the kernels run on, and the refusal of one this processor lacks."""

from __future__ import annotations

import os

import lifeline_core._isa as _isa

NAMES: tuple[str, ...] = _isa.NAMES


def check() -> str:
    """The name in use; ValueError where LIFELINE_ISA asks for what there is not."""
    wanted = os.environ.get("LIFELINE_ISA", "")
    had = NAMES[: NAMES.index(_isa.best()) + 1]
    if wanted and wanted not in had:
        raise ValueError(f"LIFELINE_ISA={wanted}: this processor and build have {', '.join(had)}")
    return str(_isa.chosen())
