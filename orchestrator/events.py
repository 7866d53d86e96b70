"""One stream of events; terminal, ``events.jsonl``, JUnit and the HTML report read it.

An event says that something happened at a time. Its kind has two parts,
``noun.verb``; the kinds and their data are listed in docs/events.md.
"""

from __future__ import annotations

import json
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import TracebackType
from typing import Self

Data = Mapping[str, object]


def wall_clock() -> float:
    """Seconds since the epoch."""
    return time.time()


def utc_text(at: float) -> str:
    """``2026-11-23T02:08:24.123Z`` for seconds since the epoch."""
    return datetime.fromtimestamp(at, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


@dataclass(frozen=True, slots=True)
class Event:
    """What happened.

    Attributes:
        kind: ``machine.state``, ``service.state``, … (docs/events.md).
        subject: the machine, service, image or test it is about; may be empty.
        data: JSON-ready details.
        at: seconds since the epoch.
    """

    kind: str
    subject: str = ""
    data: Data = field(default_factory=dict)
    at: float = field(default_factory=wall_clock)

    def as_json(self) -> str:
        """One line of ``events.jsonl``, without the newline."""
        return json.dumps(
            {"time": utc_text(self.at), "kind": self.kind, "subject": self.subject, **self.data},
            ensure_ascii=False,
            default=str,
        )


Subscriber = Callable[[Event], None]


class EventBus:
    """Hands each event to every subscriber, in the order of subscription.

    A subscriber that raises is reported once on stderr and dropped: a broken
    view must not break the run. Events may be emitted by any thread; each is
    handed to all before the next.
    """

    def __init__(self) -> None:
        self._lock = threading.RLock()  # a subscriber may emit as well
        self._subscribers: list[Subscriber] = []

    def subscribe(self, subscriber: Subscriber) -> Callable[[], None]:
        """Add a subscriber; the returned function removes it."""
        self._subscribers.append(subscriber)

        def unsubscribe() -> None:
            if subscriber in self._subscribers:
                self._subscribers.remove(subscriber)

        return unsubscribe

    def emit(self, kind: str, subject: str = "", **data: object) -> Event:
        """Make an event and hand it out."""
        event = Event(kind, subject, data)
        with self._lock:
            for subscriber in tuple(self._subscribers):
                try:
                    subscriber(event)
                except Exception as error:  # noqa: BLE001 - whatever a view does wrong, the run goes on
                    self._subscribers.remove(subscriber)
                    with suppress(OSError):  # it may have failed because nobody reads stderr any more
                        sys.stderr.write(
                            f"warning: event subscriber {subscriber!r} failed and was dropped: {error!r}\n"
                        )
        return event


class JsonLinesLog:
    """Appends events to a file, one JSON object a line, flushed at each.

    Use as a context manager; the instance itself is the subscriber.
    """

    def __init__(self, path: Path) -> None:
        # A guest's half of a surrogate pair is no UTF-8; written as an escape it is still JSON.
        self._file = path.open("a", encoding="utf-8", errors="backslashreplace")

    def __call__(self, event: Event) -> None:
        self._file.write(event.as_json() + "\n")
        self._file.flush()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._file.close()
