"""The time of day, and how it is written; limits are measured by `orchestrator.deadline`."""

from __future__ import annotations

import time
from datetime import UTC, datetime


def wall_clock() -> float:
    """Seconds since the epoch."""
    return time.time()


def monotonic_clock() -> float:
    """Seconds of the host's monotonic clock, to the microsecond; only differences mean something."""
    return round(time.monotonic(), 6)


def utc_text(at: float) -> str:
    """``2026-11-23T02:08:24.123Z`` for seconds since the epoch."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
