"""The loop of `dev`: wait for a change, bring it in, run tests, tell, and again. No failure ends it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any, Protocol

from orchestrator.deadline import monotonic
from orchestrator.dev.changes import ALL, FAILED, Changes, Selection, Sources, classify, selection_for
from orchestrator.dev.inbox import Inbox, Wake
from orchestrator.errors import OrchestratorError
from orchestrator.events import EventBus
from orchestrator.events.dev import DevCycleEnded, DevOutcome, DevState, DevStateChanged
from orchestrator.tasks import run_with_watchdogs

FAILURES_KEPT = 20
WORDS = {"r": "r pressed", "a": "all tests", "f": "failed tests", "R": "reset"}


@dataclass(frozen=True, slots=True)
class Results:
    """How tests went.

    Attributes:
        failures: of each failed test its title and the first line of its error.
    """

    passed: int = 0
    failed: int = 0
    failures: tuple[str, ...] = ()


class Target(Protocol):
    """The environment that the loop works on."""

    @property
    def name(self) -> str:
        """The environment's name."""

    @property
    def sources(self) -> Sources:
        """Where changes are looked for; others after a change of the topology."""

    @property
    def run_folder(self) -> Path | None:
        """Where the evidence of this round is."""

    @property
    def any_failed(self) -> bool:
        """Whether tests are known to have failed last."""

    @property
    def has_tests(self) -> bool:
        """Whether there is a suite."""

    async def deploy(self, changes: Changes, *, reset: bool) -> str:
        """Bring all of it up, with what changed; what was done, or nothing where there was nothing to do."""

    def described(self, selection: Selection) -> str:
        """Which tests those are, for people."""

    async def test(self, selection: Selection) -> Results:
        """Run tests."""

    async def failed(self, error: OrchestratorError) -> None:
        """Tell an error, and keep its evidence."""

    async def after_round(self, ended: DevCycleEnded) -> None:
        """What can be done while nobody waits: reports, a browser for the next tests."""

    async def watched(self, work: Coroutine[Any, Any, Wake]) -> Wake:
        """Wait, and raise when a machine is lost meanwhile."""


class Superseded(Exception):
    """The files under test are not the newest any more."""


@dataclass(slots=True)
class _Round:
    """A round as far as it has come."""

    number: int
    cause: str
    began: float
    deployed: str = ""
    deploy_seconds: float = 0.0
    tests: str = ""
    test_seconds: float = 0.0
    tested: Results = field(default_factory=Results)


class Loop:
    """Rounds, until somebody quits.

    Args:
        only_failed: run failed tests first, as long as there are any.
        explained: makes an error of whatever was raised.
        shell: opens a shell, and returns when it is left.

    Attributes:
        last: how the last round ended.
    """

    def __init__(
        self,
        target: Target,
        inbox: Inbox,
        bus: EventBus,
        *,
        only_failed: bool = False,
        explained: Callable[[Exception], OrchestratorError],
        shell: Callable[[], Awaitable[None]],
    ) -> None:
        self._target = target
        self._inbox = inbox
        self._bus = bus
        self._only_failed = only_failed
        self._explained = explained
        self._shell = shell
        self._number = 0
        self._selection = ALL
        self._owed: Selection | None = None  # tests that a change asked for, and that did not run
        self._late = Changes()  # what could not be brought in
        self.last: DevOutcome = "passed"

    async def run(self) -> None:
        """Bring all up, test, and go on with each change; return when somebody quits."""
        self._announce("starting")
        await self._round(Wake(at=monotonic()), FAILED if self._only_failed and self._target.any_failed else ALL)
        while (wake := await self._next()).key != "q":
            if wake.key == "s":
                await self._shell()
            if wake.key != "s" or wake.paths:
                await self._round(replace(wake, key=wake.key.replace("s", "")), None)

    async def _next(self) -> Wake:
        """The next reason to go on; the loss of a machine is told."""
        try:
            return await self._target.watched(self._inbox.next())
        except Exception as cause:  # noqa: BLE001 - a lost machine must not end the loop
            await self._target.failed(self._explained(cause))
            return await self._inbox.next()

    def _announce(self, state: DevState, detail: str = "") -> None:
        self._bus.emit(DevStateChanged(self._target.name, state=state, detail=detail))

    # ------------------------------------------------------------------ one round

    async def _round(self, wake: Wake, selection: Selection | None) -> None:
        changes = classify(wake.paths, self._target.sources)
        if wake.paths and not changes and not wake.key:
            return  # files that are in no layer
        self._number += 1
        cause = ", ".join(text for text in (changes.text, WORDS.get(wake.key, "")) if text) or "start"
        ended = await self._tried(_Round(self._number, cause, wake.at), changes, wake.key, selection)
        self.last = ended.outcome if ended.outcome != "unchanged" else self.last
        self._bus.emit(ended)
        await self._after_round(ended)

    async def _after_round(self, ended: DevCycleEnded) -> None:
        async def heard() -> None:
            await self._inbox.arrived()
            raise Superseded

        self._announce("waiting")
        try:
            await run_with_watchdogs(self._target.after_round(ended), [heard])
        except Superseded:
            pass
        except Exception as cause:  # noqa: BLE001 - it is told
            await self._target.failed(self._explained(cause))

    async def _tried(self, this: _Round, changes: Changes, key: str, selection: Selection | None) -> DevCycleEnded:
        """The round, and what came of it."""
        outcome: DevOutcome
        error = ""
        try:
            outcome = await self._done(this, changes, key, selection)
        except Superseded:
            outcome = "superseded"
        except Exception as cause:  # noqa: BLE001 - whatever fails, the next save tries again
            known = self._explained(cause)
            outcome, error = "error", known.brief
            await self._target.failed(known)
        return DevCycleEnded(
            self._target.name,
            number=this.number,
            outcome=outcome,
            cause=this.cause,
            deployed=this.deployed,
            deploy_seconds=round(this.deploy_seconds, 3),
            tests=this.tests,
            passed=this.tested.passed,
            failed=this.tested.failed,
            test_seconds=round(this.test_seconds, 3),
            elapsed=round(monotonic() - this.began, 3),
            failures=this.tested.failures[:FAILURES_KEPT],
            error=error,
            run_folder=str(self._target.run_folder or ""),
        )

    async def _done(self, this: _Round, changes: Changes, key: str, selection: Selection | None) -> DevOutcome:
        wanted, owed = selection or self._wanted(changes, key), self._owed is not None
        everything = _both(self._late, changes)
        self._owed, self._late = wanted, everything
        began = monotonic()
        self._announce(*(("deploying", this.cause) if self._number > 1 else ("starting", "")))
        try:
            this.deployed = await self._target.deploy(everything, reset=key == "R")
        finally:
            this.deploy_seconds = monotonic() - began
        self._late = Changes()
        asked = changes.suite or key or owed or selection is not None
        if not this.deployed and not asked:
            self._owed = None
            return "unchanged"
        if not self._target.has_tests:
            self._owed = None
            return "passed"
        return await self._tests(this, wanted)

    def _wanted(self, changes: Changes, key: str) -> Selection:
        if key == "f":
            return FAILED if self._target.any_failed else ALL
        if key in ("a", "R"):
            return ALL
        found = selection_for(changes, only_failed=self._only_failed and self._target.any_failed)
        if key == "r":
            found = self._selection if not changes else self._selection | found
        return found if self._owed is None else self._owed | found

    async def _tests(self, this: _Round, selection: Selection) -> DevOutcome:
        async def newer() -> None:
            await self._inbox.arrived()
            raise Superseded

        this.tests = self._target.described(selection)
        self._announce("testing", this.tests)
        began = monotonic()
        try:
            tested = await run_with_watchdogs(self._target.test(selection), [newer])
        finally:
            this.test_seconds = monotonic() - began
        self._owed, self._selection = None, selection
        this.tested = tested
        return "failed" if tested.failed else "passed"


def _both(one: Changes, other: Changes) -> Changes:
    """What was changed in either; a file that is gone by now is no spec file any more."""
    return replace(
        other,
        layers=one.layers | other.layers,
        specs=one.specs | other.specs,
        support=one.support or other.support,
        topology=one.topology or other.topology,
    )
