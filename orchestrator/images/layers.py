"""The layers of machines as disks: made before anything boots, in no image."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.deadline import Deadline
from orchestrator.errors import ImageError
from orchestrator.events import EventBus
from orchestrator.events.run import Note
from orchestrator.images.contract import BuiltImage
from orchestrator.images.folder_disk import FolderSize, folder_disk, measure
from orchestrator.images.owners import owner_of
from orchestrator.images.provider import provider_of
from orchestrator.text import size_text
from orchestrator.threads import in_thread
from orchestrator.topology.model import Layer, Topology

SERIAL_LENGTH = 20  # bytes that virtio has for it


@dataclass(frozen=True, slots=True)
class LayerDisk:
    """A layer as a machine has it.

    Attributes:
        name: of the layer.
        path: an ext4 file system.
        key: of its content and owner.
        capacity: bytes of the device that the machine sees.
    """

    name: str
    path: Path
    key: str
    capacity: int


def serial_of(layer: str) -> str:
    """By which serial number a guest finds the disk of a layer. Pure.

    >>> serial_of("app"), serial_of("a-name-of-more-bytes")
    ('layer-app', 'layer-221da1b48d53e9')
    """
    plain = f"layer-{layer}"
    if len(plain) <= SERIAL_LENGTH:
        return plain
    return f"layer-{hashlib.sha256(layer.encode()).hexdigest()}"[:SERIAL_LENGTH]


async def layer_disks(
    topology: Topology, images: Mapping[str, BuiltImage], bus: EventBus, deadline: Deadline
) -> Mapping[str, tuple[LayerDisk, ...]]:
    """The disks of each machine, in the order of the file; without the layers that its image brings.

    Raises:
        ImageError, HostError: one cannot be made.
    """
    sizes: dict[str, FolderSize] = {}
    made: dict[tuple[str, str], LayerDisk] = {}  # by layer, and image, whose users it may belong to
    disks: dict[str, tuple[LayerDisk, ...]] = {}
    for name, machine in topology.machines.items():
        image = images[machine.image]
        source = provider_of(topology.images[machine.image], image.provider)
        wanted = [layer for layer in topology.layers_of(name) if not source.brings(layer)]
        for layer in wanted:
            if layer.name not in sizes:
                sizes[layer.name] = await _measured(layer)
            if (layer.name, machine.image) not in made:
                made[layer.name, machine.image] = await _disk(layer, sizes[layer.name], image, bus, deadline)
        disks[name] = tuple(made[layer.name, machine.image] for layer in wanted)
    return disks


async def _measured(layer: Layer) -> FolderSize:
    try:
        return await in_thread(lambda: measure(layer.source, layer.exclude, read=True))
    except OSError as error:
        raise ImageError(
            f"layer {layer.name} cannot be read",
            why=f"{error.filename or layer.source}: {error.strerror or error}",
            hint="make it readable, or leave it out with exclude",
        ) from error


async def _disk(layer: Layer, size: FolderSize, image: BuiltImage, bus: EventBus, deadline: Deadline) -> LayerDisk:
    owner = await owner_of(layer.owner, image, deadline)
    path, cached = await folder_disk(layer.source, size, name=f"layer-{layer.name}", deadline=deadline, owner=owner)
    if not cached:
        text = f"layer {layer.name}: made a disk ({size_text(size.size)}, {size.entries} files) of {layer.source}"
        bus.emit(Note(level="info", message=text))
    return LayerDisk(layer.name, path, f"{size.key} {owner.user}:{owner.group}", path.stat().st_size)
