"""Folds the events of one phase of the suite into a `PhaseView`."""

from __future__ import annotations

from typing import TypeVar

from orchestrator.events import Event
from orchestrator.events.suite import SuiteError, SuiteOutput, SuiteStateChanged, TestBegan, TestEnded, TestPlanned
from orchestrator.report import model as m
from orchestrator.report import model_tests as mt
from orchestrator.text import SENTENCE, TEXT, WORD, clean

ENTRIES = 5_000  # of one kind in a view
TESTS = 20_000  # of one phase
OUTPUT_LINES = 200

Item = TypeVar("Item")


class PhaseFold:
    """A phase as it stands; tests by the runner's ids, by their titles where none are told."""

    def __init__(self, name: str, at: float) -> None:
        self._name = name
        self._start = at
        self._end: float | None = None
        self._state = ""
        self._exit_code: int | None = None
        self._reported: dict[str, int] = {}
        self._output: list[str] = []
        self._errors: list[str] = []
        self._elsewhere: set[str] = set()
        self._open: dict[str, float] = {}
        self._attempts: dict[str, list[mt.Attempt]] = {}
        self._places: dict[str, tuple[str, str, int]] = {}

    def apply(self, event: Event, subject: str) -> bool:
        """Take in one event; False when there are too many of its kind."""
        match event:
            case SuiteOutput():
                append_line(self._output, clean(event.line, SENTENCE))
            case SuiteError():
                return append(self._errors, clean(event.error, TEXT, multiline=True))
            case SuiteStateChanged():
                self._enter(event)
            case TestPlanned() | TestBegan() | TestEnded():
                return self._test(event, subject)
        return True

    def _enter(self, event: SuiteStateChanged) -> None:
        if not self._state:
            self._start = event.time  # its tests may have been listed long before
        self._state = clean(event.state, WORD)
        if self._state == "finished":
            self._end = event.time
            self._exit_code = event.exit_code
            self._reported = event.counts

    def _test(self, event: TestPlanned | TestBegan | TestEnded, subject: str) -> bool:
        key = clean(event.id, WORD) or subject
        if isinstance(event, TestPlanned) and event.other_shard:
            if len(self._elsewhere) < m.TESTS:
                self._elsewhere.add(key)
            return True
        if key not in self._places and len(self._places) >= TESTS:
            return False
        self._places[key] = (subject, clean(event.file, SENTENCE), event.line)
        if isinstance(event, TestBegan):
            self._open[key] = event.time
        elif isinstance(event, TestEnded):
            attempt = _attempt(event, self._open.pop(key, None))
            return append(self._attempts.setdefault(key, []), attempt)
        return True

    def view(self, ended: float) -> mt.PhaseView:
        """The phase, tests that run still closed at ``ended``."""
        tests: dict[str, tuple[mt.Attempt, ...]] = {key: tuple(self._attempts.get(key, ())) for key in self._places}
        for key, at in self._open.items():
            cut = mt.Attempt("interrupted", 0, at, max(at, ended), max(0.0, ended - at), "never ended", ())
            tests[key] = (*tests[key], cut)
        views = []
        for key, attempts in tests.items():
            title, file, line = self._places[key]
            views.append(mt.TestView(title, self._name, file, line, attempts))
        return mt.PhaseView(
            name=self._name,
            start=self._start,
            end=max(self._start, self._last(ended)),
            state=self._state,
            exit_code=self._exit_code,
            reported=self._reported,
            tests=tuple(views),
            output=tuple(self._output[-OUTPUT_LINES:]),
            errors=tuple(self._errors),
            elsewhere=len(self._elsewhere),
        )

    def _last(self, ended: float) -> float:
        """When it ended. Tests of a driver end with the last of them."""
        if self._end is not None:
            return self._end
        ends = [attempt.end for attempts in self._attempts.values() for attempt in attempts]
        return ended if self._state or self._open or not ends else max(ends)


def append(items: list[Item], item: Item) -> bool:
    if len(items) >= ENTRIES:
        return False
    items.append(item)
    return True


def append_line(lines: list[str], line: str) -> None:
    lines.append(line)
    if len(lines) > 2 * OUTPUT_LINES:
        del lines[:-OUTPUT_LINES]


def _attempt(event: TestEnded, began: float | None) -> mt.Attempt:
    duration = max(0.0, event.duration)
    attachments = tuple(
        mt.Attachment(clean(one.name, WORD), clean(one.path, SENTENCE), clean(one.content_type, WORD))
        for one in event.attachments
    )
    return mt.Attempt(
        status=clean(event.status, WORD) or "interrupted",
        retry=event.retry,
        start=min(event.time, event.time - duration if began is None else began),
        end=event.time,
        duration=duration,
        error=clean(event.error, TEXT, multiline=True),
        attachments=attachments,
    )
