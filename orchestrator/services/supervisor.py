"""The services of one environment: started in the order of their graph, proven, stopped, and verified again.

`ServiceSupervisor` is what the rest of the program sees. Its parts:

* `ServiceTracker`: where every service is, with an event for each change.
* `Scheduler`: what starts when.
* `UnitDriver`: the units in the guests.
* `CheckLoop`: makes checks until they pass.
* `Verifier`: whether what runs is healthy.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Collection

from orchestrator.deadline import Deadline
from orchestrator.services.check_loop import CheckLoop
from orchestrator.services.graph import ServiceGraph, State
from orchestrator.services.reach import Reach
from orchestrator.services.scheduler import Scheduler
from orchestrator.services.tracker import ServiceTracker
from orchestrator.services.units import UnitDriver
from orchestrator.services.verifier import Verifier
from orchestrator.topology.model import Service


class ServiceSupervisor:
    """Starts and proves the services of one environment.

    Args:
        reach: how the machines of all services and checks are reached.
        on_up: called when the checks of a service have passed.
    """

    def __init__(
        self,
        graph: ServiceGraph,
        reach: Reach,
        *,
        on_up: Callable[[Service], Awaitable[None]] | None = None,
    ) -> None:
        self._reach = reach
        self._tracker = ServiceTracker(graph, reach.bus)
        self._units = UnitDriver(reach, graph.services)
        checks = CheckLoop(reach, self._units)
        self._scheduler = Scheduler(reach, self._tracker, self._units, checks, on_up)
        self._verifier = Verifier(reach, self._tracker, self._units, checks)

    @property
    def graph(self) -> ServiceGraph:
        """All services and their states now."""
        return self._tracker.graph

    @property
    def restarts(self) -> dict[str, int]:
        """How often systemd had started units again when their services were proven, where it had."""
        return self._units.restarts

    def real_name(self, machine: str, unit: str) -> str:
        """A unit's own name, where the topology calls it by an alias."""
        return self._reach.real(machine, unit)

    async def bring_up(self, deadline: Deadline, names: Collection[str] | None = None) -> None:
        """Start everything that is pending, or these; return when all are up. See `Scheduler.bring_up`."""
        await self._scheduler.bring_up(deadline, self.graph.services if names is None else names)

    async def verify_restored(self, deadline: Deadline, names: Collection[str] | None = None) -> None:
        """Verify the services of restored machines, or these. See `Verifier.restored`."""
        await self._verifier.restored(deadline, self.graph.services if names is None else names)

    async def verify_all(self, deadline: Deadline) -> bool:
        """Whether every service runs and passes its checks right now. See `Verifier.everything`."""
        return await self._verifier.everything(deadline)

    async def verify_still_healthy(self, deadline: Deadline) -> None:
        """Verify once more what was proven. See `Verifier.still_healthy`."""
        await self._verifier.still_healthy(deadline)

    async def passes(self, name: str, deadline: Deadline) -> bool:
        """Whether the checks of a service pass right now. See `Verifier.passes`."""
        return await self._verifier.passes(name, deadline)

    async def verify_again(self, names: Collection[str], deadline: Deadline) -> None:
        """Make the checks of these services until they pass. See `Verifier.again`."""
        await self._verifier.again(deadline, names)

    async def stop(self, names: tuple[str, ...], deadline: Deadline) -> None:
        """Stop these services on purpose, dependants first, and report them as stopped."""
        await self.stop_units(names, deadline)
        for name in names:
            self._tracker.move(name, State.STOPPED)

    async def stop_units(self, names: tuple[str, ...], deadline: Deadline) -> None:
        """Stop the units of these services, dependants first."""
        for name in self.graph.stop_order(names):
            await self._units.stop(self.graph.services[name], deadline)

    def set_aside(self, names: tuple[str, ...]) -> None:
        """Report services that cannot run now, since a machine that they need is off; nothing waits for them."""
        for name in names:
            state = self.graph.states[name]
            if state not in (State.STOPPED, State.SKIPPED):
                self._tracker.move(name, State.SKIPPED if state is State.PENDING else State.STOPPED)

    def mark_pending(self, names: tuple[str, ...]) -> None:
        """Make services pending again, so that `bring_up` starts them."""
        self._units.mark_pending(names)
        self._verifier.expire()
        self._tracker.mark_pending(names)
