"""What one command holds of an environment: its machines, its services, its record, and the watch over all of it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Coroutine, Sequence
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.deadline import Deadline
from orchestrator.environment.failures import egress_filter_gone, switch_gone
from orchestrator.environment.fault_visit import end_left
from orchestrator.environment.live_faults import LiveFaults
from orchestrator.environment.machine import LiveMachine
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.state import StateFile
from orchestrator.environment.switched_off import ended_machines, not_running
from orchestrator.environment.teardown import end_machines
from orchestrator.events import Event, EventBus
from orchestrator.events.services import ServiceStateChanged
from orchestrator.process_id import ProcessId
from orchestrator.services.channels import Channels
from orchestrator.services.graph import ServiceGraph
from orchestrator.services.reach import Reach
from orchestrator.services.supervisor import ServiceSupervisor
from orchestrator.tasks import run_all, run_with_watchdogs
from orchestrator.timescale import TimeScale
from orchestrator.topology.model import Service, Topology
from orchestrator.topology.stages import Stage

T = TypeVar("T")
SWITCH_LOOK = 0.5  # seconds between looks at switches and egress filters


class Session:
    """Drives the machines of one environment while its lock is held.

    Use `run_watched` around all work: a machine that dies then ends the wait for
    anything else, with its own explanation.

    Attributes:
        run_folder: of this command: what it collects and makes.
        logs_folder: of the command that started the machines: what they and their networks write.
        switches: the processes that the machines' networks depend on.
        first_unit_up: set when the first unit is up, or when there is none.
    """

    def __init__(
        self, env_paths: EnvironmentPaths, record: StateFile, bus: EventBus, run_folder: Path | None = None
    ) -> None:
        self.paths = env_paths
        self.record = record
        self.bus = bus
        self.scale = TimeScale(record.state.factor)
        self.run_folder = run_folder or self.logs_folder
        self.machines: dict[str, LiveMachine] = {}
        self._create_machines()
        bus.subscribe(self._record_service_state)
        self._faults: LiveFaults | None = None

    @property
    def topology(self) -> Topology:
        return self.record.state.topology

    @property
    def logs_folder(self) -> Path:
        return self.record.state.run_folder

    @property
    def faults(self) -> LiveFaults:
        """The faults of the environment."""
        if self._faults is None:
            self._faults = LiveFaults(self)
        return self._faults

    def _create_machines(self) -> None:
        """Machines and services as they are before anything was started or joined."""
        paths = {name: self.paths.machine(name, self.logs_folder) for name in self.topology.machines}
        self.machines = {
            name: LiveMachine(machine, self.topology, paths[name], self.bus, self.scale, self.paths.user_key)
            for name, machine in self.topology.machines.items()
        }
        self._channels = {name: Channels(live.ready_agent, live.ssh) for name, live in self.machines.items()}
        self._journals = {name: live.qemu.watcher.journal for name, live in self.machines.items()}
        reach = Reach(
            self._channels,
            self._journals,
            self.bus,
            self.scale,
            command=f"orchestrator -n {self.paths.name}",
        )
        graph = ServiceGraph.remembered(self.topology.services, self.record.state.services)
        self.services = ServiceSupervisor(graph, reach, on_up=self._on_service_up)
        self.first_unit_up = asyncio.Event()
        self.switches: dict[str, ProcessId] = {}

    # ------------------------------------------------------------------ watching

    async def run_watched(self, work: Coroutine[Any, Any, T]) -> T:
        """Do the work while every machine, switch and egress filter is watched."""
        guards: list[Callable[[], Coroutine[Any, Any, None]]]
        guards = [live.qemu.watcher.watch for live in self.machines.values()]
        return await run_with_watchdogs(work, [*guards, self.watch_helpers])

    async def watch_helpers(self) -> None:
        """Raise a `HostError` when a switch or an egress filter ends: machines cannot connect to a new one."""
        name, logs = self.paths.name, self.logs_folder / "networks"
        while True:
            for network, process in self.switches.items():
                if not process.alive:
                    raise switch_gone(network, name, logs)
            for machine, known in self.record.state.machines.items():
                egress_filter = known.egress_filter  # it ends with its machine
                if egress_filter is not None and not egress_filter.alive and known.process.alive:
                    raise egress_filter_gone(machine, name, logs)
            await asyncio.sleep(SWITCH_LOOK)

    # ------------------------------------------------------------------ services

    async def start_services(self, deadline: Deadline, names: Collection[str] | None = None) -> None:
        """Bring up all pending services, or those of these names; what they need in their machines comes first."""
        pending = self.services.graph.pending()
        wanted = [name for name in pending if names is None or name in names]
        await run_all(*(self._prepare(live, wanted, deadline) for live in self.machines.values()))
        await self.services.bring_up(deadline, names)
        self.first_unit_up.set()

    def begin_with(self, stage: Stage) -> None:
        """Only the services of a stage may start at first."""
        for live in self.machines.values():
            live.guest.services = stage.services

    async def _prepare(self, live: LiveMachine, services: Collection[str], deadline: Deadline) -> None:
        """Nobody waits for a machine in which nothing is missing: it may boot, or be off."""
        if new := live.guest.unprepared(services):
            await live.ready_agent()
            await live.guest.prepare(new, deadline)
            self.record.machine(live.name, prepared=tuple(sorted(live.guest.services)))

    async def verify_still_healthy(self, deadline: Deadline) -> None:
        """Verify once more what was proven: before READY, before it is saved, before a phase of the suite.

        Raises:
            ServiceError: something of it ended, failed or was restarted since.
        """
        await self.services.verify_still_healthy(deadline)
        restarts = self.services.restarts
        if restarts != self.record.state.restarts:
            self.record.change(restarts=restarts)

    async def _on_service_up(self, service: Service) -> None:
        if service.unit is not None:
            self.first_unit_up.set()
        await self.machines[service.machine].qemu.screenshot(service.name, self.run_folder)

    def _record_service_state(self, event: Event) -> None:
        if isinstance(event, ServiceStateChanged) and event.subject in self.topology.services:
            self.record.service(event.subject, event.state)

    # ------------------------------------------------------------------ machines

    def public_key(self) -> str:
        """The key that opens the guests, one line."""
        return self.paths.public_key.read_text().strip()

    def record_access(self, live: LiveMachine) -> None:
        """Record how a machine is reached, for later commands."""
        ssh_only = live.guest.ssh_only
        self.record.machine(live.name, ports=dict(live.ports), host_key=live.host_key, ssh_only=ssh_only)

    async def reattach(self, deadline: Deadline, rebooting: Sequence[str] = (), absent: Collection[str] = ()) -> None:
        """Attach to every machine but the absent ones, all at once; of those about to be rebooted, only to QEMU.

        Raises:
            HostError: a machine does not run.
            MachineError: a machine does not answer.
        """
        gone = [name for name in ended_machines(self.record.state) if name not in absent]
        if gone:
            raise not_running(self.paths, self.record.state, gone[0])
        booting = await end_left(self.paths, self.record.state, self.bus)
        self.switches = dict(self.record.state.networks)
        user_key = self.public_key()

        async def attach(live: LiveMachine) -> None:
            known = self.record.state.machines[live.name]
            live.recall(known)
            if live.name in rebooting:
                await live.reattach_monitor(known.process, deadline)
            else:
                await live.reattach(known.process, user_key, deadline, boots=live.name in booting)

        await run_all(*(attach(live) for name, live in self.machines.items() if name not in absent))

    async def renew(self, name: str) -> LiveMachine:
        """A machine as before it was started, in place of one that has ended; its disk stays."""
        await self.machines[name].close()
        paths = self.paths.machine(name, self.logs_folder)
        topology = self.topology
        live = LiveMachine(topology.machines[name], topology, paths, self.bus, self.scale, self.paths.user_key)
        live.qemu.watcher.skip_logs()
        self.machines[name] = live
        self._channels[name] = Channels(live.ready_agent, live.ssh)
        self._journals[name] = live.qemu.watcher.journal
        return live

    async def detach(self) -> None:
        """Forget the machines that run: those of a restore take their places."""
        await self.close()
        self._create_machines()
        for live in self.machines.values():
            live.qemu.watcher.skip_logs()

    async def discard_machines(self) -> None:
        """End all machines and begin as if none had been started; networks stay."""
        self.record.change(services={})  # nothing that was proven before counts any more
        await self.detach()
        await end_machines(self.paths, self.record.state, self.bus)
        for live in self.machines.values():
            live.paths.disk.unlink(missing_ok=True)  # it is an overlay of files that were given up
        self.record.change(machines={})

    async def close(self) -> None:
        """Let go of the machines; they go on."""
        for live in self.machines.values():
            await live.close()
