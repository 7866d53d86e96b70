"""Services and machines for the tests of the supervisor: nothing real, everything scripted."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Coroutine
from dataclasses import dataclass
from pathlib import Path

import pytest
from event_records import of
from fake_channels import FakeMachine, Unit, ok
from simulated_time import run_simulated

from orchestrator.deadline import Deadline
from orchestrator.errors import OrchestratorError, ServiceError
from orchestrator.events import Event, EventBus
from orchestrator.events.services import ServiceStateChanged
from orchestrator.services.checks.exec import ExecCheck
from orchestrator.services.graph import ServiceGraph, State
from orchestrator.services.journal import Journal
from orchestrator.services.reach import Reach
from orchestrator.services.supervisor import ServiceSupervisor
from orchestrator.timescale import TimeScale
from orchestrator.topology.model import Check, Dependency, Service, ServiceKind


def service(
    name: str,
    *needs: str | Dependency,
    machine: str = "server",
    kind: ServiceKind = ServiceKind.DAEMON,
    timeout: float = 5.0,
    check: bool = True,
) -> Service:
    checks = (Check("answers", machine, ExecCheck((name,), stdout="^ok$")),) if check else ()
    unit = None if kind is ServiceKind.TARGET else f"{name}.service"
    dependencies = tuple(d if isinstance(d, Dependency) else Dependency(d) for d in needs)
    return Service(name, machine, kind, unit, dependencies, checks, timeout)


@dataclass
class World:
    services: ServiceSupervisor
    machines: dict[str, FakeMachine]
    events: list[Event]

    @property
    def server(self) -> FakeMachine:
        return self.machines["server"]

    def unit(self, name: str) -> Unit:
        return next(m.units[f"{name}.service"] for m in self.machines.values() if f"{name}.service" in m.units)

    def states(self, name: str) -> list[str]:
        return [str(e.state) for e in of(self.events, ServiceStateChanged) if e.subject == name]

    def moment(self, name: str, state: str) -> int:
        """The place of this change among all events."""
        return next(
            n
            for n, e in enumerate(self.events)
            if isinstance(e, ServiceStateChanged) and e.subject == name and e.state == state
        )


def play(
    tmp_path: Path, services: list[Service], scene: Callable[[World], Awaitable[None]], factor: float = 1.0
) -> World:
    """Run a scene; by default every unit starts at once and every check answers ``ok``."""

    async def scenario() -> World:
        bus, events = EventBus(), list[Event]()
        bus.subscribe(events.append)
        machines = {name: FakeMachine(name, tmp_path / f"{name}.jsonl") for name in {s.machine for s in services}}
        for one in services:
            if one.unit is not None:
                machines[one.machine].units[one.unit] = Unit(oneshot=one.kind is ServiceKind.ONESHOT)
            machines[one.machine].answers[one.name] = lambda: ok("ok")
        journals = {name: Journal(m.journal) for name, m in machines.items()}
        supervisor = ServiceSupervisor(
            ServiceGraph.fresh({s.name: s for s in services}),
            Reach(
                {name: m.channels() for name, m in machines.items()},
                journals,
                bus,
                TimeScale(factor),
                command="orchestrator -n t",
            ),
        )
        world = World(supervisor, machines, events)
        followers = [asyncio.create_task(journal.follow()) for journal in journals.values()]
        try:
            await scene(world)
        finally:
            for follower in followers:
                follower.cancel()
            await asyncio.gather(*followers, return_exceptions=True)
        assert len(asyncio.all_tasks()) == 1, "the supervisor left tasks behind"
        return world

    return run_simulated(scenario())


async def up(world: World) -> None:
    await world.services.bring_up(Deadline.after(10))


async def fails(world: World, kind: type[OrchestratorError] = ServiceError) -> OrchestratorError:
    with pytest.raises(kind) as caught:
        await world.services.bring_up(Deadline.after(10))
    return caught.value


async def client_answers_late(world: World, work: Callable[[World], Coroutine[None, None, None]], later: float) -> None:
    """Service ``a`` of the server gets good while the client, which has ``b``, does not answer for a while yet."""
    world.machines["client"].booted.clear()
    async with asyncio.TaskGroup() as group:
        group.create_task(work(world))
        limit = Deadline.after(3)
        while world.services.graph.states["a"] is not State.HEALTHY and not limit.expired:  # noqa: ASYNC110
            await asyncio.sleep(0.01)
        await asyncio.sleep(later)  # longer than b's own limit, which must not run yet
        assert world.services.graph.states["a"] is State.HEALTHY
        assert world.states("b") == []
        world.machines["client"].booted.set()
    assert world.services.graph.good
