"""One stream of events; the terminal, ``events.jsonl``, JUnit and the HTML report read it.

Each kind of event is a frozen dataclass with `event_kind`, in one of the
modules here; docs/events.md is made from them (`orchestrator.events.reference`).
This module itself is light: the kinds are imported from where they are defined.
"""

from __future__ import annotations

from orchestrator.events.base import Event, event_kind
from orchestrator.events.bus import EventBus, JsonLinesLog, Subscriber
from orchestrator.events.clock import utc_text, wall_clock

__all__ = ["Event", "EventBus", "JsonLinesLog", "Subscriber", "event_kind", "utc_text", "wall_clock"]
