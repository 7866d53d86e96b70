"""Bringing services up in the order of their graph, each proven before the next.

The orchestrator starts every unit itself, when the checks of all it needs have
passed. Independent services start at the same time, across machines. The first
failure ends the whole, with the unit's own words as evidence. What was proven is
looked at once more before anybody is told that it is.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Awaitable, Callable, Mapping, Sequence

from orchestrator.deadline import Deadline, monotonic
from orchestrator.errors import ServiceError
from orchestrator.events import EventBus
from orchestrator.events.services import ServiceStateChanged
from orchestrator.services.checks import Channels
from orchestrator.services.graph import ServiceGraph, State, good_state
from orchestrator.services.journal import Journal
from orchestrator.services.proving import Prover
from orchestrator.services.reach import Reach
from orchestrator.services.units import Units
from orchestrator.tasks import root_cause, run_all
from orchestrator.topology.model import Service, ServiceKind

LOOKS = 5  # how often units may be found started anew before that is their trouble
FRESH = 1.0  # seconds for which a last look holds


class ServiceSupervisor:
    """Starts and proves the services of one environment.

    Args:
        channels: how each machine is reached; for the machine of every service and check.
        journals: the followed journal of each machine.
        factor: what all limits of the topology are multiplied with.
        command: how the user calls this program for this environment, for hints.
        on_up: called when a service has proven itself.
    """

    def __init__(
        self,
        graph: ServiceGraph,
        channels: Mapping[str, Channels],
        journals: Mapping[str, Journal],
        bus: EventBus,
        *,
        factor: float,
        command: str = "orchestrator",
        on_up: Callable[[Service], Awaitable[None]] | None = None,
    ) -> None:
        self.graph = graph
        self._reach = Reach(channels, journals, bus, factor, command)
        self._units = Units(self._reach, graph.services)
        self._prover = Prover(self._reach, self._units)
        self._on_up = on_up
        self._changed = asyncio.Event()
        self._confirmed = -FRESH  # when all was looked at last

    # ------------------------------------------------------------------ bringing up

    async def bring_up(self, deadline: Deadline) -> None:
        """Start everything that is pending; return when all are up. What was proven is watched until then.

        Raises:
            ServiceError: the first service that failed, with its evidence.
            MachineError: a machine was lost on the way.
        """
        try:
            async with asyncio.TaskGroup() as group:
                running: set[asyncio.Task[None]] = set()
                watching: list[asyncio.Task[None]] = []

                async def one(service: Service) -> None:
                    await self._one(service, deadline)
                    if service.unit is not None and service.kind is ServiceKind.DAEMON:
                        watching.append(group.create_task(self._watch_proven(service)))

                pending = [self.graph.services[name] for name in self.graph.pending()]
                for machine in {service.machine for service in pending if service.unit is not None}:
                    group.create_task(self._look_ahead(machine))
                while not self.graph.settled:
                    for name in self.graph.startable():
                        self.graph = self.graph.advance(name, State.STARTING)
                        running.add(group.create_task(one(self.graph.services[name])))
                    if all(task.done() for task in running):
                        raise self._stuck()
                    self._changed.clear()
                    await self._changed.wait()
                await asyncio.gather(*running)  # what is told of each when it is up
                for task in watching:
                    task.cancel()
        except BaseExceptionGroup as error:
            raise root_cause(error) from None

    async def _look_ahead(self, machine: str) -> None:
        """See the units while the first checks are made: whoever starts one finds that done."""
        await self._reach.agent(machine)
        await self._units.first_looks(machine)

    def _stuck(self) -> ServiceError:
        """Nothing runs, nothing may start, and something still waits: a dependency was stopped."""
        waiting = [name for name, state in self.graph.states.items() if state is State.PENDING]
        return ServiceError(
            f"service {', '.join(waiting)} cannot start",
            why="something it needs was stopped and not started again",
            hint=f"{self._reach.command} status",
        )

    async def _one(self, service: Service, deadline: Deadline) -> None:
        for machine in {service.machine, *(check.machine for check in service.checks)}:
            await self._reach.agent(machine)  # its limit does not run while a machine still boots
        await self._units.first_look(service)
        limit = deadline.earlier(service.timeout * self._reach.factor)
        self._emit(service.name, State.STARTING, 0.0, "")
        try:
            await self._units.start(service, limit)
            self._move(service.name, State.CHECKING, limit.elapsed)
            await self._prover.prove(service, limit)
            if service.unit is not None and not service.checks:
                why = self._units.fault(service, await self._units.look(service))
                if why:
                    raise await self._reach.explained(service, "is not running", why)
        except ServiceError as error:
            self._fail(service, limit.elapsed, error)
            raise
        self._move(service.name, good_state(service), limit.elapsed)
        if self._on_up is not None:
            await self._on_up(service)

    async def _watch_proven(self, service: Service) -> None:
        try:
            await self._units.watch_proven(service)
        except ServiceError as error:
            self._fail(service, 0.0, error)
            raise

    # ------------------------------------------------------------------ proving what runs

    async def verify_restored(self, deadline: Deadline) -> None:
        """Prove services that all ran when their machines were saved: nothing is started, order tells nothing.

        Raises:
            ServiceError: a check does not pass, a unit is in trouble, or what is to be done after a restore failed.
        """
        services = self.graph.services.values()
        await run_all(*(self._after_restore(service, deadline) for service in services if service.after_restore))
        await run_all(*(self._prove(service, deadline) for service in services))

    async def _after_restore(self, service: Service, deadline: Deadline) -> None:
        limit = deadline.earlier(service.timeout * self._reach.factor)
        result = await (await self._reach.agent(service.machine)).exec(service.after_restore, deadline=limit)
        if result.code != 0:
            why = f"{shlex.join(service.after_restore)} ended with {result.code}: {result.complaint}"
            error = await self._reach.explained(service, "could not be renewed after the restore", why)
            self.graph = self.graph.advance(service.name, State.STARTING)
            self._fail(service, limit.elapsed, error)
            raise error

    async def _prove(self, service: Service, deadline: Deadline) -> None:
        await self._reach.agent(service.machine)
        status = await self._units.first_look(service)
        limit = deadline.earlier(service.timeout * self._reach.factor)
        self.graph = self.graph.advance(service.name, State.STARTING)  # it is not started: no event
        self._move(service.name, State.CHECKING, limit.elapsed)
        try:
            if status is not None:
                self._units.listen(service)
                judge = self._units.trouble if service.checks else self._units.fault
                if why := judge(service, status):
                    raise await self._reach.explained(service, "does not run after the restore", why)
            if service.checks:
                await self._prover.prove(service, limit)
        except ServiceError as error:
            self._fail(service, limit.elapsed, error)
            raise
        self._move(service.name, good_state(service), limit.elapsed)

    async def verify_all(self, deadline: Deadline) -> bool:
        """Whether every service runs and passes its checks right now; if so, all are known as good.

        One look at every unit and one attempt of each check, nothing started, nothing waited for, nothing told on
        failure.
        """
        everything = list(self.graph.services.values())
        for name in self.graph.services:
            self.graph = self.graph.reset([name]).advance(name, State.STARTING).advance(name, State.CHECKING)
        if not await self._hold(everything, deadline):
            self.graph = self.graph.reset(self.graph.services)
            return False
        for service in everything:
            self._move(service.name, good_state(service))
        return True

    async def _hold(self, services: Sequence[Service], deadline: Deadline) -> bool:
        looks = await run_all(*(self._units.first_look(service) for service in services))
        for service, status in zip(services, looks, strict=True):
            if status is not None and self._units.fault(service, status):
                return False
        answers = await run_all(
            *(self._prover.once(service, check, deadline) for service in services for check in service.checks)
        )
        return all(answers)

    # ------------------------------------------------------------------ the last look

    async def verify_still_healthy(self, deadline: Deadline) -> None:
        """All that is proven is so now: every unit is looked at once more, one command a machine, all at once.

        Where another run of a unit is there than the one that was proven, its checks, and those of what rests on it,
        are made again.

        Raises:
            ServiceError: a unit ended, failed, or was restarted by systemd, since its service was proven.
        """
        if monotonic() - self._confirmed < FRESH:
            return
        others: list[Service] = []
        for _ in range(LOOKS):
            proven = [self.graph.services[name] for name in self.graph.proven()]
            wrong, others = await self._units.last_look(proven)
            for service, why in wrong[:1]:
                raise await self._disproved(service, "failed after it was proven", why)
            if not others:
                self._confirmed = monotonic()
                return
            again = self.graph.with_dependants(service.name for service in others)
            await run_all(*(self._again(self.graph.services[name], deadline) for name in again))
        why = f"{others[0].unit} runs anew at each of {LOOKS} looks, and nobody here started it"
        raise await self._disproved(others[0], "does not stay as it was proven", why)

    @property
    def restarts(self) -> dict[str, int]:
        """How often systemd had started units again when their services were proven, where it had."""
        return self._units.restarts

    def real_name(self, machine: str, unit: str) -> str:
        """A unit's own name, where the topology calls it by an alias."""
        return self._reach.real(machine, unit)

    async def _again(self, service: Service, deadline: Deadline) -> None:
        limit = deadline.earlier(service.timeout * self._reach.factor)
        if service.name not in self.graph.proven():
            return
        try:
            await self._prover.checks(service, limit)
        except ServiceError as error:
            self._fail(service, limit.elapsed, error)
            raise

    async def _disproved(self, service: Service, what: str, why: str) -> ServiceError:
        error = await self._reach.explained(service, what, why)
        self._fail(service, 0.0, error)
        return error

    # ------------------------------------------------------------------ changing what runs

    async def stop(self, names: tuple[str, ...], deadline: Deadline) -> None:
        """Stop these services (dependants first) on purpose, and say so."""
        await self.stop_units(names, deadline)
        for name in names:
            self._move(name, State.STOPPED)

    async def stop_units(self, names: tuple[str, ...], deadline: Deadline) -> None:
        """Stop the units of these services, dependants first."""
        for name in self.graph.stop_order(names):
            await self._units.stop(self.graph.services[name], deadline)

    def mark_pending(self, names: tuple[str, ...]) -> None:
        """Make services pending again, to be brought up anew."""
        self.graph = self.graph.reset(names)
        self._units.forget(names)
        self._confirmed = -FRESH
        for name in names:
            self._emit(name, State.PENDING, 0.0, "")

    # ------------------------------------------------------------------ telling

    def _fail(self, service: Service, elapsed: float, error: ServiceError) -> None:
        before = dict(self.graph.states)
        if before[service.name] is State.FAILED:
            return
        self._move(service.name, State.FAILED, elapsed, error.why)
        for name, state in self.graph.states.items():
            if state is State.SKIPPED and before[name] is not State.SKIPPED:
                self._emit(name, State.SKIPPED, 0.0, f"needs {service.name}")

    def _move(self, name: str, state: State, elapsed: float = 0.0, detail: str = "") -> None:
        self.graph = self.graph.advance(name, state)
        self._emit(name, state, elapsed, detail)
        self._changed.set()

    def _emit(self, name: str, state: State, elapsed: float, detail: str) -> None:
        machine = self.graph.services[name].machine
        self._reach.bus.emit(
            ServiceStateChanged(name, machine=machine, state=state, elapsed=round(elapsed, 3), detail=detail)
        )
