"""Whether a packed state can be used on this host: the program, QEMU, the processor, and the images it rests on."""

from __future__ import annotations

import os
import platform
import struct
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator import __version__
from orchestrator.deadline import Deadline
from orchestrator.errors import SnapshotError
from orchestrator.images.cache import ImageCache
from orchestrator.images.entry_files import entry_files, read_by_machines, record_of
from orchestrator.process import run
from orchestrator.snapshots.key import host_cpus
from orchestrator.snapshots.memory import digest
from orchestrator.snapshots.pack import Pack, PackedFolder
from orchestrator.tasks import run_all
from orchestrator.threads import in_thread
from orchestrator.vm.accelerator import KVM, Accelerator, for_guests
from orchestrator.vm.architecture import processor_of

_QCOW2 = struct.Struct(">4sI")
_EXTERNAL_DATA = 1 << 2  # of the features that a reader must know


@dataclass(frozen=True, slots=True)
class Have:
    """The images and layers of a packed state, beside what the cache has.

    Attributes:
        present: they are here, the same.
        wanted: they are in the file, and not here.
    """

    present: tuple[str, ...]
    wanted: tuple[str, ...]


async def check_host(pack: Pack, accelerator: Accelerator, where: str, deadline: Deadline) -> None:
    """Raise where the machines of a packed state could not go on on this host; all reasons at once.

    Args:
        accelerator: as probed.

    Raises:
        SnapshotError: they could not.
    """
    reasons = [] if pack.version == __version__ else [f"orchestrator {pack.version} exported it, this is {__version__}"]
    guests = {processor_of(machine.cpu) for machine in pack.machines()}
    real = for_guests(accelerator, guests, host=platform.machine(), kvm=os.access(KVM, os.R_OK | os.W_OK))
    for state in pack.states:
        reasons += _host_reasons(state.inputs, real)
    types = sorted({(processor_of(machine.cpu), machine.machine_type) for machine in pack.machines()})
    for processor, kind in types:
        if kind not in await machine_types(f"qemu-system-{processor}", deadline):
            reasons.append(f"QEMU of this host has no machine type {kind}")
    if reasons:
        raise SnapshotError(
            f"{where} cannot be used on this host",
            why="a saved machine only goes on where it finds what it knew",
            evidence=list(dict.fromkeys(reasons)),
            hint="orchestrator up starts cold here, and saves a state that can be exported",
        )


def _host_reasons(inputs: Mapping[str, str], real: Accelerator) -> list[str]:
    reasons = []
    if inputs.get("QEMU") != real.qemu:
        reasons.append(f"it was saved with QEMU {inputs.get('QEMU', 'unknown')}, this host has {real.qemu}")
    if inputs.get("accelerator") != real.name:
        reasons.append(f"its machines ran with {inputs.get('accelerator', 'unknown')}, here they run with {real.name}")
    elif inputs.get("host CPU") not in host_cpus(real.name):
        reasons.append(
            'its machines have seen another processor than this host\'s (cpu = "x86-64-v2" in the topology makes '
            "states that other hosts can use)"
        )
    return reasons


async def machine_types(program: str, deadline: Deadline) -> frozenset[str]:
    """The types of machines that a QEMU has."""
    done = await run([program, "-machine", "help"], deadline=deadline, hint="orchestrator host-setup")
    return frozenset(line.split(None, 1)[0] for line in done.stdout.splitlines() if line.strip())


async def have(pack: Pack, cache: ImageCache, where: str) -> Have:
    """Compare the images and layers of a packed state with those of the cache.

    Raises:
        SnapshotError: some are missing, or are others of the same key; all at once.
    """
    compared = await run_all(*(_compare(cache, one) for one in pack.folders.values()))
    results = dict(zip(pack.folders, compared, strict=True))
    missing = [_missing(name, pack.folders[name]) for name, result in results.items() if result == "missing"]
    other = [
        f"{name} was built on another host too, and its files differ: {result}"
        for name, result in results.items()
        if result not in ("", "missing", "wanted")
    ]
    if missing or other:
        raise SnapshotError(
            f"{where} needs images that are not here",
            why="the machines' memory holds parts of their disks, so both must be of one build",
            evidence=[*missing, *other],
            hint="copy the images of the cache too, or export with --with-images"
            if missing
            else "orchestrator images prune, then import a file that was exported with --with-images",
        )
    return Have(
        present=tuple(name for name, result in results.items() if not result),
        wanted=tuple(name for name, result in results.items() if result == "wanted"),
    )


def _missing(name: str, folder: PackedFolder) -> str:
    kind = "layer" if folder.layer == "folder" else "image"
    return f"{kind} {folder.name} of the key {folder.key[:16]} is missing ({name})"


async def _compare(cache: ImageCache, folder: PackedFolder) -> str:
    """Nothing if the cache has it, ``wanted`` or ``missing`` if not; else the first file that differs."""
    path = cache.path_of(folder.name, folder.layer, folder.key)
    if record_of(cache, path) is None:
        return "wanted" if folder.files else "missing"
    files = read_by_machines(entry_files(path))
    prints = await run_all(*(in_thread(digest, file) for file in files.values()))
    found = dict(zip(files, prints, strict=True))
    return next((name for name in {**found, **folder.contents} if found.get(name) != folder.contents.get(name)), "")


def check_disk(disk: Path, backing: str, where: str) -> None:
    """Raise where a disk from elsewhere would read other files of this host than its image.

    Args:
        backing: the file of its image that it rests on, empty if it rests on none.

    Raises:
        SnapshotError: it would.
        OSError: it cannot be read.
    """
    with disk.open("rb") as file:
        head = file.read(80)
    magic, version = _QCOW2.unpack_from(head) if len(head) == 80 else (b"", 0)
    features = int.from_bytes(head[72:80], "big") if version >= 3 else 0
    has_backing = head[8:16] != bytes(8)
    if magic != b"QFI\xfb" or version not in (2, 3) or features & _EXTERNAL_DATA or has_backing != bool(backing):
        raise SnapshotError(
            f"{where} is damaged, or is not a packed state",
            why=f"{disk.parent.name}/{disk.name} is not a disk as a machine here has it",
        )
