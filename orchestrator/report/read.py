"""Reads events from a file.

An event may come from a run that was killed in the middle of a line, and its
fields may hold text of guests: nothing here raises because of content.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path

from orchestrator.events import Event
from orchestrator.fields import ENTRIES, SENTENCE, TEXT, WORD, entries, number, tables, text, whole

__all__ = [
    "ENTRIES",
    "SENTENCE",
    "TEXT",
    "WORD",
    "about",
    "entries",
    "load_events",
    "number",
    "parse_event",
    "tables",
    "text",
    "whole",
]

LINE_LIMIT = 1 << 20  # bytes of one line of events.jsonl


def load_events(path: Path) -> Iterator[Event]:
    """The events of a file of JSON lines, read with bounded memory.

    Lines that are no events are left out, a half-written last one silently,
    others with a ``note`` event at the end. A missing file is an empty stream.

    Raises:
        OSError: the file exists and cannot be read.
    """
    if not path.exists():
        return
    unreadable = 0
    last_at = 0.0
    with path.open("rb") as file:
        while line := file.readline(LINE_LIMIT):
            complete = line.endswith(b"\n")
            if not complete and len(line) == LINE_LIMIT:
                while (rest := file.readline(LINE_LIMIT)) and not rest.endswith(b"\n"):
                    pass
                unreadable += 1
                continue
            event = parse_event(line, last_at)
            if event is not None:
                last_at = event.at
                yield event
            elif complete and line.strip():
                unreadable += 1
    if unreadable:
        message = f"{unreadable} lines of {path.name} could not be read"
        yield Event("note", data={"message": message, "level": "warning"}, at=last_at)


def parse_event(line: bytes, default_at: float = 0.0) -> Event | None:
    """One line of ``events.jsonl``; None when it is no event.

    ``default_at`` stands in for a time that cannot be read.
    """
    try:
        data = json.loads(line)
    except (ValueError, RecursionError):
        return None
    if not isinstance(data, dict):
        return None
    at, kind, subject = data.pop("time", None), data.pop("kind", None), data.pop("subject", "")
    if not isinstance(kind, str):
        return None
    try:
        seconds = datetime.fromisoformat(at).timestamp() if isinstance(at, str) else default_at
    except (ValueError, OverflowError):
        seconds = default_at
    return Event(kind, subject if isinstance(subject, str) else "", data, at=seconds)


def about(subject: str, words: str) -> str:
    """``words`` with the subject they are about in front, unless they name it."""
    return words if not subject or subject in words else f"{subject}: {words}" if words else subject
