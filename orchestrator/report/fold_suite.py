"""Folds the events of one phase of the suite into a `PhaseView`."""

from __future__ import annotations

from typing import TypeVar

from orchestrator.events import Event
from orchestrator.report import model as m
from orchestrator.report.read import SENTENCE, TEXT, number, tables, text, whole

ENTRIES = 5_000  # of one kind in a view
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
        self._attempts: dict[str, list[m.Attempt]] = {}
        self._places: dict[str, tuple[str, str, int]] = {}

    def apply(self, event: Event, subject: str) -> bool:
        """Take in one event; False when there are too many of its kind."""
        data = event.data
        match event.kind:
            case "suite.output":
                append_line(self._output, text(data, "line", SENTENCE))
            case "suite.error":
                return append(self._errors, text(data, "error", TEXT, multiline=True))
            case "suite.state":
                if not self._state:
                    self._start = event.at  # its tests may have been listed long before
                self._state = text(data, "state")
                if self._state == "finished":
                    self._end = event.at
                    self._exit_code = whole(data, "exit_code")
                    counts = {status: whole(data, status) for status in m.STATUSES}
                    self._reported = {status: count for status, count in counts.items() if count is not None}
            case _:
                return self._test(event, subject)
        return True

    def _test(self, event: Event, subject: str) -> bool:
        data = event.data
        key = text(data, "id") or subject
        if data.get("elsewhere") is True:
            if len(self._elsewhere) < m.TESTS:
                self._elsewhere.add(key)
            return True
        if key not in self._places and len(self._places) >= ENTRIES:
            return False
        self._places[key] = (subject, text(data, "file", SENTENCE), whole(data, "line") or 0)
        if event.kind == "test.begin":
            self._open[key] = event.at
        elif event.kind == "test.end":
            attempt = _attempt(event, self._open.pop(key, None))
            return append(self._attempts.setdefault(key, []), attempt)
        return True

    def view(self, ended: float) -> m.PhaseView:
        """The phase, tests that run still closed at ``ended``."""
        tests: dict[str, tuple[m.Attempt, ...]] = {key: tuple(self._attempts.get(key, ())) for key in self._places}
        for key, at in self._open.items():
            cut = m.Attempt("interrupted", 0, at, max(at, ended), max(0.0, ended - at), "never ended", ())
            tests[key] = (*tests[key], cut)
        views = []
        for key, attempts in tests.items():
            title, file, line = self._places[key]
            views.append(m.TestView(title, self._name, file, line, attempts))
        return m.PhaseView(
            name=self._name,
            start=self._start,
            end=max(self._start, ended if self._end is None else self._end),
            state=self._state,
            exit_code=self._exit_code,
            reported=self._reported,
            tests=tuple(views),
            output=tuple(self._output[-OUTPUT_LINES:]),
            errors=tuple(self._errors),
            elsewhere=len(self._elsewhere),
        )


def append(items: list[Item], item: Item) -> bool:
    if len(items) >= ENTRIES:
        return False
    items.append(item)
    return True


def append_line(lines: list[str], line: str) -> None:
    lines.append(line)
    if len(lines) > 2 * OUTPUT_LINES:
        del lines[:-OUTPUT_LINES]


def _attempt(event: Event, began: float | None) -> m.Attempt:
    data = event.data
    duration = max(0.0, number(data, "duration") or 0.0)
    attachments = tuple(
        m.Attachment(text(entry, "name"), text(entry, "path", SENTENCE), text(entry, "content_type"))
        for entry in tables(data, "attachments")
    )
    return m.Attempt(
        status=text(data, "status") or "interrupted",
        retry=whole(data, "retry") or 0,
        start=min(event.at, event.at - duration if began is None else began),
        end=event.at,
        duration=duration,
        error=text(data, "error", TEXT, multiline=True),
        attachments=attachments,
    )
