"""One run of a browser suite: what it runs on, which tests, until when, and how it went so far."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.deadline import Deadline
from orchestrator.environment.machine import LiveMachine
from orchestrator.environment.session import Session
from orchestrator.environment.suite_events import Case
from orchestrator.environment.suite_tally import Outcome
from orchestrator.events import EventBus
from orchestrator.events.run import Level, Note
from orchestrator.guest.ssh import Ssh
from orchestrator.timescale import TimeScale
from orchestrator.topology.model import Suite, SuitePhase
from orchestrator.trace_context import VARIABLE, TraceContext

GUEST_SUITES = "/opt/e2e/suites"


@dataclass(frozen=True, slots=True)
class SuiteInvocation:
    """One invocation of the suite's command.

    Attributes:
        label: what its artifacts are named after; the phase's name, or that with a number.
        tests: which ones, by id; None for the whole phase.
        files: only tests of these spec files, relative to the suite; none for all.
        last: of the whole run: what the phase stopped is then started again.
    """

    phase: SuitePhase
    label: str
    tests: Mapping[str, Case] | None = None
    last: bool = True
    files: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class TestSelection:
    """Which of the suite's tests a run is about.

    Attributes:
        grep: a pattern for their titles.
        shard: ``1/3``: the first third of them, as the suite's runner divides them.
    """

    grep: str | None = None
    shard: str | None = None

    @property
    def sharding(self) -> list[str]:
        """Words for the runner; none where tests are named: those were chosen from the listed shard."""
        return [f"--shard={self.shard}"] if self.shard else []


@dataclass(frozen=True, slots=True)
class SuiteRun:
    """A suite that is run in an environment.

    Attributes:
        deadline: of everything that the command does.
        outcome: what was counted so far.
        traceparent: the trace that this program was called in.
    """

    session: Session
    suite: Suite
    deadline: Deadline
    selection: TestSelection = TestSelection()
    outcome: Outcome = field(default_factory=Outcome)
    traceparent: str = ""

    @property
    def machine(self) -> LiveMachine:
        """The machine that the suite runs in."""
        return self.session.machines[self.suite.machine]

    @property
    def bus(self) -> EventBus:
        return self.session.bus

    @property
    def scale(self) -> TimeScale:
        return self.session.scale

    @property
    def guest_folder(self) -> str:
        """Where the suite is in its machine."""
        return f"{GUEST_SUITES}/{self.suite.path.resolve().name}"

    @property
    def artifacts(self) -> Path:
        """Where its artifacts are brought, on the host."""
        return self.session.run_folder / "playwright"

    @property
    def scales(self) -> bool:
        """Whether the limits of the suite's configuration are multiplied: on slow hosts, unless it does so itself."""
        return self.suite.scale_timeouts and self.scale.slow

    async def ssh(self) -> Ssh:
        """The SSH connection to the suite's machine."""
        return await self.machine.ssh()

    def within(self, seconds: float) -> Deadline:
        """A deadline so many scaled seconds from now, never later than the run's."""
        return self.deadline.earlier(self.scale.limit(seconds))

    def environment(self, label: str) -> dict[str, str]:
        """The variables of the suite's command."""
        return {
            "HOME": f"/home/{self.suite.user}",
            "CI": "1",
            "ARTIFACT_DIR": self.suite.artifacts,
            "E2E_PHASE": label,
            "E2E_TIME_FACTOR": f"{self.scale.factor:g}",
            "E2E_SCALE": "1" if self.scales else "",
            VARIABLE: TraceContext.of(self.session.run_folder.name, self.traceparent).of_suite,
            **self.suite.environment,
        }

    def note(self, level: Level, message: str) -> None:
        """Report something about the run."""
        self.bus.emit(Note(level=level, message=message))
