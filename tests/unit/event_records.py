"""Events as they are read from a file, with any fields at all."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import TypeVar

from orchestrator.events import Event
from orchestrator.events.read import event_of
from orchestrator.events.run import Note

Kind = TypeVar("Kind", bound=Event)


def recorded(kind: str, subject: str = "", data: Mapping[str, object] | None = None, at: float = 0.0) -> Event:
    """The event that a line with these fields is read as; ``at``: seconds since the epoch."""
    event = event_of({**(data or {}), "kind": kind, "subject": subject}, default_time=at)
    assert event is not None
    return event


def of(events: Iterable[Event], kind: type[Kind]) -> list[Kind]:
    """Those of a kind."""
    return [event for event in events if isinstance(event, kind)]


def notes(events: Iterable[Event], level: str = "") -> list[str]:
    """Messages of the notes, of one level or of all."""
    return [event.message for event in of(events, Note) if not level or event.level == level]
