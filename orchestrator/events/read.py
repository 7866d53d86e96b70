"""Reads events from a file, whoever wrote it.

The file may come from a run that was killed in the middle of a line, from an
older or newer version, or hold anything at all: nothing here raises because of
content. A kind or a word that this version does not know is kept, a field that
it does not know is left out, and one of a wrong type is as if it were absent.
"""

from __future__ import annotations

import json
import types
import typing
from collections.abc import Callable, Iterator, Mapping
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from datetime import datetime
from enum import StrEnum
from pathlib import Path
from typing import Any, ClassVar, Literal

from orchestrator.events import dev, faults, fleet, machines, run, services, suite
from orchestrator.events.base import ENVELOPE, FORMAT, KINDS, Event
from orchestrator.fields import ENTRIES, as_number, as_text, as_whole

__all__ = [
    "UnknownEvent",
    "dev",
    "event_of",
    "faults",
    "fleet",
    "load_events",
    "machines",
    "parse_event",
    "run",
    "services",
    "suite",
]

LINE_LIMIT = 1 << 20  # bytes of one line of events.jsonl

# What older versions called it: kind → kind of today, field → field of today.
RENAMED: Mapping[str, tuple[str, Mapping[str, str]]] = {
    "machine.sign": ("log.match", {"sign": "pattern", "weight": "severity", "accepted": "waiver"}),
    "world.state": ("isolation.state", {}),
    "check.answer": ("check.result", {"answer": "message"}),
    "unit.name": ("unit.alias", {"real": "id"}),
    "host.accelerator": ("host.accelerator", {"factor": "time_scale"}),
    "image.state": ("image.state", {"why": "detail"}),
    "wait.heartbeat": ("wait.heartbeat", {"limit": "timeout", "last": "detail"}),
    "test.planned": ("test.planned", {"elsewhere": "other_shard"}),
    "note": ("note", {"left_folder": "run_folder"}),
}


@dataclass(frozen=True, slots=True)
class UnknownEvent(Event):
    """An event of a kind that this version does not know.

    Attributes:
        name: the kind.
        record: its fields as they were.
    """

    kind: ClassVar[str] = "unknown"

    name: str = field(default="", kw_only=True)
    record: Mapping[str, object] = field(default_factory=dict, kw_only=True)


def load_events(path: Path) -> Iterator[Event]:
    """The events of a file of JSON lines, read with bounded memory.

    Lines that are no events are left out, a half-written last one silently,
    others with a `Note` at the end. A missing file is an empty stream.

    Raises:
        OSError: the file exists and cannot be read.
    """
    if not path.exists():
        return
    unreadable = newest = 0
    last_time = 0.0
    with path.open("rb") as file:
        while line := file.readline(LINE_LIMIT):
            complete = line.endswith(b"\n")
            if not complete and len(line) == LINE_LIMIT:
                while (rest := file.readline(LINE_LIMIT)) and not rest.endswith(b"\n"):
                    pass
                unreadable += 1
                continue
            event = parse_event(line, last_time)
            if event is not None:
                last_time = event.time
                if isinstance(event, run.RunStarted):
                    newest = max(newest, event.format)
                yield event
            elif complete and line.strip():
                unreadable += 1
    if newest > FORMAT:
        message = f"{path.name} has format {newest}, this version reads {FORMAT}: what it does not know is left out"
        yield run.Note(message=message, level="warning", time=last_time)
    if unreadable:
        message = f"{unreadable} lines of {path.name} could not be read"
        yield run.Note(message=message, level="warning", time=last_time)


def parse_event(line: bytes | str, default_time: float = 0.0) -> Event | None:
    """One line of ``events.jsonl``; None when it is no event.

    ``default_time`` stands in for a time that cannot be read.
    """
    try:
        record = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return event_of(record, default_time) if isinstance(record, dict) else None


def event_of(record: Mapping[str, object], default_time: float = 0.0) -> Event | None:
    """The event of a JSON object; None when it has no kind."""
    kind = record.get("kind")
    if not isinstance(kind, str):
        return None
    kind, names = RENAMED.get(kind, (kind, {}))
    data = {key: value for key, value in record.items() if key not in ENVELOPE}
    data = {**{names[key]: value for key, value in data.items() if key in names}, **data}
    subject, at = record.get("subject"), as_number(record.get("at"))
    subject = subject if isinstance(subject, str) else ""
    time = _seconds(record.get("time"), default_time)
    cls = KINDS.get(kind)
    if cls is None:
        return UnknownEvent(subject, name=kind, record=data, time=time, at=at or 0.0)
    return cls(subject, time=time, at=at or 0.0, **_values(cls, data))


def _seconds(value: object, default: float) -> float:
    try:
        return datetime.fromisoformat(value).timestamp() if isinstance(value, str) else default
    except (ValueError, OverflowError):
        return default


# ---------------------------------------------------------------------- one field

Reader = Callable[[object], object]  # None: the value is of no use
_COMMON = frozenset(one.name for one in fields(Event))
_KNOWN: dict[type[Any], dict[str, tuple[Reader, object]]] = {}


def _values(cls: type[Any], data: Mapping[str, object]) -> dict[str, Any]:
    """What a dataclass is made with. A field of no use has its default, or the empty value of its type."""
    values = {}
    for name, (read, empty) in _readers(cls).items():
        value = read(data[name]) if name in data else None
        values[name] = empty if value is None else value
    return values


def _readers(cls: type[Any]) -> dict[str, tuple[Reader, object]]:
    """How the fields of a dataclass are read; worked out once."""
    if cls in _KNOWN:
        return _KNOWN[cls]
    hints = typing.get_type_hints(cls)
    readers = _KNOWN.setdefault(cls, {})
    for one in fields(cls):
        if one.name not in _COMMON:
            read, empty = _reader(hints[one.name])
            readers[one.name] = (read, empty if one.default is MISSING else one.default)
    return readers


def _reader(hint: Any) -> tuple[Reader, object]:
    """How values of a type are read, and its empty value."""
    arguments = typing.get_args(hint)
    match typing.get_origin(hint):
        case types.UnionType:  # T | None
            read, _ = _reader(next(one for one in arguments if one is not type(None)))
            return read, None
        case origin if origin is tuple:
            return _tuple_reader(_reader(arguments[0])[0]), ()
        case origin if origin is Literal:
            return as_text, ""
    if isinstance(hint, type) and issubclass(hint, StrEnum):
        return _word_reader(hint), ""
    if isinstance(hint, type) and is_dataclass(hint):
        return _part_reader(hint), None
    readers: dict[object, tuple[Reader, object]] = {
        str: (as_text, ""),
        float: (as_number, 0.0),
        int: (as_whole, 0),
        bool: (lambda value: value if isinstance(value, bool) else None, False),
    }
    return readers[hint]


def _word_reader(words: type[StrEnum]) -> Reader:
    def read(value: object) -> object:
        text = as_text(value)
        return words(text) if text in set(words) else text

    return read


def _part_reader(cls: type[Any]) -> Reader:
    return lambda value: cls(**_values(cls, value)) if isinstance(value, Mapping) else None


def _tuple_reader(read: Reader) -> Reader:
    def read_all(value: object) -> object:
        if isinstance(value, str):
            value = [value] if value else []  # one text is a list of one
        if not isinstance(value, list | tuple):
            return None
        return tuple(one for one in map(read, value[:ENTRIES]) if one is not None)

    return read_all
