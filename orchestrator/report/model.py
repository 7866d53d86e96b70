"""What one run was, as frozen data; `orchestrator.report.fold` makes it from events.

All times are seconds since the epoch, all durations seconds. Texts are free of
control characters and bounded, but not quoted for any format.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

from orchestrator.report.model_tests import PhaseView, TestView

UP_STATES = frozenset({"healthy", "completed", "ready"})
BROKEN_STATES = frozenset({"failed", "panicked", "died"})
TESTS = 50_000  # of other shards that are counted
ACTIVE_STATES = frozenset({"starting", "checking", "booting", "restoring", "agent", "ssh"})


@dataclass(frozen=True, slots=True)
class Interval:
    """A state something was in, from ``start`` to ``end``."""

    state: str
    start: float
    end: float
    detail: str = ""

    @property
    def seconds(self) -> float:
        return self.end - self.start


@dataclass(frozen=True, slots=True)
class CheckView:
    """The last result of one check; ``attempts`` is how often it was made."""

    name: str
    ok: bool
    message: str
    attempts: int
    elapsed: float


@dataclass(frozen=True, slots=True)
class Timed:
    """What machines and services have in common: a name and states over time.

    Attributes:
        seconds: from the first start to the first time it was up, None if it never was.
    """

    name: str
    intervals: tuple[Interval, ...]
    seconds: float | None

    @property
    def state(self) -> str:
        """The last state, ``pending`` when none was ever reported."""
        return self.intervals[-1].state if self.intervals else "pending"

    @property
    def detail(self) -> str:
        """The detail of its last state."""
        return self.intervals[-1].detail if self.intervals else ""

    @property
    def began(self) -> float | None:
        """When it was first started, None when it was never reached."""
        return next((i.start for i in self.intervals if i.state not in ("pending", "skipped")), None)

    @property
    def up_at(self) -> float | None:
        """When it was first up."""
        return next((i.start for i in self.intervals if i.state in UP_STATES), None)

    @property
    def broken(self) -> Interval | None:
        """The first interval in a state of failure."""
        return next((i for i in self.intervals if i.state in BROKEN_STATES), None)


@dataclass(frozen=True, slots=True)
class MachineView(Timed):
    """A machine; ``memory`` in MiB, 0 and "" where the plan did not say."""

    image: str = ""
    cpus: int = 0
    memory: int = 0


@dataclass(frozen=True, slots=True)
class ServiceView(Timed):
    machine: str = ""
    kind: str = ""
    unit: str = ""
    depends_on: tuple[str, ...] = ()
    checks: tuple[CheckView, ...] = ()


@dataclass(frozen=True, slots=True)
class ImageView:
    name: str
    provider: str
    key: str
    state: str
    seconds: float | None
    detail: str
    output: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Screenshot:
    """``path`` is relative to the run folder."""

    machine: str
    path: str
    step: str
    at: float


@dataclass(frozen=True, slots=True)
class LogMatch:
    """A line of a console or journal that matched a known pattern.

    Attributes:
        severity: ``fatal``, ``failing``, ``suspicious`` or ``noted``.
        waiver: the reason why it does not count; empty: it does.
    """

    machine: str
    pattern: str
    line: str
    explanation: str
    at: float
    severity: str = ""
    waiver: str = ""


@dataclass(frozen=True, slots=True)
class FaultView:
    """A fault of the run.

    Attributes:
        kind: as in the topology; ``capture`` breaks nothing.
        keys: its keys and values; ``told``: what its engine said, at the end where it has ended.
        end: of it, or of the run.
        reason: why it ended; empty: it was on to the end of the run.
        recovered: seconds from its end until all was healthy; None: never, or nothing had to.
        within: seconds that this may take; None: the limits of the services.
        path: the file that it made, relative to the run folder.
    """

    name: str
    kind: str
    on: str
    keys: str
    told: str
    start: float
    end: float
    reason: str = ""
    recovered: float | None = None
    within: float | None = None
    path: str = ""

    @property
    def seconds(self) -> float:
        return self.end - self.start

    def was_on(self, start: float, end: float) -> bool:
        """Whether it was on at any time of an interval."""
        return self.start < end and start < self.end


@dataclass(frozen=True, slots=True)
class Note:
    message: str
    level: str
    at: float


@dataclass(frozen=True, slots=True)
class Revision:
    """What a part of the run was: ``kind`` is ``topology``, ``suite``, ``layer NAME``, ``image NAME``, ``QEMU``, …

    Attributes:
        digest: equal digests are the same thing.
        label: its commit, where it has one.
        folder: where it was on the host; may be empty.
    """

    kind: str
    digest: str
    label: str = ""
    folder: str = ""


@dataclass(frozen=True, slots=True)
class Failure:
    """An `OrchestratorError` as it was reported; ``subject`` names what it is about."""

    subject: str
    type: str
    what: str
    why: str
    where: tuple[str, ...]
    hint: str
    evidence: tuple[str, ...]
    exit_code: int | None
    at: float


@dataclass(frozen=True, slots=True)
class Wait:
    """The last heartbeat of a wait, ``at`` its time; ``what`` names the subject too."""

    what: str
    elapsed: float
    limit: float
    last: str
    at: float


@dataclass(frozen=True, slots=True)
class RunView:
    """Everything that is known about a run.

    Attributes:
        outcome: a word of docs/events.md; ``interrupted`` when the stream just ends.
        exit_code: None if the run did not report one.
        finished: whether ``run.finished`` was seen.
        started, ended: of the first and the last event; 0 for an empty stream.
        ready_after: seconds to ready, None when it never was.
        dropped: how many entries were beyond the bounds of this view.
    """

    run_id: str
    environment: str
    command: str
    variant: str
    provider: str
    topology: str
    version: str
    accelerator: str
    accelerator_reason: str
    time_scale: float
    qemu: str
    outcome: str
    exit_code: int | None
    finished: bool
    started: float
    ended: float
    elapsed: float
    ready_at: float | None
    ready_after: float | None
    images: tuple[ImageView, ...]
    told_revisions: tuple[Revision, ...]
    networks: Mapping[str, str]
    machines: tuple[MachineView, ...]
    services: tuple[ServiceView, ...]
    phases: tuple[PhaseView, ...]
    screenshots: tuple[Screenshot, ...]
    log_matches: tuple[LogMatch, ...]
    notes: tuple[Note, ...]
    failures: tuple[Failure, ...]
    waiting: Wait | None
    dropped: int
    faults: tuple[FaultView, ...] = ()

    @property
    def revisions(self) -> tuple[Revision, ...]:
        """Everything that the run was made of, as far as it is known; the same set ran the same thing."""
        images = (Revision(f"image {image.name}", image.key) for image in self.images if image.key)
        own = (Revision("QEMU", self.qemu), Revision("orchestrator", self.version))
        return (*self.told_revisions, *images, *(one for one in own if one.digest))

    @property
    def tests(self) -> tuple[TestView, ...]:
        return tuple(test for phase in self.phases for test in phase.tests)

    def count(self, status: str) -> int:
        """Tests of a status over all phases."""
        return sum(phase.count(status) for phase in self.phases)

    @property
    def cause(self) -> str:
        """One sentence: why the run ended as it did; empty for a passed run."""
        failed = [test for test in self.tests if test.status == "failed"]
        if self.failures:
            return self.failures[0].what
        if failed:
            unrun = self.count("did_not_run")
            rest = f", {unrun} did not run" if unrun else ""
            return f"{len(failed)} of {len(self.tests)} tests failed{rest}, first: {failed[0].title}"
        if self.outcome == "interrupted":
            parts = (*self.machines, *self.services)
            wait = self.waiting
            # a heartbeat is stale once what it names came up after it
            if wait is not None and not any(
                part.name in re.split(r"[\s:,]+", wait.what)
                and any(i.state in UP_STATES and i.start >= wait.at for i in part.intervals)
                for part in parts
            ):
                last = f" (last answer: {wait.last})" if wait.last else ""
                return f"ended while waiting for {wait.what}{last}"
            active = [part.name for part in parts if part.state in ACTIVE_STATES]
            if active:
                return f"ended while these were starting: {', '.join(active)}"
            return "ended before it was finished"
        if self.outcome == "nothing-ran":
            others = sum(phase.elsewhere for phase in self.phases)
            return f"its shard is empty, other shards have all {others} tests" if others else "no test ran"
        if self.outcome == "suspicious":
            marked = next((s for s in self.log_matches if s.severity == "suspicious" and not s.waiver), None)
            return f"{marked.explanation} ({marked.pattern}, machine {marked.machine})" if marked else ""
        return "" if self.outcome == "passed" else "the cause was not reported"
