"""The only part that knows sockets, threads and the clock: the service, and clients for its three sockets.

Names are loaded when they are asked for, so that a device's process does not load the engine.
"""

from __future__ import annotations

from importlib import import_module
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from lifeline_core.service.device import Device
    from lifeline_core.service.feed import FeedClient, FeedRefused, LiveView
    from lifeline_core.service.process import serve
    from lifeline_core.service.service import Service

__all__ = ["Device", "FeedClient", "FeedRefused", "LiveView", "Service", "serve"]

_HOMES = {
    "Device": "device",
    "FeedClient": "feed",
    "FeedRefused": "feed",
    "LiveView": "feed",
    "Service": "service",
    "serve": "process",
}


def __getattr__(name: str) -> Any:
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(f"{__name__}.{_HOMES[name]}"), name)
