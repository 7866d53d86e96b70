"""What the terminal shows of a running environment, as plain data kept from events.

No drawing here: `orchestrator.cli.progress_live` draws a `Board`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from orchestrator.deadline import monotonic
from orchestrator.events import Event
from orchestrator.events.fleet import CellOutput, CellStateChanged, HostStateChanged, MatrixStarted
from orchestrator.events.machines import ImageOutput, ImageStateChanged, MachineStateChanged
from orchestrator.events.run import AcceleratorChosen, RunFinished, RunStarted
from orchestrator.events.services import CheckResulted, Heartbeat, ServiceStateChanged
from orchestrator.events.suite import SuiteStateChanged, TestBegan, TestEnded
from orchestrator.report.model import ACTIVE_STATES, BROKEN_STATES, UP_STATES
from orchestrator.report.model_tests import FAILED_TESTS
from orchestrator.text import WORD, clean

# Besides the states of machines and services: those of images, and of hosts and cells of a matrix.
ALSO_UP = frozenset({"cached", "up", "passed", "suspicious"})
ALSO_BROKEN = frozenset({"lost", "refused", "gone", "error", "interrupted"})
ALSO_ACTIVE = frozenset({"building", "stopping", "joining", "running"})
CELL_OVER = frozenset({"passed", "suspicious", "failed", "error", "interrupted", "nothing-ran"})
NOTE = 200  # characters of what is said about a row


@dataclass(slots=True)
class Row:
    """One line: a machine, a service, or an image that is being made.

    Attributes:
        seconds: spent as of ``since``, None before it was started.
        since: monotonic time of the last event while the clock of this row runs, else None.
        note: last message of a check, or the detail of the state.
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
        if self.state in UP_STATES or self.state in ALSO_UP:
            return "up"
        if self.state in BROKEN_STATES or self.state in ALSO_BROKEN:
            return "broken"
        return "active" if self.state in ACTIVE_STATES or self.state in ALSO_ACTIVE else "idle"

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
    """Rows in the order of the plan; `apply` brings them up to date with an event."""

    def __init__(self) -> None:
        self.title = ""
        self._name = ""
        self.images: dict[str, Row] = {}
        self.machines: dict[str, Row] = {}
        self.services: dict[str, Row] = {}
        self.phases: dict[str, PhaseRow] = {}
        self.hosts: dict[str, Row] = {}
        self.cells: dict[str, Row] = {}
        self.started = monotonic()

    @property
    def rows(self) -> list[Row]:
        """Images only while they are made or when they failed; machines and services always."""
        images = [row for row in self.images.values() if row.state in ("building", "failed")]
        return [*images, *self.machines.values(), *self.services.values(), *self.hosts.values(), *self.cells.values()]

    def apply(self, event: Event) -> None:
        """Take in an event; those that nothing here shows are left alone."""
        subject = clean(event.subject, NOTE)
        match event:
            case RunStarted() | AcceleratorChosen() | RunFinished():
                self._run(event, subject)
            case ImageStateChanged():
                _enter(self._image(subject), event.state, event.seconds, event.detail)
            case ImageOutput():
                self._image(subject).note = clean(event.line, NOTE)
            case MatrixStarted() | HostStateChanged() | CellStateChanged() | CellOutput():
                self._matrix(event, subject)
            case MachineStateChanged():
                row = self.machines.setdefault(subject, Row(subject, "machine"))
                _enter(row, event.state, event.elapsed, event.detail)
            case ServiceStateChanged():
                row = self.services.setdefault(subject, Row(subject, "service", clean(event.machine, WORD)))
                _enter(row, event.state, event.elapsed, event.detail)
            case CheckResulted():
                self._remark(self.services.get(subject), f"{clean(event.check, WORD)}: {clean(event.message, NOTE)}")
            case Heartbeat(detail=detail) if detail:
                self._remark(self.services.get(subject) or self.machines.get(subject), clean(detail, NOTE))
            case SuiteStateChanged():
                self._suite(self._phase(subject), event)
            case TestBegan() | TestEnded():
                self._test(self._phase(clean(event.phase, WORD)), event, subject)

    def _matrix(self, event: MatrixStarted | HostStateChanged | CellStateChanged | CellOutput, subject: str) -> None:
        match event:
            case MatrixStarted():
                self._name = subject
                self.cells = {name: Row(name, "cell") for name in (clean(one, NOTE) for one in event.cells)}
                self.hosts = {name: Row(name, "host") for name in (clean(one, WORD) for one in event.hosts)}
            case HostStateChanged():
                _enter(self.hosts.setdefault(subject, Row(subject, "host")), event.state, None, event.detail)
            case CellStateChanged():
                where = f"{clean(event.host, WORD)}: " if event.host and event.detail else clean(event.host, WORD)
                row = self.cells.setdefault(subject, Row(subject, "cell"))
                _enter(row, event.state, event.elapsed, where + event.detail)
            case CellOutput():
                self._remark(self.cells.get(subject), clean(event.line, NOTE))
        over = [row for row in self.cells.values() if row.state in CELL_OVER]
        bad = sum(row.mark == "broken" for row in over)
        failed = f" · {bad} not passed" if bad else ""
        self.title = f"{self._name} · {len(over)} of {len(self.cells)} cells{failed}"

    def _run(self, event: RunStarted | AcceleratorChosen | RunFinished, subject: str) -> None:
        match event:
            case RunStarted():
                words = (subject, *(clean(text, WORD) for text in (event.command, event.variant, event.provider)))
                self.title = " · ".join(word for word in words if word)
                for machine in event.machines:
                    name = clean(machine.name, WORD)
                    self.machines.setdefault(name, Row(name, "machine"))
                for service in event.services:
                    name = clean(service.name, WORD)
                    self.services.setdefault(name, Row(name, "service", clean(service.machine, WORD)))
            case AcceleratorChosen():
                scale = event.time_scale or 1.0
                slow = f" (limits × {scale:g})" if scale != 1 else ""
                self.title += f" · {clean(event.accelerator, WORD)}{slow}"
            case RunFinished():
                for row in self.rows:
                    row.since = None

    def _image(self, name: str) -> Row:
        return self.images.setdefault(name, Row(name, "image"))

    def _phase(self, name: str) -> PhaseRow:
        return self.phases.setdefault(name, PhaseRow(name, since=monotonic()))

    @staticmethod
    def _remark(row: Row | None, note: str) -> None:
        """What is said about a row is of interest while it is being started."""
        if row is not None and row.mark == "active":
            row.note = note

    @staticmethod
    def _suite(phase: PhaseRow, event: SuiteStateChanged) -> None:
        phase.state = clean(event.state, WORD)
        if phase.state == "finished":
            phase.current = ""
            phase.failed = max(phase.failed, event.failed or 0)

    @staticmethod
    def _test(phase: PhaseRow, event: TestBegan | TestEnded, title: str) -> None:
        if isinstance(event, TestBegan):
            phase.current = title
            phase.total = event.total or phase.total
            return
        phase.results[title] = event.status in FAILED_TESTS
        phase.done = len(phase.results)
        phase.failed = sum(phase.results.values())
        phase.current = "" if phase.current == title else phase.current


def _enter(row: Row, state: str, elapsed: float | None, detail: str) -> None:
    before, row.state = row.mark, clean(state, WORD) or row.state
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
    row.note = clean(detail, NOTE)
