"""A device's side of the wire: ``from lifeline_core.device import Device``.

A bounded queue in memory or on disk, epoch and seq, credit, resending from the acknowledgement on, back-fill after an
outage. For C there is ``include/llf1.h``; docs/devices.md tells of both.
"""

from __future__ import annotations

from lifeline_core.service.device import Device, Head, Stream, head

__all__ = ["Device", "Head", "Stream", "head"]
