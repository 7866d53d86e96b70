"""Whether a machine runs: what ends calls, what is wanted, and what follows a reset. Machines are fakes."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from types import SimpleNamespace
from typing import Any

import pytest
from simulated_time import run_simulated

from orchestrator.deadline import Deadline
from orchestrator.driver.background import BackgroundTasks
from orchestrator.driver.power import Power, PowerState
from orchestrator.driver.results import MachineOff
from orchestrator.driver.service_starter import ServiceStarter
from orchestrator.environment.runstate import Runstate
from orchestrator.errors import MachineError, OrchestratorError, ServiceError, UnforeseenError

BOOT = 30.0  # seconds


class Machine:
    """Stands in for a `LiveMachine`."""

    def __init__(self, *, fails: Exception | None = None) -> None:
        self.name = "server"
        self.runstate = Runstate.READY
        self.boots = 0
        self.ended = asyncio.Event()
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.commands: list[str] = []
        self.fails = fails
        self.paths: Any = SimpleNamespace()
        monitor = SimpleNamespace(events=self._events, execute=self._execute)

        async def connected() -> Any:
            return monitor

        watcher = SimpleNamespace(
            watch=self._watch, wait_connected=connected, monitor=monitor, agent_open=asyncio.Event()
        )
        self.qemu = SimpleNamespace(watcher=watcher, process=None)

    async def _watch(self) -> None:
        await self.ended.wait()
        raise MachineError("QEMU of machine server exited with 1")

    async def _execute(self, command: str, **_: object) -> None:
        self.commands.append(command)
        self.ended.set()

    @asynccontextmanager
    async def _events(self) -> AsyncIterator[AsyncIterator[dict[str, Any]]]:
        async def stream() -> AsyncIterator[dict[str, Any]]:
            while True:
                yield await self.events.get()

        yield stream()

    def leave_boot(self) -> None:
        self.runstate = Runstate.CONNECTED

    async def boot(self, key: str, deadline: Deadline) -> None:
        await self.boot_again(key, deadline)

    async def boot_again(self, key: str, deadline: Deadline) -> None:
        await asyncio.sleep(BOOT)
        if self.fails is not None:
            raise self.fails
        self.boots += 1
        self.runstate = Runstate.READY


@asynccontextmanager
async def powered(live: Machine) -> AsyncIterator[Power]:
    tasks = BackgroundTasks()
    await tasks.open()

    async def ready(_: object) -> None:
        await asyncio.sleep(1)

    anything: Any = live
    power = Power(anything, tasks, "key", ready, lambda: None)
    try:
        yield power
    finally:
        power.release()
        await tasks.close()


async def outcome(work: Coroutine[Any, Any, Any]) -> OrchestratorError:
    with pytest.raises(OrchestratorError) as caught:
        await work
    return caught.value


async def forever() -> None:
    await asyncio.Event().wait()


def test_calls_wait_for_a_machine_that_boots() -> None:
    async def scenario() -> None:
        live = Machine()
        async with powered(live) as power:
            assert isinstance(await outcome(power.wait_up()), MachineOff)
            begun = Deadline.after(600)
            power.boot(power.live, begun)
            assert power.state is PowerState.STARTING and power.booted
            assert await power.wait_up() is power.live
            assert begun.elapsed == pytest.approx(BOOT + 1) and power.state is PowerState.UP

    run_simulated(scenario())


def test_a_machine_that_dies_ends_what_waits_and_says_so_again() -> None:
    async def scenario() -> None:
        live = Machine()
        async with powered(live) as power:
            power.follow(power.live)
            call = asyncio.create_task(outcome(power.guard(forever())))
            await asyncio.sleep(1)
            live.ended.set()
            assert (await call).what == "QEMU of machine server exited with 1"
            assert power.state is PowerState.LOST and power.off.is_set()
            assert (await outcome(power.wait_up())).what == "QEMU of machine server exited with 1"

    run_simulated(scenario())


@pytest.mark.parametrize("how", ["crash", "from inside"])
def test_an_end_that_is_wanted_is_no_loss(how: str) -> None:
    async def scenario() -> None:
        live = Machine()
        async with powered(live) as power:
            power.follow(power.live)
            call = asyncio.create_task(outcome(power.guard(forever())))
            await asyncio.sleep(1)
            if how == "crash":
                await power.crash()
            else:
                await live.events.put({"event": "SHUTDOWN", "data": {"guest": True}})
                await asyncio.sleep(1)
                live.ended.set()
            await power.off.wait()
            assert power.state is PowerState.OFF and power.error is None
            assert isinstance(await call, MachineOff)
            assert live.commands == (["quit"] if how == "crash" else [])

    run_simulated(scenario())


def test_a_guest_that_resets_itself_is_set_up_again_once() -> None:
    async def scenario() -> None:
        live = Machine()
        async with powered(live) as power:
            power.follow(power.live)
            call = asyncio.create_task(outcome(power.guard(forever())))
            await asyncio.sleep(1)
            for _ in range(2):  # QEMU tells it twice
                await live.events.put({"event": "RESET", "data": {"guest": True}})
            assert (await call).what == "machine server was reset during the call"
            await power.wait_up()
            assert (live.boots, power.state) == (1, PowerState.UP)

    run_simulated(scenario())


@pytest.mark.parametrize("cause", [MachineError("no agent"), ValueError("not foreseen")])
def test_a_machine_that_cannot_be_set_up_is_lost_and_nobody_waits_for_ever(cause: Exception) -> None:
    async def scenario() -> None:
        async with powered(Machine(fails=cause)) as power:
            power.boot(power.live, Deadline.after(600))
            error = await outcome(power.wait_up())
            assert power.state is PowerState.LOST
            assert error is cause if isinstance(cause, MachineError) else isinstance(error, UnforeseenError)

    run_simulated(scenario())


class Services:
    """Stands in for a session's services: two, of which a start makes both healthy."""

    def __init__(self, failure: OrchestratorError | None = None) -> None:
        self.pending: list[set[str]] = []
        self.failure = failure
        self.proven: set[str] = set()
        self.services = self
        graph = SimpleNamespace(services={"a": None, "b": None}, proven=lambda: tuple(self.proven))
        self.graph = graph

    def mark_pending(self, names: tuple[str, ...]) -> None:
        self.pending.append(set(names))

    async def start_services(self, deadline: Deadline) -> None:
        await asyncio.sleep(10)
        if self.failure is not None:
            raise self.failure
        self.proven = {"a", "b"}


async def no_wait() -> None:
    """The machine is up."""


@asynccontextmanager
async def starting(services: Services, *, units: bool = True) -> AsyncIterator[ServiceStarter]:
    tasks = BackgroundTasks()
    await tasks.open()
    session: Any = services
    try:
        yield ServiceStarter(session, tasks, units=units)
    finally:
        await tasks.close()


def test_services_start_in_the_background_and_all_that_are_unproven_with_them() -> None:
    async def scenario() -> None:
        services = Services()
        async with starting(services) as starter:
            await starter.begin(("a",), no_wait)
            assert starter.bringing_up and services.pending == [{"a", "b"}]
            await starter.wait_settled()
            assert not starter.bringing_up
            await starter.begin(("a",), no_wait)
            assert services.pending[1:] == [{"a"}]

    run_simulated(scenario())


def test_a_service_that_fails_is_told_to_who_waits_and_to_who_comes_later() -> None:
    async def scenario() -> None:
        async with starting(Services(ServiceError("service a failed"))) as starter:
            await starter.begin(("a",), no_wait)
            assert (await outcome(starter.wait_settled())).what == "service a failed"
            with pytest.raises(ServiceError):
                starter.raise_for_services()
            starter.clear()
            starter.raise_for_services()

    run_simulated(scenario())


def test_without_units_nothing_is_started() -> None:
    async def scenario() -> None:
        services = Services()
        async with starting(services, units=False) as starter:
            await starter.begin(("a",), no_wait)
            assert not starter.bringing_up and services.pending == []

    run_simulated(scenario())
