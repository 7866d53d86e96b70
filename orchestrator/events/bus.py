"""How events get to those who show, write or count them."""

from __future__ import annotations

import sys
import threading
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from types import TracebackType
from typing import Self, TypeVar

from orchestrator.events.base import Event

Subscriber = Callable[[Event], object]
Emitted = TypeVar("Emitted", bound=Event)


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

    def emit(self, event: Emitted) -> Emitted:
        """Hand out an event, and return it."""
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
