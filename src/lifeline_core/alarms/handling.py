"""What operators may do with an alarm, and in which order: report, dispatch, handle, resolve, verify, close, evaluate."""

from __future__ import annotations

from lifeline_core.errors import CommandRefused
from lifeline_core.model import ACTIONS

STEPS: dict[tuple[str, str], str] = {
    ("new", "confirm"): "confirmed",
    ("new", "reject"): "rejected",
    ("confirmed", "dispatch"): "dispatched",
    ("dispatched", "handle"): "handled",
    ("handled", "resolve"): "resolved",
    ("resolved", "verify"): "verified",
    ("verified", "close"): "closed",
    ("closed", "evaluate"): "closed",  # an evaluation is written down; the state stays
}


def step(handling: str, action: str) -> str:
    """The state after an action; CommandRefused names what would be possible.

    >>> step("new", "confirm")
    'confirmed'
    """
    if action not in ACTIONS:
        raise CommandRefused("bad-action", f"action is one of {', '.join(ACTIONS)}, not {action!r}")
    if (handling, action) not in STEPS:
        possible = ", ".join(a for h, a in STEPS if h == handling) or "nothing"
        raise CommandRefused("bad-transition", f"{action!r} is not possible from {handling!r}; possible: {possible}")
    return STEPS[handling, action]
