"""A scenario on a running environment: each step is told as a test; faults end with the last one, or a failed one."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import replace

from orchestrator.deadline import FOREVER, Deadline, pause
from orchestrator.environment.session import Session
from orchestrator.environment.suite import judged, push, run_invocation
from orchestrator.environment.suite_run import SuiteInvocation, SuiteRun, TestSelection
from orchestrator.errors import GuestCommandError, OrchestratorError, SuiteFailed, UsageError
from orchestrator.events.suite import SuiteStateChanged, TestBegan, TestEnded
from orchestrator.faults.control import chosen
from orchestrator.patterns import found
from orchestrator.threads import in_thread
from orchestrator.topology.model import Topology
from orchestrator.topology.scenario import Scenario, Step, StepKind

AGAIN = 0.5  # seconds between two tries, before scaling
COMMAND_LIMIT = 30.0  # seconds of a command that is tried once, before scaling


def scenario_of(topology: Topology, name: str) -> Scenario:
    """The scenario of a name.

    Raises:
        UsageError: the topology has none.
    """
    scenario = topology.scenarios.get(name)
    if scenario is None:
        known = ", ".join(topology.scenarios) or "it has none"
        raise UsageError(f"the topology has no scenario {name!r}", why=f"its scenarios: {known}", hint="docs/faults.md")
    return scenario


class ScenarioRun:
    """One scenario that is run.

    Args:
        deadline: of everything that the command does.
    """

    def __init__(self, session: Session, scenario: Scenario, deadline: Deadline) -> None:
        self._session = session
        self._scenario = scenario
        self._deadline = deadline
        self._phase = f"scenario {scenario.name}"
        self._actions: dict[StepKind, Callable[[Step], Awaitable[None]]] = {
            StepKind.FAULT: self._fault,
            StepKind.END: self._end,
            StepKind.WAIT: self._wait,
            StepKind.COMMAND: self._command,
            StepKind.CHECK: self._check,
            StepKind.TESTS: self._tests,
        }

    async def run(self) -> None:
        """Do all steps; faults that are still on are ended, and what they were on is proven.

        Raises:
            SuiteFailed: a step did not come out as it should.
            OrchestratorError: the environment itself failed.
        """
        bus, clock = self._session.bus, Deadline.after(FOREVER)
        bus.emit(SuiteStateChanged(self._phase, state="running"))
        counts = {"passed": 0, "failed": 0, "did_not_run": 0}
        try:
            for number, step in enumerate(self._scenario.steps, 1):
                await self._told(number, step)
                counts["passed"] += 1
            for name in reversed(list(self._session.faults.control.book.active)):
                await self._session.faults.end(chosen(self._session.topology, name), "phase", self._deadline)
        except BaseException as error:
            await self._session.faults.interrupt()
            counts["failed"] = int(isinstance(error, SuiteFailed))
            counts["did_not_run"] = len(self._scenario.steps) - counts["passed"] - counts["failed"]
            raise
        finally:
            elapsed = round(clock.elapsed, 3)
            code = 0 if counts["passed"] == len(self._scenario.steps) else 1
            bus.emit(SuiteStateChanged(self._phase, state="finished", exit_code=code, elapsed=elapsed, **counts))

    async def _told(self, number: int, step: Step) -> None:
        bus, clock = self._session.bus, Deadline.after(FOREVER)
        title = f"{number} {step.title}"
        place = {"phase": self._phase, "id": str(number), "file": self._session.topology.path.name, "line": 0}
        bus.emit(TestBegan(title, index=number, total=len(self._scenario.steps), **place))  # type: ignore[arg-type]
        status, told = "passed", ""
        try:
            await self._actions[step.kind](step)
        except OrchestratorError as error:
            status, told = "failed", error.brief
            if isinstance(error, SuiteFailed):
                raise
            raise SuiteFailed(
                f"scenario {self._scenario.name} failed in step {number}: {step.title}",
                why=error.brief,
                where=error.where,
                evidence=error.evidence,
                hint=error.hint,
            ) from error
        except BaseException:
            status = "interrupted"
            raise
        finally:
            seconds = round(clock.elapsed, 3)
            bus.emit(TestEnded(title, status=status, duration=seconds, retry=0, error=told, **place))  # type: ignore[arg-type]

    # ------------------------------------------------------------------ steps

    async def _fault(self, step: Step) -> None:
        await self._session.faults.begin(chosen(self._session.topology, step.subject), self._deadline)

    async def _end(self, step: Step) -> None:
        await self._session.faults.end(chosen(self._session.topology, step.subject), "asked", self._deadline)

    async def _wait(self, step: Step) -> None:
        await pause(step.seconds, self._deadline)

    async def _command(self, step: Step) -> None:
        scale = self._session.scale
        limit = self._deadline.earlier(scale.limit(step.within or COMMAND_LIMIT))
        while True:
            why = await self._tried(step, limit)
            if not why:
                return
            if step.within is None or limit.expired:
                raise GuestCommandError(f"{step.command[0]} in {step.machine} did not end as it should", why=why)
            await pause(scale.interval(AGAIN), limit)

    async def _tried(self, step: Step, limit: Deadline) -> str:
        """Why the command did not end as it should; empty if it did."""
        agent = await self._session.machines[step.machine].ready_agent()
        done = await agent.exec(step.command, deadline=limit, user=step.user)
        if done.code != step.code:
            return f"it exited with {done.code}, not {step.code}: {done.complaint}"
        if step.stdout is not None and not await in_thread(found, f"(?m){step.stdout}", done.text):
            return f"its output is {done.text[:200]!r}, without /{step.stdout}/"
        return ""

    async def _check(self, step: Step) -> None:
        session, service = self._session, self._session.topology.services[step.subject]
        limit = self._deadline.earlier(session.scale.limit(step.within or service.timeout))
        while await session.services.passes(step.subject, limit) is not step.passes:
            if limit.expired:
                is_ = "not healthy" if step.passes else "healthy"
                raise GuestCommandError(f"service {step.subject} is {is_} after {limit}")
            await pause(session.scale.interval(AGAIN), limit)

    async def _tests(self, step: Step) -> None:
        suite = self._session.topology.suite
        assert suite is not None, "the topology was read with one"
        phase = next(one for one in suite.phases if one.name == step.phase)
        run = SuiteRun(self._session, suite, self._deadline, TestSelection(step.subject or None))
        await push(run)
        own = replace(phase, name=f"{self._scenario.name}-{phase.name}", stop=(), faults=())
        await run_invocation(run, SuiteInvocation(own, own.name), verify=False)
        judged(run)
