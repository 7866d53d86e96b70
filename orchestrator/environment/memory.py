"""The RAM files of an environment: where they go, and new ones for a cold start."""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator.environment.places import Places
from orchestrator.events import EventBus
from orchestrator.images.contract import BuiltImage
from orchestrator.snapshots.memory import MIB, RamPlace, choose_place
from orchestrator.snapshots.store import make_private
from orchestrator.topology.model import Machine, Topology
from orchestrator.vm.arguments import Memory


def place_of_memory(topology: Topology, places: Places, bus: EventBus) -> RamPlace | None:
    """Where the machines' memory is kept as files; None when there is no room, and no state can be saved."""
    wanted = sum(machine.memory for machine in topology.machines.values()) * MIB
    place = choose_place(wanted, places.folder)
    if place.folder != places.folder:
        return place
    message = f"no state can be saved, so the next start will be cold too: {place.reason}"
    bus.emit("note", level="info", message=message)
    return None


def ram_file(places: Places, machine: Machine, place: RamPlace) -> Path:
    """The path of a machine's RAM file, in a folder that is there and private."""
    path = places.ram(machine.name, place)
    make_private(path.parent)
    return path


def new_memory(places: Places, machine: Machine, image: BuiltImage, place: RamPlace | None) -> Memory | None:
    """An empty RAM file for a cold start; None where memory is not to be a file."""
    if place is None or own_memory(image):
        return None
    path = ram_file(places, machine, place)
    path.unlink(missing_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
        file.truncate(machine.memory * MIB)
    return Memory(path)


def own_memory(image: BuiltImage) -> bool:
    """Whether the run script gives its machine a memory backend, whose size and kind are its own."""
    return "memory-backend" in image.script_text
