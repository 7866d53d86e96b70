"""Tests of a running environment, again and again: only those that are asked for."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AsyncExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.deadline import Deadline
from orchestrator.dev.changes import Selection
from orchestrator.dev.loop import Results
from orchestrator.environment.session import Session
from orchestrator.environment.suite import judged, prepare_runner, push, run_invocation
from orchestrator.environment.suite_events import Case
from orchestrator.environment.suite_run import SuiteInvocation, SuiteRun, TestSelection
from orchestrator.environment.suite_tally import Outcome, Tally
from orchestrator.errors import NothingRan, SuiteFailed
from orchestrator.events import Event, EventBus
from orchestrator.events.machines import LogMatched
from orchestrator.events.read import load_events
from orchestrator.events.suite import SuiteError, TestEnded
from orchestrator.log_patterns import Severity
from orchestrator.report.model_tests import FAILED_TESTS
from orchestrator.text import clean
from orchestrator.topology.model import Suite

LINE = 300  # characters of an error


@dataclass(slots=True)
class Known:
    """What is known of tests across runs.

    Attributes:
        failed: those whose last result was a failure, by phase and id.
        empty: the phases that had no test for a pattern and the suite as it is.
    """

    failed: dict[str, dict[str, Case]] = field(default_factory=dict)
    empty: set[str] = field(default_factory=set)

    @property
    def any_failed(self) -> bool:
        return any(self.failed.values())

    def learn(self, phase: str, tally: Tally, *, whole: bool) -> None:
        """A phase was run; ``whole``: all its tests that match."""
        failed = self.failed.setdefault(phase, {})
        for name, status in tally.results.items():
            failed.pop(name, None)
            if status == "failed" and name in tally.planned:
                failed[name] = tally.planned[name]
        if whole and not tally.planned and not tally.errors:
            self.empty.add(phase)


def failed_before(runs: Path) -> Known:
    """The tests that failed in the latest run of a folder of runs; none where there is no such run."""
    known = Known()
    try:
        for event in load_events(runs / "latest" / "events.jsonl"):
            if isinstance(event, TestEnded):
                failed = known.failed.setdefault(event.phase, {})
                failed.pop(event.id, None)
                if event.status in FAILED_TESTS:
                    failed[event.id] = Case(event.id, event.subject, event.file, event.line)
    except OSError:
        return Known()
    return known


class SuiteRuns:
    """A suite in one session of an environment.

    Args:
        grep: a pattern for titles of tests.
        known: kept from one session to the next.
    """

    def __init__(self, session: Session, grep: str | None, known: Known) -> None:
        self._session = session
        self._grep = grep
        self._known = known
        self._pushed = AsyncExitStack()
        self._suite: Suite | None = None  # as it is in the machine

    def changed(self) -> None:
        """The suite's folder holds something else now."""
        self._suite = None
        self._known.empty.clear()

    async def run(self, suite: Suite, selection: Selection, deadline: Deadline) -> Results:
        """Run tests; failed ones are no error here.

        Raises:
            GuestCommandError, MachineError, ServiceError: the suite could not be run.
        """
        run = SuiteRun(self._session, suite, deadline, TestSelection(self._grep))
        if self._suite != suite:
            await self.close()
            await push(run, self._pushed)
            self._suite = suite
        with _failures(self._session.bus) as failures:
            for part in self._parts(suite, selection, run.outcome):
                await run_invocation(run, part)
                whole = selection.kind == "all"
                self._known.learn(part.phase.name, run.outcome.phase(part.phase.name), whole=whole)
            return _tested(run, failures)

    def _parts(self, suite: Suite, selection: Selection, outcome: Outcome) -> Iterator[SuiteInvocation]:
        """What is to be run of each phase; a phase of which nothing is known to be is not begun."""
        for phase in suite.phases:
            if phase.name in self._known.empty:
                continue
            if selection.kind == "failed":
                if tests := self._known.failed.get(phase.name):
                    outcome.phase(phase.name).planned.update(tests)
                    yield SuiteInvocation(phase, phase.name, dict(tests))
                continue
            yield SuiteInvocation(phase, phase.name, files=tuple(sorted(selection.files)))

    async def prepare(self, suite: Suite, deadline: Deadline) -> str:
        """Start runner and browser for the next run; why that failed, or nothing."""
        first = next((phase for phase in suite.phases if phase.name not in self._known.empty), None)
        if first is None or not suite.prepare or self._suite != suite:
            return ""
        return await prepare_runner(SuiteRun(self._session, suite, deadline), first.name)

    async def close(self) -> None:
        """Take out what was plugged in for the suite."""
        pushed, self._pushed = self._pushed, AsyncExitStack()
        await pushed.aclose()


def _tested(run: SuiteRun, failures: dict[str, str]) -> Results:
    passed, failed = run.outcome.count("passed") + run.outcome.count("flaky"), run.outcome.count("failed")
    try:
        judged(run)
    except SuiteFailed as error:
        if not failures:
            failures[error.what] = (error.why or " ".join(error.evidence)).partition("\n")[0]
        failed = max(failed, 1)
    except NothingRan as error:
        if not failures:
            raise
        failures.setdefault(error.what, error.why)
    failed = max(failed, len(failures))
    return Results(passed, failed, tuple(f"{title}: {why}" if why else title for title, why in failures.items()))


def _first_line(text: str) -> str:
    return clean(clean(text, 4_000, multiline=True).strip().partition("\n")[0], LINE)


@contextmanager
def _failures(bus: EventBus) -> Iterator[dict[str, str]]:
    """What fails in the block, with why in a line; a test that passes at another attempt is taken out again."""
    found: dict[str, str] = {}

    def take(event: Event) -> None:
        match event:
            case TestEnded(subject=title, status=status, error=error) if status in FAILED_TESTS:
                found[title] = _first_line(error)
            case TestEnded(subject=title):
                found.pop(title, None)
            case SuiteError(error=error):
                found["the suite does not load"] = _first_line(error)
            case LogMatched(severity=Severity.FAILING, waiver="", subject=machine, line=line, explanation=why):
                found[f"machine {machine}: {why}"] = line

    unsubscribe = bus.subscribe(take)
    try:
        yield found
    finally:
        unsubscribe()
