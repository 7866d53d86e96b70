"""What a command wants to have running, and what that rests on."""

from __future__ import annotations

import os
import platform
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.deadline import Deadline
from orchestrator.environment.handover import handover_script, journal_script
from orchestrator.errors import TopologyError
from orchestrator.events import EventBus
from orchestrator.folders import cache_root
from orchestrator.images.contract import BuiltImage
from orchestrator.images.layers import LayerDisk, layer_disks
from orchestrator.images.provider import ensure_images
from orchestrator.snapshots.key import Parts, inputs_of
from orchestrator.topology.document import quote
from orchestrator.topology.load import NOTHING_GIVEN, load_topology, missing_files
from orchestrator.topology.model import Cpu, Topology
from orchestrator.vm.accelerator import KVM, Accelerator, emit_accelerator, for_guests, probe
from orchestrator.vm.architecture import X86_64, architecture_of
from orchestrator.vm.vnc import has_vnc, program_of


@dataclass(frozen=True, slots=True)
class Request:
    """What a command wants to have running.

    Attributes:
        provider: ``auto``, ``nixos`` or ``debian``.
        runs: the folder of run folders.
        command: the user's command line, for records.
        start: ``auto``, ``warm`` (from a saved state or not at all) or ``cold``.
        savable: its machines are going to be saved, so they need memory of their own.
        ports: per machine, guest port → host port, where they must be as before.
        inherited: the environment variables run scripts may see.
    """

    topology: Topology
    name: str
    provider: str
    runs: Path
    command: str
    kernel_parameters: str = ""
    start: str = "auto"
    savable: bool = False
    ports: Mapping[str, Mapping[int, int]] = field(default_factory=dict)
    inherited: Mapping[str, str] = field(default_factory=lambda: dict(os.environ))


def complete_topology(
    file: Path,
    *,
    variant: str | None = None,
    layers: Mapping[str, Path] = NOTHING_GIVEN,
    suite: Path | None = None,
) -> Topology:
    """The topology of a file, to be started.

    Raises:
        TopologyError: the file is wrong, or a host file that its machines need does not exist.
    """
    topology = load_topology(file, variant=variant, layers=layers, suite=suite)
    missing = missing_files(topology)
    if missing:
        raise TopologyError(
            "a file that the machines need does not exist",
            evidence=missing,
            where=[str(topology.path)],
            hint="make it, or give it `required = false`; docs/topology.md, files",
        )
    return topology


@dataclass(frozen=True, slots=True)
class Plan:
    """What a start rests on.

    Attributes:
        layers: the disks of each machine.
        inputs: name a saved state that fits.
        with_vnc: the images whose QEMU has VNC.
    """

    accelerator: Accelerator
    images: Mapping[str, BuiltImage]
    layers: Mapping[str, tuple[LayerDisk, ...]]
    inputs: Mapping[str, str]
    with_vnc: tuple[str, ...] = ()

    @property
    def layer_files(self) -> list[Path]:
        """The files of all disks of layers."""
        return [disk.path for disks in self.layers.values() for disk in disks]


async def plan(request: Request, provider: str, bus: EventBus, deadline: Deadline) -> Plan:
    """Find or build the images, make the disks of the layers, probe the host.

    Args:
        provider: as `choose_provider` has it for this request.

    Raises:
        ImageError, HostError: what is missing.
    """
    topology = request.topology
    accelerator = await probe(cache_root() / "accelerator.json")
    emit_accelerator(accelerator, bus)
    images = await ensure_images(topology, provider=provider, bus=bus, deadline=deadline)
    _check_levels(topology, images)
    layers = await layer_disks(topology, images, bus, deadline)
    guests = {architecture_of(image.script_text).name for image in images.values()}
    real = for_guests(accelerator, guests, host=platform.machine(), kvm=os.access(KVM, os.R_OK | os.W_OK))
    if real != accelerator:
        emit_accelerator(accelerator := real, bus)
    handovers = {
        name: handover_script(machine, topology, "") + journal_script() for name, machine in topology.machines.items()
    }
    parts = Parts(images, layers, handovers)
    inputs = inputs_of(topology, parts, accelerator, kernel_parameters=request.kernel_parameters)
    cache = cache_root() / "vnc.json"
    with_vnc = [name for name, image in images.items() if await has_vnc(program_of(image.script_text), cache)]
    return Plan(accelerator, images, layers, inputs, tuple(with_vnc))


def _check_levels(topology: Topology, images: Mapping[str, BuiltImage]) -> None:
    """Raise where a machine is to have a level of x86-64 whose image is for another processor."""
    wrong = [
        f"machine {quote(machine.name)} has cpu {quote(machine.cpu)}, and its image is for {guest.name}"
        for machine in topology.machines.values()
        if machine.cpu is not Cpu.HOST and (guest := architecture_of(images[machine.image].script_text)) is not X86_64
    ]
    if wrong:
        raise TopologyError(
            "a machine cannot have its processor",
            evidence=wrong,
            where=[str(topology.path)],
            hint='cpu = "host" for these machines; docs/topology.md, machines.NAME',
        )
