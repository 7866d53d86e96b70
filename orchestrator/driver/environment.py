"""An environment as an object: opened, driven, closed."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator, Mapping
from contextlib import AsyncExitStack, suppress
from dataclasses import replace
from pathlib import Path
from typing import Self

from orchestrator.deadline import Deadline
from orchestrator.debug import LIBRARIES, debug_log
from orchestrator.driver.background import BackgroundTasks
from orchestrator.driver.fleet import Fleet
from orchestrator.driver.machine import Machine
from orchestrator.driver.records import Records
from orchestrator.driver.request import KEEP, checked, from_file, of_running
from orchestrator.driver.services import Service
from orchestrator.driver.shell import python_name
from orchestrator.environment.evidence import add_machine_status, collect_all
from orchestrator.environment.plan import Request
from orchestrator.environment.reset import chosen
from orchestrator.environment.run_events import emit_failure, finish, over_limit
from orchestrator.environment.saving import save
from orchestrator.environment.up import Environment as Opened
from orchestrator.environment.up import bring_up, close_down, open_environment
from orchestrator.errors import HostError, OrchestratorError, UsageError
from orchestrator.events import Event, EventBus
from orchestrator.events.run import RunOutcome
from orchestrator.report.write import write_report
from orchestrator.snapshots.manifest import HEALTHY
from orchestrator.snapshots.store import check_name, point_name

LIMIT = 7200.0  # seconds of an opening, images included
EVENTS_KEPT = 20_000


class Environment(Records):
    """A set of machines, and the services on them.

    Made by `load` or `attach`, opened and closed by ``with``::

        with Environment.load("orchestrator.toml") as env:
            env.server.succeed("systemctl is-active nginx")

    Machines are attributes (``env.server``; a name that is no identifier has ``_`` in place of the other characters)
    and items (``env["client-2"]``).
    """

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
        self._opened: Opened | None = None
        self._fleet: Fleet | None = None
        self._events: deque[Event] = deque(maxlen=EVENTS_KEPT)
        self._subscribers = [self._events.append, *([] if subscriber is None else [subscriber])]
        self._bus = EventBus()
        self._deadline = Deadline.after(LIMIT)
        self._clones = 0
        self._joined = False
        self._failed = False
        self._error: OrchestratorError | None = None

    # ------------------------------------------------------------------ making one

    @classmethod
    def load(  # noqa: PLR0913 - the options of `orchestrator up`
        cls,
        file: str | Path = "orchestrator.toml",
        *,
        variant: str | None = None,
        name: str | None = None,
        app: str | Path | None = None,
        suite: str | Path | None = None,
        start: str = "auto",
        keep: str = "never",
        images: str = "auto",
        runs: str | Path = "runs",
        free_ports: bool = False,
    ) -> Self:
        """An environment of a topology file. Opening it brings it up until every service is proven.

        One that runs already under this name is joined, and stays up when it is closed.

        Args:
            variant: of the topology; None: the file's own.
            name: of the environment; several run side by side. None: the topology's.
            app: another application package in place of the file's.
            suite: another browser suite in place of the file's.
            start: ``"auto"`` (from a saved healthy state where one fits), ``"warm"`` (or not at all), ``"cold"``.
            keep: whether the machines stay when it is closed: ``"never"``, ``"failure"`` (of the block), ``"always"``.
            images: the provider, as ``--images``.
            runs: the folder of run folders.
            free_ports: forward free ports of this host in place of the file's, so that several can run.

        Raises:
            TopologyError: the file is wrong; every mistake is told.
        """
        request = from_file(
            file, variant=variant, name=name, app=app, suite=suite, start=start, images=images, runs=runs
        )
        if free_ports:
            request = replace(request, topology=request.topology.with_free_ports())
        return cls(request, keep=keep)

    @classmethod
    def attach(cls, name: str | None = None, *, runs: str | Path = "runs") -> Self:
        """An environment that runs already, however it was started. It stays up when it is closed.

        Args:
            name: of the environment; None: the only one there is.

        Raises:
            HostError: it does not run.
        """
        return cls(of_running(name, runs), keep="always")

    def clone(self, name: str | None = None) -> Self:
        """Another environment from the healthy state of this one, to be opened. Their memory is shared, copy on write.

        Args:
            name: of the clone; None: this one's name and a number.
        """
        self._clones += 1
        topology = self._request.topology.with_free_ports()
        own = name or f"{self.name}-clone{self._clones}"
        return type(self)(replace(self._request, topology=topology, name=own, start="warm"), keep="never")

    # ------------------------------------------------------------------ opening and closing

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
            self._fleet = Fleet(self._opened, self._tasks, self._request, units=self._units, before=before)
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

    def emit(self, event: Event) -> None:
        """Tell an event to all who follow this session, as that a test ended; from any thread."""
        self._bus.emit(event)

    def fail(self, error: OrchestratorError | None = None) -> None:
        """Count this session as failed, for ``keep="failure"`` and the report; by an error where no test failed."""
        self._failed, self._error = True, error

    async def close(self) -> None:
        """Take it down, or leave it as ``keep`` says, and write the reports; ``with`` does it. Idempotent."""
        opened, self._opened = self._opened, None
        if opened is None:
            await self._tasks.close()
            await self._stack.aclose()
            return
        session = opened.session
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

    def _outcome(self) -> tuple[RunOutcome, int]:
        if not self._failed or self._error is None:
            return ("failed", 1) if self._failed else ("passed", 0)
        code = self._error.exit_code
        return "interrupted" if code > 128 else "error", code

    # ------------------------------------------------------------------ parts

    @property
    def name(self) -> str:
        """The environment's name."""
        return self._request.name

    @property
    def machines(self) -> Mapping[str, Machine]:
        """All machines by their names in the topology."""
        return self._whole.machines

    @property
    def services(self) -> Mapping[str, Service]:
        """All services by their names in the topology."""
        return self._whole.services

    @property
    def factor(self) -> float:
        """What all limits are multiplied with on this host: 1 with KVM, about 10 where machines are emulated."""
        return self._session.scale.factor

    def __getitem__(self, name: str) -> Machine:
        """A machine by its name.

        Raises:
            UsageError: no machine has it.
        """
        found = self.machines.get(name)
        if found is None:
            raise UsageError(f"no machine is named {name!r}", why=f"machines are {', '.join(self.machines)}")
        return found

    def __getattr__(self, name: str) -> Machine:
        """A machine by its name as an identifier.

        Raises:
            AttributeError: no machine has it.
        """
        if not name.startswith("_"):
            for each in self._request.topology.machines:
                if python_name(each) == name:
                    return self.machines[each]
        known = ", ".join(map(python_name, self._request.topology.machines))
        raise AttributeError(f"an environment has no {name!r}; its machines are {known}")

    def __iter__(self) -> Iterator[str]:
        """The names of the machines."""
        return iter(self._request.topology.machines)

    # ------------------------------------------------------------------ the state of the whole

    async def start_all(self) -> None:
        """Start every machine that is off. It returns before they are up; the next call of each waits for it."""
        for machine in self.machines.values():
            await machine.start()

    async def wait_ready(self) -> None:
        """Wait until every machine is up and every service is proven.

        Raises:
            MachineError, ServiceError: one does not come up.
        """
        await self._whole.wait_ready()

    async def reset(self) -> None:
        """Put all machines back to the healthy state, as it was saved when the environment came up.

        Raises:
            SnapshotError: there is none.
            MachineError, ServiceError: it does not come back healthy.
        """
        await self.restore(HEALTHY)

    async def restore(self, name: str) -> None:
        """Put all machines back to a snapshot. Open commands end with an error; connections are made anew.

        Args:
            name: as given to `snapshot`.

        Raises:
            UsageError: there is none of this name.
            SnapshotError: it is damaged, or was taken of something else.
        """
        snapshot = chosen(self._session.record.state, name)
        await self._whole.restore(snapshot, Deadline.after(LIMIT))

    async def snapshot(self, name: str) -> None:
        """Save all machines at one moment, while they run. They are paused for tenths of a second.

        Args:
            name: letters, digits and hyphens; not one of this environment's yet.

        Raises:
            SnapshotError: the name is taken, or a machine cannot be saved.
        """
        check_name(name)
        session = self._session
        deadline = Deadline.after(LIMIT)
        await self._whole.guard_all(save(session, name, point_name(name, session.paths.identity), deadline))

    # ------------------------------------------------------------------ inside

    @property
    def _whole(self) -> Fleet:
        if self._fleet is None or self._opened is None:
            raise HostError(f"environment {self.name} is not open", hint="with Environment.load(…) as env: …")
        return self._fleet
