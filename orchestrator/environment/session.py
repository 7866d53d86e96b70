"""One command's hold on a running environment: machines driven, services started in order, everything watched."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.deadline import Deadline
from orchestrator.environment.evidence import collect_all
from orchestrator.environment.failures import egress_filter_gone, switch_gone
from orchestrator.environment.machine import LiveMachine
from orchestrator.environment.memory import base_of, new_memory, own_memory, ram_file, savable
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.reaper_client import ReaperClient
from orchestrator.environment.state import StateFile
from orchestrator.environment.targets import machines_of, services_of
from orchestrator.environment.teardown import end_machines
from orchestrator.errors import HostError, SnapshotError
from orchestrator.events import Event, EventBus
from orchestrator.events.machines import NetworkStateChanged
from orchestrator.events.run import Note
from orchestrator.events.services import ServiceStateChanged
from orchestrator.images.contract import BuiltImage
from orchestrator.net.egress import addresses_of, start_filter
from orchestrator.net.networks import check_lengths, connects_again, nics_of, start_switch
from orchestrator.process import ProcessId
from orchestrator.services.checks import Channels
from orchestrator.services.graph import ServiceGraph
from orchestrator.services.supervisor import ServiceSupervisor
from orchestrator.snapshots.manifest import Manifest, SavedMachine, files_of
from orchestrator.snapshots.memory import RamBacking
from orchestrator.snapshots.restore import stage_files
from orchestrator.snapshots.save import Source, cont, save_machines
from orchestrator.snapshots.store import Snapshot, SnapshotWriter
from orchestrator.tasks import run_all, run_with_watchdogs
from orchestrator.topology.model import NetworkKind, Service, Topology
from orchestrator.vm.arguments import Memory, script_arguments, script_environment, writable_drives
from orchestrator.vm.user import qemu_user

T = TypeVar("T")
SWITCH_LIMIT = 10.0
SWITCH_LOOK = 0.5  # seconds between looks at switches and egress filters


@dataclass(frozen=True, slots=True)
class Launch:
    """What is needed to start machines, and not to join running ones.

    Attributes:
        ports: per machine, guest port → host port, where they shall be as before.
        ram: where memory is kept as files; None: anonymous, or a snapshot's own files, copy on write.
        snapshot: what they are restored from instead of booting.
    """

    images: Mapping[str, BuiltImage]
    user_key: str
    inherited: Mapping[str, str]
    kernel_parameters: str = ""
    ports: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    ram: RamBacking | None = None
    snapshot: Snapshot | None = None


class Session:
    """Drives the machines of one environment while its lock is held.

    Use `watched` around all work: a machine that dies then ends the wait for
    anything else, with its own explanation.

    Attributes:
        run_folder: of this command: what it collects and makes.
        logs_folder: of the command that started the machines: what they and their networks write.
    """

    def __init__(
        self, env_paths: EnvironmentPaths, record: StateFile, bus: EventBus, run_folder: Path | None = None
    ) -> None:
        self.paths = env_paths
        self.record = record
        self.bus = bus
        self.factor = record.state.factor
        self.topology: Topology = record.state.topology
        self.logs_folder: Path = record.state.run_folder
        self.run_folder = run_folder or self.logs_folder
        self.machines: dict[str, LiveMachine] = {}
        self._create_machines()
        bus.subscribe(self._record_service_state)

    def _create_machines(self) -> None:
        """Machines and services as they are before anything was started or joined."""
        paths = {name: self.paths.machine(name, self.logs_folder) for name in self.topology.machines}
        self.machines = {
            name: LiveMachine(machine, self.topology, paths[name], self.bus, self.factor)
            for name, machine in self.topology.machines.items()
        }
        self.services = ServiceSupervisor(
            ServiceGraph.remembered(self.topology.services, self.record.state.services),
            {name: Channels(machine.ready_agent, machine.ssh) for name, machine in self.machines.items()},
            {name: machine.journal for name, machine in self.machines.items()},
            self.bus,
            factor=self.factor,
            command=f"orchestrator -n {self.paths.name}",
            on_up=self._screenshot,
        )
        self._first_unit_up = asyncio.Event()
        self._switches: dict[str, ProcessId] = {}  # those that machines we drive are connected to

    async def run_watched(self, work: Coroutine[Any, Any, T]) -> T:
        """Do the work while every machine, switch and egress filter is watched."""
        guards: list[Callable[[], Coroutine[Any, Any, None]]] = [m.watch for m in self.machines.values()]
        return await run_with_watchdogs(work, [*guards, self._watch_helpers])

    async def _watch_helpers(self) -> None:
        """Raise a `HostError` when a switch or an egress filter ends: machines cannot connect to a new one."""
        name, logs = self.paths.name, self.logs_folder / "networks"
        while True:
            for network, process in self._switches.items():
                if not process.alive:
                    raise switch_gone(network, name, logs)
            for machine, known in self.record.state.machines.items():
                if (
                    known.egress_filter is not None and not known.egress_filter.alive and known.process.alive
                ):  # it ends with its machine
                    raise egress_filter_gone(machine, name, logs)
            await asyncio.sleep(SWITCH_LOOK)

    # ------------------------------------------------------------------ coming up

    async def start(self, launch: Launch, reaper: ReaperClient, deadline: Deadline) -> None:
        """Networks, then all machines at once; services start as their machines come up."""
        await self._start_networks(reaper, deadline)
        await self._resolve(deadline)
        for name, live in self.machines.items():
            image = launch.images[live.machine.image]
            self._launch(name, launch, reaper, new_memory(self.paths, live.machine, image, launch.ram))
        await run_all(
            *(self._boot(machine, launch, deadline) for machine in self.machines.values()),
            self._start_services(deadline),
        )
        await self.verify_still_healthy(deadline)

    async def restore(self, launch: Launch, reaper: ReaperClient, deadline: Deadline) -> None:
        """All machines as they were when the launch's snapshot was taken; every check must pass again.

        Machines that run still are ended first. The caller has verified the snapshot.

        Raises:
            SnapshotError: there is no room.
            MachineError, ServiceError: a machine does not come back, or not healthy.
        """
        assert launch.snapshot is not None
        folder = launch.snapshot.folder
        await self._resolve(deadline)  # before anything that runs is ended
        await end_machines(self.paths, self.record.state, self.bus)
        self.record.change(machines={}, services={})
        # One after the other: what fails must leave nothing that goes on starting.
        memories = await run_all(*(self._stage_files(folder, live, launch) for live in self.machines.values()))
        await self._start_networks(reaper, deadline)
        for live, memory in zip(self.machines.values(), memories, strict=True):
            live.seed_logs(files_of(folder, live.name))
            self._launch(live.name, launch, reaper, memory)
        await run_all(*(m.load(files_of(folder, m.name).state, deadline) for m in self.machines.values()))
        await run_all(*(cont(m.monitor) for m in self.machines.values()))
        self.services.mark_pending(tuple(self.topology.services))
        await run_all(
            *(self._refresh_identity(live, launch, deadline) for live in self.machines.values()),
            self.services.verify_restored(deadline),
        )
        await self.verify_still_healthy(deadline)

    async def _stage_files(self, folder: Path, live: LiveMachine, launch: Launch) -> Memory:
        own = None if launch.ram is None else ram_file(self.paths, live.machine, launch.ram)
        return await stage_files(folder, live.name, live.paths, own)

    async def _refresh_identity(self, live: LiveMachine, launch: Launch, deadline: Deadline) -> None:
        manifest = launch.snapshot.manifest if launch.snapshot else None
        # Another environment made from the same state may run beside this one: then each has a key of its own.
        own = manifest is not None and manifest.owner == self.paths.identity
        kept = manifest.machines[live.name].host_key if manifest is not None and own else ""
        await run_all(
            live.refresh_identity(self.paths.user_key, launch.user_key, kept, deadline),
            live.open_ssh(),
        )
        self.record.machine(live.name, ports=dict(live.ports), host_key=live.host_key)

    async def detach(self) -> None:
        """Forget the machines that run: those of a restore take their places."""
        await self.close()
        self._create_machines()
        for live in self.machines.values():
            live.skip_logs()

    async def discard_machines(self) -> None:
        """End all machines and begin as if none had been started; networks stay."""
        self.record.change(services={})  # nothing that was proven before counts any more
        await self.detach()
        await end_machines(self.paths, self.record.state, self.bus)
        for live in self.machines.values():
            live.paths.disk.unlink(missing_ok=True)  # it rests on what was given up
        self.record.change(machines={})

    async def save(
        self,
        saving: SnapshotWriter,
        manifest: Callable[[Mapping[str, SavedMachine], float], Manifest],
        deadline: Deadline,
    ) -> Snapshot:
        """Save all machines at one moment; they run on.

        Args:
            manifest: makes the manifest from the machines and the seconds they stood still.

        Raises:
            SnapshotError: a machine's memory is its run script's own, or there is no room.
        """
        sources = []
        for name, live in self.machines.items():
            known = self.record.state.machines[name]
            if not savable(known):
                raise SnapshotError(
                    f"machine {name} cannot be saved",
                    subject=name,
                    why="its image's run script gives it a memory of its own kind (memory-backend)",
                    where=[known.image],
                    hint="docs/snapshots.md",
                )
            paths, ram = live.paths, Path(known.ram) if known.ram else None
            rest = (known.image, known.host_key, paths.serial_log, paths.journal, base_of(known))
            sources.append(Source(name, live.monitor, ram, paths.disk, *rest))
        machines, paused = await save_machines(sources, saving.folder, deadline)
        return saving.publish(manifest(machines, paused))

    async def resume(self, deadline: Deadline) -> None:
        """Join machines that already run, and prove every service again."""
        await self.reattach(deadline)
        await run_all(*(m.open_ssh() for m in self.machines.values()))
        # Mostly all is well, and known in a second; anything else is brought up in order.
        if not await self.services.verify_all(deadline):
            self.services.mark_pending(tuple(self.topology.services))
            await self._start_services(deadline)
        await self.verify_still_healthy(deadline)

    async def verify_still_healthy(self, deadline: Deadline) -> None:
        """All that is proven is looked at once more: before READY, before it is saved, before a phase of the suite.

        Raises:
            ServiceError: something of it ended, failed or was restarted since.
        """
        await self.services.verify_still_healthy(deadline)
        restarts = self.services.restarts
        if restarts != self.record.state.restarts:
            self.record.change(restarts=restarts)

    async def reattach(self, deadline: Deadline, rebooting: Sequence[str] = ()) -> None:
        """Attach to every running machine; of those about to be rebooted, only to QEMU."""
        self._switches = dict(self.record.state.networks)
        for name, machine in self.machines.items():
            known = self.record.state.machines[name]
            machine.ports, machine.host_key, machine.addresses = known.ports, known.host_key, known.addresses
            join = machine.reattach_monitor if name in rebooting else machine.reattach
            await join(known.process, self.paths.user_key, deadline)

    async def _start_networks(self, reaper: ReaperClient, deadline: Deadline) -> None:
        paths = self.paths.networks(self.logs_folder)
        paths.logs.mkdir(exist_ok=True)
        for network in self.topology.networks.values():
            running = self.record.state.networks.get(network.name)
            if running is not None and running.alive:
                self._switches[network.name] = running
                continue
            check_lengths(paths, network, list(self.topology.machines))
            if network.kind is NetworkKind.VDE:
                process = await start_switch(network, paths, deadline.earlier(SWITCH_LIMIT))
                reaper.add(process)
                self._switches[network.name] = process
                self.record.change(networks={**self.record.state.networks, network.name: process})
            self.bus.emit(NetworkStateChanged(network.name, state="ready", network_kind=network.kind.value))

    async def _resolve(self, deadline: Deadline) -> None:
        """Find the addresses of all names outside that machines may reach; those they had, where nobody answers."""
        for name, live in self.machines.items():
            known = self.record.state.machines.get(name)
            try:
                live.addresses = await addresses_of(live.machine, deadline)
            except HostError as error:
                if known is None or not known.addresses:
                    raise
                live.addresses = known.addresses
                self.bus.emit(Note(name, level="warning", message=f"{error.what}; the addresses it had are kept"))

    def _launch(self, name: str, launch: Launch, reaper: ReaperClient, memory: Memory | None) -> None:
        live = self.machines[name]
        built = launch.images[live.machine.image]
        script = built.run_script
        nics = nics_of(
            live.machine, self.topology.machines, self.topology.networks, self.paths.networks(self.logs_folder)
        )
        text = built.script_text
        user = "" if connects_again(nics) else qemu_user(f"{self.paths.identity}/{name}", text)
        arguments = script_arguments(
            live.machine,
            live.paths,
            nics,
            accelerator=self.record.state.accelerator,
            fixed_memory=own_memory(text),
            memory=memory,
            user=user,
            drives=writable_drives(text),
        )
        environment = script_environment(
            live.machine, live.paths, launch.inherited, launch.kernel_parameters, launch.ports.get(name, {})
        )
        process = live.launch((str(script), *arguments), environment)
        reaper.add(process)
        file = str(memory.file) if memory is not None and memory.file is not None else ""
        ram, base = (file, "") if memory is not None and memory.shared else ("", file)
        self.record.machine(name, process=process, image=str(built.path), ram=ram, base=base, addresses=live.addresses)
        if live.machine.destinations:
            self._start_egress_filter(live, launch, reaper, user)

    def _start_egress_filter(self, live: LiveMachine, launch: Launch, reaper: ReaperClient, user: str) -> None:
        """Start what lets the machine reach its destinations, and nobody else."""
        log = self.paths.networks(self.logs_folder).logs / f"egress-{live.name}.log"
        process = start_filter(live.machine, live.paths, live.addresses, log, launch.inherited, user)
        reaper.add(process)
        self.record.machine(live.name, egress_filter=process)

    async def _boot(self, live: LiveMachine, launch: Launch, deadline: Deadline) -> None:
        await live.boot(launch.user_key, self.paths.user_key, deadline)
        # A key exchange costs an emulated guest seconds, just when all boots end and the first units start. A check
        # that needs it opens it at once; otherwise it has time until the processors have.
        await self._first_unit_up.wait()
        await live.open_ssh()
        self.record.machine(live.name, ports=dict(live.ports), host_key=live.host_key)
        await live.screenshot("ready", self.run_folder)

    async def _start_services(self, deadline: Deadline) -> None:
        await self.services.bring_up(deadline)
        self._first_unit_up.set()  # there may be no unit at all

    # ------------------------------------------------------------------ changing what runs

    async def restart(self, names: list[str], deadline: Deadline) -> None:
        """Restart services, or reboot machines; what rests on them is proven anew."""
        chosen = self.services.graph.with_dependants(services_of(self.topology, names))
        rebooted = machines_of(self.topology, names)
        stopping = tuple(n for n in chosen if self.topology.services[n].machine not in rebooted)
        await self.services.stop_units(stopping, deadline)
        for name in rebooted:
            await self._reboot(name, deadline)
        self.services.mark_pending(chosen)
        await self._start_services(deadline)
        await self.verify_still_healthy(deadline)

    async def _reboot(self, name: str, deadline: Deadline) -> None:
        live = self.machines[name]
        key = self.paths.user_key.with_suffix(".pub").read_text().strip()
        await live.reboot(key, self.paths.user_key, deadline)
        await live.open_ssh()
        self.record.machine(name, ports=dict(live.ports), host_key=live.host_key)

    # ------------------------------------------------------------------ leaving

    async def collect(self, step: str) -> None:
        """Logs and pictures of every machine that still answers."""
        patience = max(1.0, self.factor / 4)
        real = self.services.real_name
        await collect_all(self.machines.values(), self.topology, self.run_folder, step, self.bus, patience, real)

    async def close(self) -> None:
        """Let go; the machines go on."""
        for machine in self.machines.values():
            await machine.close()

    async def _screenshot(self, service: Service) -> None:
        if service.unit is not None:
            self._first_unit_up.set()
        await self.machines[service.machine].screenshot(service.name, self.run_folder)

    def _record_service_state(self, event: Event) -> None:
        if isinstance(event, ServiceStateChanged) and event.subject in self.topology.services:
            self.record.service(event.subject, event.state)
