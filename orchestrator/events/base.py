"""What every event has, and the registry of kinds."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import MISSING, dataclass, field, fields, is_dataclass
from typing import ClassVar, TypeVar, dataclass_transform

from orchestrator.events.clock import monotonic_clock, utc_text, wall_clock

FORMAT = 2  # of events.jsonl; 1 had no number


@dataclass(frozen=True, slots=True)
class Event:
    """Something happened to one thing at one time.

    Attributes:
        kind: the name of the kind in JSON, ``noun.word``.
        subject: what it is about, see the kind; may be empty.
        time: seconds since the epoch.
        at: seconds of the host's monotonic clock, which no correction of the time changes.
    """

    __test__: ClassVar[bool] = False  # pytest collects classes by name
    kind: ClassVar[str] = ""

    subject: str = ""
    time: float = field(default_factory=wall_clock, kw_only=True)
    at: float = field(default_factory=monotonic_clock, kw_only=True)

    def data(self) -> dict[str, object]:
        """The fields of its kind. One that has its default is left out: JSON says what is known."""
        named = ((one, getattr(self, one.name)) for one in fields(self) if one.name not in ENVELOPE)
        return {one.name: value for one, value in named if one.default is MISSING or value != one.default}

    def as_json(self) -> str:
        """One line of ``events.jsonl``, without the newline."""
        return json.dumps(
            {"time": utc_text(self.time), "at": self.at, "kind": self.kind, "subject": self.subject, **self.data()},
            ensure_ascii=False,
            default=_plain,
        )


ENVELOPE = frozenset({"time", "at", "kind", "subject"})  # what every line has
KINDS: dict[str, type[Event]] = {}

Kind = TypeVar("Kind", bound=Event)


@dataclass_transform(frozen_default=True, kw_only_default=True, field_specifiers=(field,))
def event_kind(name: str) -> Callable[[type[Kind]], type[Kind]]:
    """Make a class a kind of event: a frozen dataclass with slots, registered under its name in JSON.

    Its docstring is its documentation: first what happened, then ``Attributes:``
    with every field and, where it has one, the subject.

    Raises:
        ValueError: another class has the name.
    """

    def register(cls: type[Kind]) -> type[Kind]:
        if name in KINDS:
            raise ValueError(f"{name} is {KINDS[name].__qualname__} already")
        made = dataclass(frozen=True, slots=True, kw_only=True)(cls)
        made.kind = name
        KINDS[name] = made
        return made

    return register


def _plain(value: object) -> object:
    """A part of an event as JSON has it."""
    if is_dataclass(value) and not isinstance(value, type):
        return {one.name: getattr(value, one.name) for one in fields(value)}
    return str(value)
