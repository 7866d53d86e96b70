"""What starts when: every pending service as soon as the graph allows it, independent ones at the same time."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Collection

from orchestrator.deadline import Deadline
from orchestrator.errors import ServiceError
from orchestrator.services.check_loop import CheckLoop
from orchestrator.services.explanations import cannot_start, explain
from orchestrator.services.graph import State
from orchestrator.services.reach import Reach
from orchestrator.services.tracker import ServiceTracker
from orchestrator.services.units import UnitDriver
from orchestrator.tasks import root_cause
from orchestrator.topology.model import Service, ServiceKind


class Scheduler:
    """Starts pending services in the order of the graph.

    Args:
        on_up: called when the checks of a service have passed.
    """

    def __init__(
        self,
        reach: Reach,
        tracker: ServiceTracker,
        units: UnitDriver,
        checks: CheckLoop,
        on_up: Callable[[Service], Awaitable[None]] | None,
    ) -> None:
        self._reach = reach
        self._tracker = tracker
        self._units = units
        self._checks = checks
        self._on_up = on_up

    async def bring_up(self, deadline: Deadline, names: Collection[str]) -> None:
        """Start what is pending of these; return when all are up. Proven services are watched until then.

        Raises:
            ServiceError: the first service that failed, with its evidence.
            MachineError: a machine was lost on the way.
        """
        try:
            async with asyncio.TaskGroup() as group:
                await self._start_all(group, deadline, frozenset(names))
        except BaseExceptionGroup as error:
            raise root_cause(error) from None

    async def _start_all(self, group: asyncio.TaskGroup, deadline: Deadline, names: frozenset[str]) -> None:
        tracker = self._tracker
        running: set[asyncio.Task[None]] = set()
        watching: list[asyncio.Task[None]] = []

        async def start_and_watch(service: Service) -> None:
            await self._start(service, deadline)
            if service.unit is not None and service.kind is ServiceKind.DAEMON:
                watching.append(group.create_task(self._watch_proven(service)))

        pending = [tracker.graph.services[name] for name in tracker.graph.pending() if name in names]
        for machine in {service.machine for service in pending if service.unit is not None}:
            group.create_task(self._look_ahead(machine))
        while not all(tracker.graph.states[name].settled for name in names):
            for name in [one for one in tracker.graph.startable() if one in names]:
                service = tracker.graph.services[name]
                tracker.claim(service)
                running.add(group.create_task(start_and_watch(service)))
            if all(task.done() for task in running):
                waiting = [name for name in tracker.graph.pending() if name in names]
                raise cannot_start(waiting, self._reach.command)
            tracker.changed.clear()
            await tracker.changed.wait()
        await asyncio.gather(*running)  # each also calls on_up
        for task in watching:
            task.cancel()

    async def _look_ahead(self, machine: str) -> None:
        """Ask for all units while the first checks are made, so that no start has to wait for that."""
        await self._reach.agent(machine)
        await self._units.first_looks(machine)

    async def _start(self, service: Service, deadline: Deadline) -> None:
        for machine in {service.machine, *(check.machine for check in service.checks)}:
            await self._reach.agent(machine)  # the service's timeout does not run while a machine still boots
        await self._units.first_look(service)
        service_deadline = deadline.earlier(self._reach.scale.limit(service.timeout))
        self._tracker.starting(service)
        try:
            await self._units.start(service, service_deadline)
            self._tracker.move(service.name, State.CHECKING, service_deadline.elapsed)
            await self._checks.prove(service, service_deadline)
            if service.unit is not None and not service.checks:
                await self._require_running(service)
        except ServiceError as error:
            self._tracker.fail(service, error, service_deadline.elapsed)
            raise
        self._tracker.succeed(service, service_deadline.elapsed)
        if self._on_up is not None:
            await self._on_up(service)

    async def _require_running(self, service: Service) -> None:
        if why := self._units.fault(service, await self._units.look(service)):
            raise await explain(self._reach, service, "is not running", why)

    async def _watch_proven(self, service: Service) -> None:
        try:
            await self._units.watch_proven(service)
        except ServiceError as error:
            self._tracker.fail(service, error)
            raise
