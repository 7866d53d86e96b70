"""The browser tests of a run, as frozen data: attempts, tests, phases."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

FAILED_TESTS = frozenset({"failed", "timedOut", "interrupted"})
STATUSES = ("passed", "failed", "flaky", "skipped", "did_not_run")


def words(status: str) -> str:
    """A status as people read it."""
    return status.replace("_", " ")


@dataclass(frozen=True, slots=True)
class Attachment:
    """``path`` is relative to the run folder."""

    name: str
    path: str
    content_type: str


@dataclass(frozen=True, slots=True)
class Attempt:
    """One execution of a test; ``status`` is one of the words of docs/events.md."""

    status: str
    retry: int
    start: float
    end: float
    duration: float
    error: str
    attachments: tuple[Attachment, ...]

    @property
    def failed(self) -> bool:
        return self.status in FAILED_TESTS


@dataclass(frozen=True, slots=True)
class TestView:
    """A test with all its attempts in the order they ended; without one it did not run."""

    title: str
    phase: str
    file: str
    line: int
    attempts: tuple[Attempt, ...]

    @property
    def status(self) -> str:
        """One of `STATUSES`: passed only on a second attempt is flaky."""
        if not self.attempts:
            return "did_not_run"
        last = self.attempts[-1].status
        if last in FAILED_TESTS:
            return "failed"
        if last == "passed" and any(a.failed for a in self.attempts):
            # Again and no retry: it ran in several fresh states, and failed in one of them.
            return "flaky" if self.attempts[-1].retry else "failed"
        return last if last in STATUSES else "failed"

    @property
    def duration(self) -> float:
        return sum(a.duration for a in self.attempts)

    @property
    def first_failure(self) -> Attempt | None:
        """The first attempt that failed: later ones often show only its traces."""
        return next((a for a in self.attempts if a.failed), None)


@dataclass(frozen=True, slots=True)
class PhaseView:
    """One phase of the suite, or the tests of a driver, such as pytest: nobody reports their beginning and end.

    Attributes:
        state: the last that was reported; empty: none.
        reported: what it counted itself, by status.
        output: its last lines.
        errors: of no test.
        elsewhere: how many tests other shards have.
    """

    name: str
    start: float
    end: float
    state: str
    exit_code: int | None
    reported: Mapping[str, int]
    tests: tuple[TestView, ...]
    output: tuple[str, ...]
    errors: tuple[str, ...] = ()
    elsewhere: int = 0

    @property
    def unfinished(self) -> bool:
        """Whether it began and did not end."""
        return self.state not in ("", "finished")

    def count(self, status: str) -> int:
        """Tests of a status (`STATUSES`), or what the suite reported if no test was seen."""
        if not self.tests:
            return self.reported.get(status, 0)
        return sum(test.status == status for test in self.tests)

    @property
    def total(self) -> int:
        return sum(self.count(status) for status in STATUSES)
