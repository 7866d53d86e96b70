"""Events of the browser suite."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from orchestrator.events.base import Event, event_kind

IsolationState = Literal["restoring", "ready"]
SuiteState = Literal["starting", "running", "finished"]
Stream = Literal["stdout", "stderr"]


@dataclass(frozen=True, slots=True)
class Attachment:
    """A file that a test left; ``path`` relative to the run folder."""

    name: str
    path: str
    content_type: str


@event_kind("isolation.state")
class IsolationStateChanged(Event):
    """`run --isolate`: all machines go back to the saved state, so that the next tests find a fresh one.

    Attributes:
        subject: environment
        state: before and after
        number: which fresh state, from 1
        total: how many this run has
        elapsed: how many seconds it took
    """

    state: IsolationState
    number: int
    total: int
    elapsed: float | None = None


@event_kind("suite.state")
class SuiteStateChanged(Event):
    """A phase of the suite begins or ends; the counts are of the phase so far.

    Attributes:
        subject: phase
        state: the new state
        exit_code: exit code of the suite's command
        passed: tests that passed
        failed: tests that failed
        flaky: tests that passed when tried again
        skipped: tests that the suite itself skips
        did_not_run: tests that were to run and did not
        elapsed: seconds since the phase began
    """

    state: SuiteState
    exit_code: int | None = None
    passed: int | None = None
    failed: int | None = None
    flaky: int | None = None
    skipped: int | None = None
    did_not_run: int | None = None
    elapsed: float | None = None

    @property
    def counts(self) -> dict[str, int]:
        """Those that were told, by status."""
        counts = {
            "passed": self.passed,
            "failed": self.failed,
            "flaky": self.flaky,
            "skipped": self.skipped,
            "did_not_run": self.did_not_run,
        }
        return {status: count for status, count in counts.items() if count is not None}


@event_kind("suite.output")
class SuiteOutput(Event):
    """A line that the suite printed.

    Attributes:
        subject: phase
        line: the line, without the newline
        stream: where it was printed
    """

    line: str
    stream: Stream


@event_kind("suite.error")
class SuiteError(Event):
    """An error of no test: a spec file that does not load, a failed global setup.

    Attributes:
        subject: phase
        error: the runner's message
    """

    error: str


@event_kind("test.planned")
class TestPlanned(Event):
    """A test that will run. One without `test.end` did not.

    Attributes:
        subject: test title (`file › describe › title`)
        phase: the suite's phase
        id: the runner's id of the test
        file: spec file, relative to the suite
        line: line in that file
        other_shard: whether another shard runs it
    """

    phase: str
    id: str
    file: str
    line: int
    other_shard: bool = False


@event_kind("test.begin")
class TestBegan(Event):
    """A test begins.

    Attributes:
        subject: test title
        phase: the suite's phase
        id: the runner's id of the test
        file: spec file, relative to the suite
        line: line in that file
        index: its number among the planned tests, from 1; absent: it was not planned
        total: how many tests are planned
    """

    phase: str
    id: str
    file: str
    line: int
    index: int = 0
    total: int = 0


@event_kind("test.end")
class TestEnded(Event):
    """An attempt of a test ended.

    Attributes:
        subject: test title
        phase: the suite's phase
        id: the runner's id of the test
        file: spec file, relative to the suite
        line: line in that file
        status: result of this attempt, `passed`, `failed`, `flaky`, `skipped`, `timedOut`, `interrupted`
        duration: how many seconds it took
        retry: which attempt; 0 is the first
        error: why it failed
        attachments: files of this attempt
    """

    phase: str
    id: str
    file: str
    line: int
    status: str
    duration: float
    retry: int
    error: str = ""
    attachments: tuple[Attachment, ...] = ()
