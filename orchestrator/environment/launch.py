"""Starting the processes of an environment: switches, QEMUs, egress filters. Nothing here waits for a guest."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.deadline import Deadline
from orchestrator.environment.machine import LiveMachine
from orchestrator.environment.memory import own_memory
from orchestrator.environment.reaper_client import ReaperClient
from orchestrator.environment.session import Session
from orchestrator.errors import HostError
from orchestrator.events.machines import NetworkStateChanged
from orchestrator.events.run import Note
from orchestrator.guest.seed import prepare
from orchestrator.images.contract import BuiltImage, guest_facts
from orchestrator.images.layers import serial_of
from orchestrator.net.egress import addresses_of, start_filter
from orchestrator.net.networks import check_lengths, connects_again, nics_of, start_switch
from orchestrator.snapshots.memory import RamBacking
from orchestrator.snapshots.store import Snapshot
from orchestrator.tasks import run_all
from orchestrator.topology.model import NetworkKind
from orchestrator.topology.stages import Stage
from orchestrator.vm.architecture import architecture_of
from orchestrator.vm.arguments import Memory, QemuSettings, script_arguments, script_environment, writable_drives
from orchestrator.vm.option_values import ReadOnlyDisk
from orchestrator.vm.user import qemu_user

SWITCH_LIMIT = 10.0  # seconds until a switch takes connections


@dataclass(frozen=True, slots=True)
class Launch:
    """Inputs of a fresh start.

    Attributes:
        reaper: kills what was launched when this program dies before it is done.
        inherited: the environment variables that run scripts may see.
        ports: per machine, guest port → host port, where they must be as before.
        ram: where memory is kept as files; None: anonymous, or a snapshot's own files, copy on write.
        snapshot: the machines are restored from it instead of booting.
        stage: the services that are up in the snapshot; None: all.
        layers: for each machine, its layers and their disks.
    """

    images: Mapping[str, BuiltImage]
    user_key: str
    reaper: ReaperClient
    inherited: Mapping[str, str]
    kernel_parameters: str = ""
    ports: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    ram: RamBacking | None = None
    snapshot: Snapshot | None = None
    stage: Stage | None = None
    layers: Mapping[str, Mapping[str, Path]] = field(default_factory=dict)


async def start_networks(session: Session, launch: Launch, deadline: Deadline) -> None:
    """Start the switches that do not run yet.

    Raises:
        HostError: a switch does not start.
    """
    paths, record = session.paths.networks(session.logs_folder), session.record
    paths.logs.mkdir(exist_ok=True)
    for network in session.topology.networks.values():
        running = record.state.networks.get(network.name)
        if running is not None and running.alive:
            session.switches[network.name] = running
            continue
        check_lengths(paths, network, list(session.topology.machines))
        if network.kind is NetworkKind.VDE:
            process = await start_switch(network, paths, deadline.earlier(SWITCH_LIMIT))
            launch.reaper.add(process)
            session.switches[network.name] = process
            record.change(networks={**record.state.networks, network.name: process})
        session.bus.emit(NetworkStateChanged(network.name, state="ready", network_kind=network.kind.value))


async def resolve_destinations(session: Session, deadline: Deadline) -> None:
    """Find the addresses of all names outside that machines may reach; where no name server answers, those of before.

    Raises:
        HostError: a name has no address, and had none before.
    """

    async def resolve(live: LiveMachine) -> None:
        known = session.record.state.machines.get(live.name)
        try:
            live.guest.addresses = await addresses_of(live.machine, deadline)
        except HostError as error:
            if known is None or not known.addresses:
                raise
            live.guest.addresses = known.addresses
            session.bus.emit(Note(live.name, level="warning", message=f"{error.what}; the addresses it had are kept"))

    await run_all(*map(resolve, session.machines.values()))


def launch_machine(session: Session, live: LiveMachine, launch: Launch, memory: Memory | None) -> None:
    """Start a machine's QEMU, and its egress filter, and record both."""
    name, addresses = live.name, live.guest.addresses
    built, layers = launch.images[live.machine.image], launch.layers.get(name, {})
    live.guest.layers = tuple(layers)
    script = built.script_text
    networks = session.paths.networks(session.logs_folder)
    nics = nics_of(live.machine, session.topology.machines, session.topology.networks, networks)
    user = "" if connects_again(nics) else qemu_user(f"{session.paths.identity}/{name}", script)
    settings = QemuSettings(
        accelerator=session.record.state.accelerator,
        fixed_memory=own_memory(script),
        memory=memory,
        user=user,
        drives=writable_drives(script),
        vnc=live.machine.image in session.record.state.with_vnc,
        disks=[ReadOnlyDisk(f"layer-{layer}", serial_of(layer), disk) for layer, disk in layers.items()],
        architecture=architecture_of(script),
    )
    arguments = script_arguments(live.machine, live.paths, nics, settings)
    if guest_facts(built.path).foreign:
        arguments += prepare(live.machine, launch.user_key, live.paths)
    environment = script_environment(
        live.machine, live.paths, launch.inherited, launch.kernel_parameters, launch.ports.get(name, {})
    )
    process = live.launch((str(built.run_script), *arguments), environment)
    launch.reaper.add(process)
    file = str(memory.file) if memory is not None and memory.file is not None else ""
    ram, base = (file, "") if memory is not None and memory.shared else ("", file)
    disks = {layer: str(disk) for layer, disk in layers.items()}
    session.record.machine(
        name,
        process=process,
        image=str(built.path),
        ram=ram,
        base=base,
        addresses=addresses,
        layers=disks,
        prepared=tuple(sorted(live.guest.services)),
    )
    if live.machine.destinations:
        log = networks.logs / f"egress-{name}.log"
        egress_filter = start_filter(live.machine, live.paths, addresses, log, launch.inherited, user)
        launch.reaper.add(egress_filter)
        session.record.machine(name, egress_filter=egress_filter)
