"""Folds a stream of events into a `RunView`.

The stream may end anywhere (a killed run) and may hold text of guests: every
text is bounded and cleaned on its way into the view, and lists are bounded.
Types are right already (`orchestrator.events.read`).
"""

from __future__ import annotations

from collections.abc import Iterable

from orchestrator.events import Event
from orchestrator.events.faults import FaultBegan, FaultEnded, FaultRecovered
from orchestrator.events.machines import (
    ImageOutput,
    ImageStateChanged,
    LogMatched,
    MachineStateChanged,
    NetworkStateChanged,
    ScreenshotTaken,
)
from orchestrator.events.run import (
    AcceleratorChosen,
    Failure,
    Note,
    PlannedMachine,
    PlannedService,
    RevisionFound,
    RunFinished,
    RunReady,
    RunStarted,
)
from orchestrator.events.services import CheckResulted, Heartbeat, ServiceStateChanged
from orchestrator.events.suite import SuiteError, SuiteOutput, SuiteStateChanged, TestBegan, TestEnded, TestPlanned
from orchestrator.report import model as m
from orchestrator.report.fold_parts import FaultFold, ImageFold, MachineFold, ServiceFold
from orchestrator.report.fold_suite import ENTRIES, PhaseFold, append
from orchestrator.text import SENTENCE, TEXT, WORD, about, clean, clean_lines

__all__ = ["Fold", "failure", "fold"]

EVIDENCE_LINES = 200


def fold(events: Iterable[Event]) -> m.RunView:
    """The facts of the events about the run."""
    folding = Fold()
    for event in events:
        folding.add(event)
    return folding.view()


class Fold:
    """The fold as it stands; `add` takes the next event, `view` may be called at any time."""

    def __init__(self) -> None:
        self._run: RunStarted | None = None
        self._host: AcceleratorChosen | None = None
        self._end: RunFinished | None = None
        self._ready: RunReady | None = None
        self._first: float | None = None
        self._last = 0.0
        self._machines: dict[str, MachineFold] = {}
        self._services: dict[str, ServiceFold] = {}
        self._phases: dict[str, PhaseFold] = {}
        self._images: dict[str, ImageFold] = {}
        self._revisions: dict[str, m.Revision] = {}
        self._networks: dict[str, str] = {}
        self._faults = FaultFold()
        self._screenshots: list[m.Screenshot] = []
        self._log_matches: list[m.LogMatch] = []
        self._notes: list[m.Note] = []
        self._failures: list[m.Failure] = []
        self._waiting: m.Wait | None = None
        self._dropped = 0

    def add(self, event: Event) -> None:
        """Take in one event; kinds that are not known here only move the end of the run."""
        self._first = event.time if self._first is None else min(self._first, event.time)
        self._last = max(self._last, event.time)
        match event:
            case RunStarted():
                self._run = event
                self._plan(event.machines, event.services)
            case AcceleratorChosen():
                self._host = event
            case RunReady():
                self._ready = event
            case RunFinished():
                self._end = event
            case RevisionFound() if len(self._revisions) < ENTRIES:
                kind, digest, label = (clean(text, WORD) for text in (event.subject, event.digest, event.label))
                self._revisions[kind] = m.Revision(kind, digest, label, clean(event.folder, SENTENCE))
            case _:
                self._keep(self._part(event))

    def view(self) -> m.RunView:
        """The run according to the events so far; open intervals end at the last event."""
        run, host, end, ready = self._run or _NO_RUN, self._host or _NO_HOST, self._end, self._ready
        started, ended = self._first or 0.0, self._last
        ready_after: float | None = None
        if ready is not None:
            ready_after = ready.time - started if ready.elapsed is None else ready.elapsed
        return m.RunView(
            run_id=clean(run.run_id, WORD),
            environment=clean(run.subject, SENTENCE),
            command=clean(run.command, WORD),
            variant=clean(run.variant, WORD),
            provider=clean(run.provider, WORD),
            topology=clean(run.topology, SENTENCE),
            version=clean(run.version, WORD),
            accelerator=clean(host.accelerator, WORD),
            accelerator_reason=clean(host.reason, SENTENCE),
            time_scale=host.time_scale or 1.0,
            qemu=clean(host.qemu, WORD),
            outcome="interrupted" if end is None else clean(end.outcome, WORD) or "error",
            exit_code=None if end is None else end.exit_code,
            finished=end is not None,
            started=started,
            ended=ended,
            elapsed=ended - started if end is None or end.elapsed is None else end.elapsed,
            ready_at=None if ready is None else ready.time,
            ready_after=ready_after,
            images=tuple(image.view(name) for name, image in self._images.items()),
            told_revisions=tuple(self._revisions.values()),
            networks=dict(self._networks),
            machines=tuple(machine.view(name, ended) for name, machine in self._machines.items()),
            services=tuple(service.view(name, ended) for name, service in self._services.items()),
            phases=tuple(phase.view(ended) for phase in self._phases.values()),
            screenshots=tuple(self._screenshots),
            log_matches=tuple(self._log_matches),
            notes=tuple(self._notes),
            failures=tuple(self._failures),
            waiting=self._waiting if end is None else None,
            dropped=self._dropped,
            faults=self._faults.view(ended),
        )

    # ------------------------------------------------------------------ parts

    def _keep(self, kept: bool) -> None:
        self._dropped += not kept

    def _plan(self, machines: Iterable[PlannedMachine], services: Iterable[PlannedService]) -> None:
        for machine in machines:
            self._machine(clean(machine.name, WORD)).plan = machine
        for service in services:
            self._service(clean(service.name, WORD)).plan = service

    def _part(self, event: Event) -> bool:
        """Take in what is about one thing; False when there are too many of its kind."""
        subject = clean(event.subject, SENTENCE)
        match event:
            case MachineStateChanged():
                return self._machine(subject).enter(event)
            case ServiceStateChanged():
                return self._service(subject).enter(event)
            case CheckResulted():
                self._service(subject).check(event)
            case ImageStateChanged() | ImageOutput():
                self._images.setdefault(subject, ImageFold()).apply(event)
            case NetworkStateChanged():
                self._networks[subject] = clean(event.state, WORD)
            case SuiteStateChanged() | SuiteOutput() | SuiteError():
                return self._phase(subject, event).apply(event, subject)
            case TestPlanned() | TestBegan() | TestEnded():
                return self._phase(clean(event.phase, SENTENCE), event).apply(event, subject)
            case _:
                return self._remark(event, subject)
        return True

    def _remark(self, event: Event, subject: str) -> bool:
        """Take in what is only listed; False when there are too many of its kind."""
        match event:
            case FaultBegan() | FaultEnded() | FaultRecovered():
                return self._faults.apply(event, clean(subject, WORD))
            case LogMatched():
                return append(self._log_matches, _log_match(event, subject))
            case Heartbeat():
                what = about(subject, clean(event.what, SENTENCE))
                last = clean(event.detail, SENTENCE)
                self._waiting = m.Wait(what, event.elapsed, event.timeout, last, event.time)
            case ScreenshotTaken():
                path, step = clean(event.path, SENTENCE), clean(event.step, SENTENCE)
                return append(self._screenshots, m.Screenshot(subject, path, step, event.time))
            case Note():
                message = about(subject, clean(event.message, TEXT, multiline=True))
                return append(self._notes, m.Note(message, clean(event.level, WORD), event.time))
            case Failure():
                return append(self._failures, failure(event))
        return True

    def _machine(self, name: str) -> MachineFold:
        if name not in self._machines and len(self._machines) >= ENTRIES:
            return MachineFold()  # beyond the bound: taken in and forgotten
        return self._machines.setdefault(name, MachineFold())

    def _service(self, name: str) -> ServiceFold:
        if name not in self._services and len(self._services) >= ENTRIES:
            return ServiceFold()
        return self._services.setdefault(name, ServiceFold())

    def _phase(self, name: str, event: Event) -> PhaseFold:
        return self._phases.setdefault(name, PhaseFold(name, event.time))


_NO_RUN = RunStarted(
    format=0,
    command="",
    run_id="",
    run_folder="",
    variant="",
    provider="",
    topology="",
    machines=(),
    services=(),
    version="",
)
_NO_HOST = AcceleratorChosen(accelerator="", reason="", time_scale=1.0, qemu="")


def failure(event: Failure) -> m.Failure:
    """A failure, bounded and clean."""
    return m.Failure(
        subject=clean(event.subject, WORD),
        type=clean(event.type, WORD),
        what=clean(event.what, SENTENCE) or "an error that was not described",
        why=clean(event.why, TEXT, multiline=True),
        where=clean_lines(event.where, count=50, limit=SENTENCE),
        hint=clean(event.hint, SENTENCE, multiline=True),
        evidence=clean_lines(event.evidence, count=EVIDENCE_LINES, limit=SENTENCE),
        exit_code=event.exit_code,
        at=event.time,
    )


def _log_match(event: LogMatched, machine: str) -> m.LogMatch:
    return m.LogMatch(
        machine=machine,
        pattern=clean(event.pattern, WORD),
        line=clean(event.line, SENTENCE),
        explanation=clean(event.explanation, SENTENCE),
        at=event.time,
        severity=clean(event.severity, WORD),
        waiver=clean(event.waiver, SENTENCE),
    )
