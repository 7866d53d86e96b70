"""The RAM files of an environment: where they go, and new ones for a cold start."""

from __future__ import annotations

import os
import re
from contextlib import suppress
from pathlib import Path

from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.state import MachineState
from orchestrator.events import EventBus
from orchestrator.events.run import Note
from orchestrator.folders import make_private
from orchestrator.images.contract import BuiltImage, find_run_script
from orchestrator.snapshots.memory import MIB, RamBacking, choose_place, touched
from orchestrator.topology.model import Machine, Topology
from orchestrator.vm.arguments import Memory


def choose_ram_backing(topology: Topology, paths: EnvironmentPaths, bus: EventBus) -> RamBacking | None:
    """Where the machines' memory is kept as files; None when there is no room, and QEMU must send it to be saved."""
    wanted = sum(machine.memory for machine in topology.machines.values()) * MIB
    place = choose_place(wanted, paths.folder)
    if place.folder != paths.folder:
        return place
    message = f"the machines' memory is not stored in files, so saving their state takes longer: {place.reason}"
    bus.emit(Note(level="info", message=message))
    return None


def ram_file(paths: EnvironmentPaths, machine: Machine, place: RamBacking) -> Path:
    """The path of a machine's RAM file, in a folder that is there and private."""
    path = paths.ram(machine.name, place)
    make_private(path.parent)
    return path


def new_memory(paths: EnvironmentPaths, machine: Machine, image: BuiltImage, place: RamBacking | None) -> Memory | None:
    """An empty memory for a cold start, a file where there is a place; None where the run script brings its own."""
    if own_memory(image.script_text):
        return None
    if place is None:
        return Memory(None, shared=False)
    path = ram_file(paths, machine, place)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.truncate(machine.memory * MIB)
    return Memory(path)


def own_memory(script: str) -> bool:
    """Whether a run script gives its machine a memory backend, whose size and kind are its own. Pure."""
    return "memory-backend" in script


def savable(machine: MachineState) -> bool:
    """Whether QEMU or we know where its memory is, and its guest can be given new keys after a restore."""
    if machine.ssh_only:
        return False
    return bool(machine.ram) or not own_memory(find_run_script(Path(machine.image)).read_text(errors="replace"))


def base_of(machine: MachineState) -> Path | None:
    """The file that its memory rests on; also when its name was removed meanwhile: QEMU has it open."""
    if not machine.base or Path(machine.base).exists():
        return Path(machine.base) if machine.base else None
    with suppress(OSError):
        for entry in Path(f"/proc/{machine.process.pid}/fd").iterdir():
            with suppress(OSError):
                if str(entry.readlink()) == f"{machine.base} (deleted)":
                    return entry
    return None


def memory_wanted(machine: MachineState, size: int) -> int:
    """Bytes that its saved memory will take, as far as can be told; at most ``size``.

    A file tells exactly. Of memory that is none, what it rests on and what it wrote itself may overlap.
    """
    if machine.ram:
        return touched(Path(machine.ram))
    found = 0
    with suppress(OSError):
        own = re.search(r"^RssAnon:\s+(\d+)", Path(f"/proc/{machine.process.pid}/status").read_text(), re.MULTILINE)
        found = int(own[1]) << 10 if own else 0
    with suppress(OSError):
        found += touched(Path(machine.base)) if machine.base else 0
    return min(found or size, size)
