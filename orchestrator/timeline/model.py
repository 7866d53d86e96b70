"""The entries of a timeline, and the axis on which they are placed.

The axis is the host's monotonic clock from the first event on, written as seconds since the epoch: a correction of the
host's time neither bends nor breaks it.
"""

from __future__ import annotations

from bisect import bisect_left, bisect_right
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import IntEnum
from typing import Literal

from orchestrator.events import Event
from orchestrator.vm.samples import Usage

Source = Literal["event", "journal", "console", "log", "test", "browser", "request"]
SOURCES: tuple[Source, ...] = ("event", "journal", "console", "log", "test", "browser", "request")


class Severity(IntEnum):
    """How much an entry matters, in rising order."""

    DEBUG = 0
    INFO = 1
    WARNING = 2
    ERROR = 3
    FATAL = 4

    @property
    def word(self) -> str:
        return self.name.lower()

    @classmethod
    def of_pattern(cls, severity: str) -> Severity:
        """What the severity of a log pattern comes to."""
        return {"fatal": cls.FATAL, "failing": cls.ERROR, "suspicious": cls.WARNING}.get(severity, cls.INFO)


@dataclass(frozen=True, slots=True)
class Entry:
    """Something that was so at one time.

    Attributes:
        at: seconds since the epoch, on the run's axis.
        machine: where; empty: on the host.
        name: unit, program, test or kind of event.
        text: one line, free of control characters.
        margin: how many seconds `at` may be wrong.
        until: the end of what lasts; 0: it has none.
        ended: systemd says that the unit `name` ended.
        key: names the service, machine or test that it is about.
    """

    at: float
    source: Source
    machine: str
    name: str
    severity: Severity
    text: str
    margin: float = 0.0
    until: float = 0.0
    ended: bool = False
    key: str = ""


@dataclass(frozen=True, slots=True)
class Axis:
    """Where the monotonic clock of the host stands on the axis: ``origin`` seconds since the epoch at ``zero``."""

    origin: float = 0.0
    zero: float = 0.0

    @classmethod
    def of(cls, events: Sequence[Event]) -> Axis:
        """That of a run; its first event that has both clocks says it."""
        first = next((event for event in events if event.at), None)
        return cls() if first is None else cls(first.time, first.at)

    def place(self, event: Event) -> float:
        """When an event was, on the axis; one of an old version has only the time of day."""
        return self.of_monotonic(event.at) if event.at and self.origin else event.time

    def of_monotonic(self, at: float) -> float:
        """A reading of the host's monotonic clock, on the axis."""
        return self.origin + (at - self.zero)


@dataclass(frozen=True, slots=True)
class Timeline:
    """Everything of a run, by time.

    Attributes:
        started, ended: of the first and the last event, on the axis.
        entries: in their order.
        events: as they were written.
        usage: what each machine used of the host.
        left_out: lines that were beyond a bound.
    """

    axis: Axis
    started: float
    ended: float
    entries: tuple[Entry, ...]
    events: tuple[Event, ...] = ()
    usage: Mapping[str, Usage] = field(default_factory=dict)
    left_out: int = 0

    def between(self, start: float, end: float) -> Sequence[Entry]:
        """The entries from one moment to another, both included."""
        low = bisect_left(self.entries, start, key=lambda entry: entry.at)
        return self.entries[low : bisect_right(self.entries, end, key=lambda entry: entry.at)]
