"""One command's hold on a running environment: machines driven, services gated, everything watched."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from orchestrator.deadline import Deadline
from orchestrator.environment.evidence import collect_logs
from orchestrator.environment.machine import LiveMachine
from orchestrator.environment.places import Places
from orchestrator.environment.state import StateFile
from orchestrator.environment.wards import Wards
from orchestrator.errors import OrchestratorError, UsageError
from orchestrator.events import Event, EventBus
from orchestrator.images.contract import BuiltImage
from orchestrator.net.networks import check_lengths, nics_of, start_switch
from orchestrator.services.checks import Channels
from orchestrator.services.gate import Gatekeeper
from orchestrator.services.graph import ServiceGraph
from orchestrator.tasks import guarded, together
from orchestrator.topology.model import NetworkKind, Service, Topology
from orchestrator.vm.arguments import script_arguments, script_environment

T = TypeVar("T")
EVIDENCE_LIMIT = 30.0  # seconds for logs and pictures, before scaling
SWITCH_LIMIT = 10.0
MACHINE = "machine:"


@dataclass(frozen=True, slots=True)
class Launch:
    """What is needed to start machines, and not to join running ones."""

    images: Mapping[str, BuiltImage]
    user_key: str
    inherited: Mapping[str, str]
    kernel_parameters: str = ""


class Session:
    """Drives the machines of one environment while its lock is held.

    Use `watched` around all work: a machine that dies then ends the wait for
    anything else, with its own explanation.
    """

    def __init__(self, places: Places, record: StateFile, bus: EventBus) -> None:
        self.places = places
        self.record = record
        self.bus = bus
        self.factor = record.state.factor
        self.topology: Topology = record.state.topology
        self.run_folder: Path = record.state.run_folder
        self.machines = {
            name: LiveMachine(machine, self.topology, places.machine(name, self.run_folder), bus, self.factor)
            for name, machine in self.topology.machines.items()
        }
        self.gate = Gatekeeper(
            ServiceGraph.remembered(self.topology.services, record.state.services),
            {name: Channels(machine.ready_agent, machine.ssh) for name, machine in self.machines.items()},
            {name: machine.journal for name, machine in self.machines.items()},
            bus,
            factor=self.factor,
            command=f"orchestrator -n {places.name}",
            on_up=self._picture,
        )
        self._first_unit_up = asyncio.Event()
        bus.subscribe(self._remember)

    async def watched(self, work: Coroutine[Any, Any, T]) -> T:
        """Do the work while every machine is watched."""
        guards: list[Callable[[], Coroutine[Any, Any, None]]] = [m.watch for m in self.machines.values()]
        return await guarded(work, guards)

    # ------------------------------------------------------------------ coming up

    async def start(self, launch: Launch, wards: Wards, deadline: Deadline) -> None:
        """Networks, then all machines at once; services start as their machines come up."""
        await self._start_networks(wards, deadline)
        for name in self.machines:
            self._launch(name, launch, wards)
        await together(
            *(self._boot(machine, launch, deadline) for machine in self.machines.values()),
            self._gate(deadline),
        )

    async def resume(self, deadline: Deadline) -> None:
        """Join machines that already run, and prove every service again."""
        await self.join(deadline)
        self.gate.forget(tuple(self.topology.services))
        await together(*(m.settle() for m in self.machines.values()), self._gate(deadline))

    async def join(self, deadline: Deadline, rebooting: Sequence[str] = ()) -> None:
        """Attach to every running machine; of those about to be rebooted, only to QEMU."""
        for name, machine in self.machines.items():
            known = self.record.state.machines[name]
            machine.ports, machine.host_key = known.ports, known.host_key
            join = machine.rejoin_monitor if name in rebooting else machine.rejoin
            await join(known.process, self.places.user_key, deadline)

    async def _start_networks(self, wards: Wards, deadline: Deadline) -> None:
        paths = self.places.networks(self.run_folder)
        paths.logs.mkdir(exist_ok=True)
        for network in self.topology.networks.values():
            check_lengths(paths, network, list(self.topology.machines))
            if network.kind is NetworkKind.VDE:
                process = await start_switch(network, paths, deadline.earlier(SWITCH_LIMIT))
                wards.add(process)
                self.record.change(networks={**self.record.state.networks, network.name: process})
            self.bus.emit("network.state", network.name, state="ready", network_kind=network.kind.value)

    def _launch(self, name: str, launch: Launch, wards: Wards) -> None:
        live = self.machines[name]
        built = launch.images[live.machine.image]
        script = built.run_script
        nics = nics_of(
            live.machine, self.topology.machines, self.topology.networks, self.places.networks(self.run_folder)
        )
        arguments = script_arguments(
            live.machine,
            live.paths,
            nics,
            accelerator=self.record.state.accelerator,
            fixed_memory="memory-backend" in script.read_text(errors="replace"),
        )
        environment = script_environment(live.machine, live.paths, launch.inherited, launch.kernel_parameters)
        process = live.launch((str(script), *arguments), environment)
        wards.add(process)
        self.record.machine(name, process=process, image=str(built.path))

    async def _boot(self, live: LiveMachine, launch: Launch, deadline: Deadline) -> None:
        await live.boot(launch.user_key, self.places.user_key, deadline)
        # A key exchange costs an emulated guest seconds, just when all boots end and the first units start. A check
        # that needs it opens it at once; otherwise it has time until the processors have.
        await self._first_unit_up.wait()
        await live.settle()
        self.record.machine(live.name, ports=dict(live.ports), host_key=live.host_key)
        await live.screenshot("ready", self.run_folder)

    async def _gate(self, deadline: Deadline) -> None:
        await self.gate.bring_up(deadline)
        self._first_unit_up.set()  # there may be no unit at all

    # ------------------------------------------------------------------ changing what runs

    def services_of(self, names: list[str]) -> tuple[str, ...]:
        """The services meant by names of services, or by ``machine:NAME``, or by names of machines.

        A name that is both means the service; ``machine:`` tells the machine.

        Raises:
            UsageError: with every name that is neither.
        """
        machines = self.machines_of(names)
        unknown = [n for n in names if n not in self.topology.services and n.removeprefix(MACHINE) not in machines]
        if unknown:
            known = ", ".join([*self.topology.services, *(f"{MACHINE}{name}" for name in self.topology.machines)])
            raise UsageError(f"no service or machine is named {', '.join(unknown)}", why=f"known are {known}")
        return tuple(
            service.name
            for service in self.topology.services.values()
            if service.name in names or service.machine in machines
        )

    def machines_of(self, names: list[str]) -> list[str]:
        """The machines among the names."""
        return [
            name
            for name in self.machines
            if f"{MACHINE}{name}" in names or (name in names and name not in self.topology.services)
        ]

    async def restart(self, names: list[str], deadline: Deadline) -> None:
        """Restart services, or reboot machines; what rests on them is proven anew."""
        chosen = self.gate.graph.with_dependants(self.services_of(names))
        rebooted = self.machines_of(names)
        stopping = tuple(n for n in chosen if self.topology.services[n].machine not in rebooted)
        await self.gate.stop_units(stopping, deadline)
        for name in rebooted:
            await self._reboot(name, deadline)
        self.gate.forget(chosen)
        await self._gate(deadline)

    async def _reboot(self, name: str, deadline: Deadline) -> None:
        live = self.machines[name]
        key = self.places.user_key.with_suffix(".pub").read_text().strip()
        await live.reboot(key, self.places.user_key, deadline)
        await live.settle()
        self.record.machine(name, ports=dict(live.ports), host_key=live.host_key)

    # ------------------------------------------------------------------ leaving

    async def collect(self, step: str) -> None:
        """Logs and pictures of every machine that still answers."""
        limit = Deadline.after(EVIDENCE_LIMIT * max(1.0, self.factor / 4))
        for machine in self.machines.values():
            with suppress(OrchestratorError):
                await machine.screenshot(step, self.run_folder)
        for machine in self.machines.values():
            if machine.handed_over:
                await collect_logs(machine, self.topology, self.bus, limit)

    async def close(self) -> None:
        """Let go; the machines go on."""
        for machine in self.machines.values():
            await machine.close()

    async def _picture(self, service: Service) -> None:
        if service.unit is not None:
            self._first_unit_up.set()
        await self.machines[service.machine].screenshot(service.name, self.run_folder)

    def _remember(self, event: Event) -> None:
        if event.kind == "service.state" and event.subject in self.topology.services:
            self.record.service(event.subject, str(event.data["state"]))
