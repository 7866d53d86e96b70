"""Opening and closing an environment."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable
from contextlib import AsyncExitStack, suppress
from typing import Self

from orchestrator.deadline import Deadline
from orchestrator.debug import LIBRARIES, debug_log
from orchestrator.driver.background import BackgroundTasks
from orchestrator.driver.fleet import Fleet
from orchestrator.driver.records import Records
from orchestrator.driver.request import KEEP, checked
from orchestrator.environment import up
from orchestrator.environment.evidence import add_machine_status, collect_all
from orchestrator.environment.plan import Request
from orchestrator.environment.run_events import emit_failure, finish, over_limit
from orchestrator.environment.up import bring_up, close_down, open_environment
from orchestrator.errors import HostError, OrchestratorError, UsageError
from orchestrator.events import Event, EventBus
from orchestrator.events.run import RunOutcome
from orchestrator.history.filling import record
from orchestrator.report.write import write_report

LIMIT = 7200.0  # seconds of an opening, images included
EVENTS_KEPT = 20_000


class EnvironmentLife(Records):
    """An environment from its opening to its end."""

    def __init__(
        self,
        request: Request,
        *,
        keep: str = "never",
        boot: bool = True,
        units: bool = True,
        subscriber: Callable[[Event], object] | None = None,
    ) -> None:
        self._request, self._name = request, request.name
        self._keep = checked("keep", keep, KEEP)
        self._boot, self._units = boot, units
        self._stack, self._tasks = AsyncExitStack(), BackgroundTasks()
        self._opened: up.Environment | None = None
        self._fleet: Fleet | None = None
        self._events: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self._subscribers = [self._events.append, *([] if subscriber is None else [subscriber])]
        self._bus = EventBus()
        self._deadline = Deadline.after(LIMIT)
        self._clones = 0
        self._joined = False
        self._failed = False
        self._error: OrchestratorError | None = None

    async def open(self) -> Self:
        """Bring it up; ``with`` does it. Return when every service is proven. One that was closed may be opened again.

        Raises:
            LockedError: another command, or another driver, holds it.
            HostError, ImageError, MachineError, ServiceError: it does not come up.
        """
        if self._opened is not None:
            raise UsageError(f"environment {self.name} is open already")
        self._stack, self._tasks, before = AsyncExitStack(), BackgroundTasks(), self._fleet
        self._deadline, self._failed, self._error = Deadline.after(LIMIT), False, None
        self._bus = EventBus()  # nothing of an opening before listens to this one
        for subscriber in self._subscribers:
            self._bus.subscribe(subscriber)
        debug_log.configure(loggers=LIBRARIES)
        try:
            self._opened = await self._stack.enter_async_context(
                open_environment(self._request, self._bus, self._deadline)
            )
            self._joined = self._opened.resumed
            await self._tasks.open()
            self._fleet = Fleet(self._opened, self._tasks, units=self._units, before=before)
            try:
                if self._boot or self._opened.resumed:
                    await bring_up(self._opened, self._deadline)
                    self._fleet.follow_all()
                else:
                    await self._fleet.prepare(self._deadline)
            except OrchestratorError as error:
                raise await self._explained(error) from None
        except BaseException:
            self._failed = True
            await self.close()
            raise
        return self

    async def _explained(self, error: OrchestratorError) -> OrchestratorError:
        """The error of an opening, told and with its evidence collected."""
        assert self._opened is not None
        session = self._opened.session
        told = over_limit(error, self._deadline)
        await add_machine_status(session.machines.values(), told)
        emit_failure(told, self._bus)
        await collect_all(session, "failure")
        told.shown = False  # it is raised, and whoever catches it shows it
        self._error = told
        return told

    def fail(self, error: OrchestratorError | None = None) -> None:
        """Count this session as failed, for ``keep="failure"`` and the report; by an error where no test failed."""
        self._failed, self._error = True, error

    async def close(self) -> None:
        """Take it down, or leave it as ``keep`` says, and write the reports; ``with`` does it. Idempotent."""
        opened, self._opened = self._opened, None
        if opened is None:  # it never came so far
            await self._tasks.close()
            await self._stack.aclose()
            debug_log.leave()
            return
        session = opened.session
        await session.faults.interrupt()
        if self._fleet is not None:
            await self._fleet.release()
        await self._tasks.close()
        try:
            stays = opened.resumed or self._keep == "always" or (self._keep == "failure" and self._failed)
            if not (stays and (opened.resumed or opened.worth_keeping)):
                await close_down(opened)
            finish(self._bus, self.name, *self._outcome(), self._deadline)
        finally:
            await self._stack.aclose()
            debug_log.leave()
            with suppress(OSError):  # a full disk must not hide how it went
                write_report(session.run_folder)
            with suppress(OrchestratorError):  # it is read with the next look at the history
                record(session.run_folder)

    def _outcome(self) -> tuple[RunOutcome, int]:
        if not self._failed or self._error is None:
            return ("failed", 1) if self._failed else ("passed", 0)
        code = self._error.exit_code
        return "interrupted" if code > 128 else "error", code

    @property
    def name(self) -> str:
        """The environment's name."""
        return self._request.name

    @property
    def _whole(self) -> Fleet:
        if self._fleet is None or self._opened is None:
            raise HostError(f"environment {self.name} is not open", hint="with Environment.load(…) as env: …")
        return self._fleet
