"""Reads events from a file, and fields of events whatever type they have.

An event may come from a run that was killed in the middle of a line, and its
fields may hold text of guests: nothing here raises because of content.
"""

from __future__ import annotations

import json
import math
from collections.abc import Iterator, Mapping
from datetime import datetime
from pathlib import Path

from orchestrator.events import Event
from orchestrator.text import clean

LINE_LIMIT = 1 << 20  # bytes of one line of events.jsonl
WORD, SENTENCE, TEXT = 200, 2_000, 20_000  # characters of a name, an answer, an error
ENTRIES = 5_000  # of one list


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


def text(data: Mapping[str, object], key: str, limit: int = WORD, *, multiline: bool = False) -> str:
    """A field as clean text; numbers become text, everything else ``""``."""
    value = data.get(key)
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return ""
    try:
        return clean(str(value), limit, multiline=multiline)
    except ValueError:  # an integer of too many digits
        return ""


def number(data: Mapping[str, object], key: str) -> float | None:
    """A field as a finite float, None when it is no such number."""
    value = data.get(key)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        result = float(value)
    except OverflowError:
        return None
    return result if math.isfinite(result) and abs(result) < 1e12 else None


def whole(data: Mapping[str, object], key: str) -> int | None:
    value = number(data, key)
    return None if value is None else int(value)


def about(subject: str, words: str) -> str:
    """``words`` with the subject they are about in front, unless they name it."""
    return words if not subject or subject in words else f"{subject}: {words}" if words else subject


def entries(data: Mapping[str, object], key: str) -> list[object]:
    """A field as a list; a single text becomes a list of one."""
    value = data.get(key)
    if isinstance(value, list | tuple):
        return list(value[:ENTRIES])
    return [value] if isinstance(value, str) and value else []


def tables(data: Mapping[str, object], key: str) -> list[Mapping[str, object]]:
    return [entry for entry in entries(data, key) if isinstance(entry, Mapping)]
