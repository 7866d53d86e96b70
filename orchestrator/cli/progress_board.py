"""What the terminal shows of a running environment, as plain data kept from events.

No drawing here: `orchestrator.cli.progress_live` draws a `Board`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.deadline import monotonic
from orchestrator.events import Event
from orchestrator.report.model import ACTIVE_STATES, BROKEN_STATES, FAILED_TESTS, UP_STATES
from orchestrator.report.read import number, tables, text, whole
from orchestrator.text import clean

ANSWER = 200  # characters of a check's answer


@dataclass(slots=True)
class Row:
    """One line: a machine, a service, or an image that is being made.

    Attributes:
        seconds: spent as of ``since``, None before it was started.
        since: monotonic time of the last event while the clock of this row runs, else None.
        note: last answer of a check, or the detail of the state.
    """

    name: str
    kind: str
    place: str = ""
    state: str = "pending"
    seconds: float | None = None
    since: float | None = None
    note: str = ""

    @property
    def mark(self) -> str:
        """``up``, ``broken``, ``active`` or ``idle``: which sign stands before the line."""
        if self.state in UP_STATES or self.state == "cached":
            return "up"
        if self.state in BROKEN_STATES:
            return "broken"
        return "active" if self.state in ACTIVE_STATES or self.state in ("building", "stopping") else "idle"

    def elapsed(self, now: float) -> float | None:
        if self.seconds is None or self.since is None:
            return self.seconds
        return self.seconds + max(0.0, now - self.since)


@dataclass(slots=True)
class PhaseRow:
    """The progress of one phase of the suite."""

    name: str
    state: str = "starting"
    total: int = 0
    current: str = ""
    done: int = 0
    failed: int = 0
    since: float = 0.0
    results: dict[str, bool] = field(default_factory=dict)


class Board:
    """Rows in the order of the plan; `take` brings them up to date with an event."""

    def __init__(self) -> None:
        self.title = ""
        self.images: dict[str, Row] = {}
        self.machines: dict[str, Row] = {}
        self.services: dict[str, Row] = {}
        self.phases: dict[str, PhaseRow] = {}
        self.started = monotonic()

    @property
    def rows(self) -> list[Row]:
        """Images only while they are made or when they failed; machines and services always."""
        images = [row for row in self.images.values() if row.state in ("building", "failed")]
        return [*images, *self.machines.values(), *self.services.values()]

    def apply(self, event: Event) -> None:
        data, subject = event.data, clean(event.subject, ANSWER)
        match event.kind:
            case "run.started":
                words = (subject, text(data, "command"), text(data, "variant"), text(data, "provider"))
                self.title = " · ".join(word for word in words if word)
                for plan in tables(data, "machines"):
                    name = text(plan, "name")
                    self.machines.setdefault(name, Row(name, "machine"))
                for plan in tables(data, "services"):
                    name = text(plan, "name")
                    self.services.setdefault(name, Row(name, "service", text(plan, "machine")))
            case "host.accelerator":
                factor = number(data, "factor") or 1.0
                slow = f" (limits × {factor:g})" if factor != 1 else ""
                self.title += f" · {text(data, 'accelerator')}{slow}"
            case "image.state":
                row = self.images.setdefault(subject, Row(subject, "image"))
                self._enter(row, event, detail=text(data, "why", ANSWER))
            case "image.output":
                self.images.setdefault(subject, Row(subject, "image")).note = text(data, "line", ANSWER)
            case "machine.state":
                self._enter(self.machines.setdefault(subject, Row(subject, "machine")), event)
            case "service.state":
                row = self.services.setdefault(subject, Row(subject, "service", text(data, "machine")))
                self._enter(row, event)
            case "check.answer":
                if subject in self.services and self.services[subject].mark == "active":
                    self.services[subject].note = f"{text(data, 'check')}: {text(data, 'answer', ANSWER)}"
            case "wait.heartbeat":
                row_or_none = self.services.get(subject) or self.machines.get(subject)
                if row_or_none is not None and row_or_none.mark == "active" and text(data, "last"):
                    row_or_none.note = text(data, "last", ANSWER)
            case "suite.state" | "test.begin" | "test.end":
                self._suite(event, subject)
            case "run.finished":
                for row in self.rows:
                    row.since = None

    def _enter(self, row: Row, event: Event, *, detail: str = "") -> None:
        before, row.state = row.mark, text(event.data, "state") or row.state
        elapsed = number(event.data, "elapsed")
        if elapsed is None:
            elapsed = number(event.data, "seconds")
        # "stopping" is active on the screen, but no clock that anyone reads runs for it
        runs = row.mark == "active" and row.state != "stopping"
        if row.state == "skipped":
            row.seconds = None
        elif row.state in ("stopping", "stopped"):
            pass  # the seconds it took to come up stay
        elif runs or before == "active" or row.seconds is None:
            # What was up keeps the seconds it took, whatever comes after.
            row.seconds = None if row.state == "pending" else elapsed or 0.0
        row.since = monotonic() if runs else None
        row.note = detail or text(event.data, "detail", ANSWER)

    def _suite(self, event: Event, subject: str) -> None:
        data = event.data
        name = subject if event.kind == "suite.state" else text(data, "phase")
        phase = self.phases.setdefault(name, PhaseRow(name, since=monotonic()))
        if event.kind == "suite.state":
            phase.state = text(data, "state")
            if phase.state == "finished":
                phase.current = ""
                phase.failed = max(phase.failed, whole(data, "failed") or 0)
        elif event.kind == "test.begin":
            phase.current = subject
            phase.total = whole(data, "total") or phase.total
        else:
            phase.results[subject] = text(data, "status") in FAILED_TESTS
            phase.done = len(phase.results)
            phase.failed = sum(phase.results.values())
            phase.current = "" if phase.current == subject else phase.current
