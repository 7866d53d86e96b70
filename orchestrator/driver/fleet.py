"""All machines and services of an open environment, and what concerns several of them."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine, Mapping
from typing import Any, TypeVar

from orchestrator.deadline import FOREVER, Deadline
from orchestrator.driver.background import BackgroundTasks
from orchestrator.driver.machine import Machine
from orchestrator.driver.power import Power, PowerState, again
from orchestrator.driver.service_starter import ServiceStarter
from orchestrator.driver.services import Service
from orchestrator.environment import up
from orchestrator.environment.launch import Launch, launch_machine, resolve_destinations, start_networks
from orchestrator.environment.machine import LiveMachine
from orchestrator.environment.memory import new_memory
from orchestrator.environment.reset import launch_again, reset
from orchestrator.environment.runstate import Runstate
from orchestrator.environment.session import Session
from orchestrator.environment.ssh_files import write_ssh_files
from orchestrator.environment.start_again import services_on
from orchestrator.environment.startup import restart
from orchestrator.errors import OrchestratorError
from orchestrator.snapshots.store import Snapshot
from orchestrator.tasks import run_with_watchdogs

T = TypeVar("T")


class Fleet:
    """What a driver holds of an environment while it is open.

    Args:
        units: whether the orchestrator starts the services of machines that come up.
        before: of the same environment when it was open before: the objects of its machines and services go on.
    """

    def __init__(
        self,
        opened: up.Environment,
        tasks: BackgroundTasks,
        *,
        units: bool,
        before: Fleet | None = None,
    ) -> None:
        self.session: Session = opened.session
        self.scale = opened.session.scale
        self._opened = opened
        self._tasks = tasks
        self.starter = ServiceStarter(opened.session, tasks, units=units)
        self._helpers_error: OrchestratorError | None = None
        self._helpers_gone = asyncio.Event()
        self.machines: Mapping[str, Machine] = {name: Machine(self, name) for name in self.session.machines}
        self.services: Mapping[str, Service] = {name: Service(self, name) for name in self.session.topology.services}
        if before is not None:
            self.machines, self.services = before.machines, before.services
            for machine in self.machines.values():
                machine._fleet = self
            for service in self.services.values():
                service._fleet = self
        self.powers: dict[str, Power] = {}
        self.session.faults.come_back = self._come_back

    # ------------------------------------------------------------------ beginning and end

    def follow_all(self) -> None:
        """Watch machines that are up."""
        self._make_powers()
        for name, live in self.session.machines.items():
            self.powers[name].follow(live)

    async def prepare(self, deadline: Deadline) -> None:
        """Make ready what machines need that are started later, one by one."""
        await start_networks(self.session, self._launch(), deadline)
        await resolve_destinations(self.session, deadline)
        self._make_powers()

    def _make_powers(self) -> None:
        key = self.session.public_key()
        self.powers = {
            name: Power(live, self._tasks, key, self._handed_over, self._ended)
            for name, live in self.session.machines.items()
        }
        self._tasks.begin(self._watch_helpers())

    async def _watch_helpers(self) -> None:
        try:
            await self.session.watch_helpers()
        except OrchestratorError as error:
            self._helpers_error = error
            self._helpers_gone.set()

    async def release(self) -> None:
        """Stop to watch."""
        await self.starter.stop()
        for power in self.powers.values():
            power.release()

    def begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begin work that goes on between calls, and ends with the driver."""
        return self._tasks.begin(work)

    # ------------------------------------------------------------------ machines

    def _launch(self) -> Launch:
        if self._opened.launch is not None:
            return self._opened.launch
        return launch_again(self.session, None, self._opened.reaper)

    async def start(self, name: str) -> None:
        """Launch a machine that is off; it boots in the background, with the disk it has."""
        power = self.powers[name]
        if power.state in (PowerState.UP, PowerState.STARTING):
            return
        power.release()
        session, launch = self.session, self._launch()
        live = session.machines[name]
        if live.runstate is not Runstate.IDLE:
            live = await session.renew(name)
        live.guest.addresses = power.live.guest.addresses
        image = launch.images[live.machine.image]
        launch_machine(session, live, launch, new_memory(session.paths, live.machine, image, launch.ram))
        power.boot(live, Deadline.after(FOREVER))
        await self.starter.begin(self._services_on(name), power.wait_up)

    async def _handed_over(self, live: LiveMachine) -> None:
        await live.open_ssh()
        self.session.record_access(live)
        write_ssh_files(self.session.paths, self.session.record.state.machines)
        if all(power.state is not PowerState.OFF for power in self.powers.values()):
            self.session.record.change(phase="ready")

    def _ended(self) -> None:
        """A machine is off or lost: what was being started there cannot go on."""
        self.starter.cancel()

    async def reboot(self, name: str) -> None:
        """Reboot the guest in order; what depends on its services is proven again."""
        power = self.powers[name]
        live = await power.wait_up()
        power.state = PowerState.STARTING  # the reset is ours
        try:
            await power.guard(live.reboot(self.session.public_key(), Deadline.after(FOREVER)))
            await power.guard(self._handed_over(live))
        finally:
            power.state = PowerState.UP if power.error is None and not power.off.is_set() else power.state
        await self.starter.begin(self._services_on(name), power.wait_up)

    def boots_again(self, name: str) -> None:
        """QEMU was told to reset a machine: its guest boots again in the background."""
        self.powers[name].boots_again()
        self._tasks.begin(self.starter.begin(self._services_on(name), self.powers[name].wait_up))

    async def _come_back(self, name: str, deadline: Deadline) -> None:
        """Wait for a machine that a fault has reset; its services are somebody else's business."""
        power = self.powers[name]
        await power.live.qemu.watcher.was_reset.wait()
        if power.state is PowerState.UP:  # it was not heard of here yet
            power.boots_again()
        async with deadline.enforce():
            await power.wait_up()

    async def guard_all(self, work: Coroutine[Any, Any, T]) -> T:
        """Do work that needs all machines; the loss of one ends it, with the reason."""
        guards = [power.raise_when_gone for power in self.powers.values() if power.state is not PowerState.OFF]
        return await run_with_watchdogs(work, [*guards, self._raise_when_helpers_gone])

    async def _raise_when_helpers_gone(self) -> None:
        await self._helpers_gone.wait()
        assert self._helpers_error is not None
        raise again(self._helpers_error)

    # ------------------------------------------------------------------ services

    def _services_on(self, machine: str) -> tuple[str, ...]:
        return services_on(self.session.services.graph, [machine])

    async def wait_ready(self) -> None:
        """Wait until all machines are up and all services are proven."""
        for power in self.powers.values():
            await power.wait_up()
        await self.guard_all(self.starter.wait_settled())
        await self.guard_all(self.session.verify_still_healthy(Deadline.after(FOREVER)))

    async def restart_service(self, name: str, deadline: Deadline) -> None:
        """Restart a service, and prove it and what depends on it."""
        await self.guard_all(self.starter.settled.wait())
        await self.guard_all(restart(self.session, [name], deadline))

    async def stop_service(self, name: str, deadline: Deadline) -> None:
        await self.guard_all(self.starter.settled.wait())
        await self.guard_all(self.session.services.stop((name,), deadline))

    async def start_service(self, name: str, deadline: Deadline) -> None:
        """Start a service that is stopped, what it depends on first, and prove what depends on it."""
        await self.guard_all(self.starter.settled.wait())
        wanted = self.session.services.graph.with_dependants({name, *self.starter.unproven()})
        self.session.services.mark_pending(wanted)
        await self.guard_all(self.session.start_services(deadline))

    # ------------------------------------------------------------------ saved states

    async def restore(self, snapshot: Snapshot, deadline: Deadline) -> None:
        """Put everything back to a saved state."""
        await self.starter.stop()
        for power in self.powers.values():
            power.release()
        try:
            await reset(self.session, snapshot, self._opened.reaper, deadline)
        except OrchestratorError as error:
            for power in self.powers.values():
                power.lose(error)
            raise
        self.starter.clear()
        for name, live in self.session.machines.items():
            self.powers[name].follow(live)
