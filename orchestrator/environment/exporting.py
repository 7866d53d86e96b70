"""Exporting saved states: which ones, what they rest on, and one file of them."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator import __version__
from orchestrator.deadline import Deadline, monotonic
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.saving import default_store
from orchestrator.environment.state import read_state
from orchestrator.errors import SnapshotError, UsageError
from orchestrator.events import EventBus
from orchestrator.events.run import Note
from orchestrator.images.cache import ImageCache
from orchestrator.images.entry_files import entry_files, read_by_machines, record_of
from orchestrator.process import run
from orchestrator.snapshots.manifest import SavedMachine, files_of
from orchestrator.snapshots.memory import digest
from orchestrator.snapshots.pack import (
    MACHINE_FILES,
    Pack,
    PackedFile,
    PackedFolder,
    PackedMachine,
    PackedState,
    data_bytes,
    to_json,
)
from orchestrator.snapshots.pack_write import Blobs, write_pack
from orchestrator.snapshots.restore import verify
from orchestrator.snapshots.store import ISOLATE, Snapshot
from orchestrator.tasks import run_all
from orchestrator.text import size_text
from orchestrator.threads import in_thread
from orchestrator.topology.stages import HEALTHY

SAY_EVERY = 3.0  # seconds between two lines of progress


@dataclass(frozen=True, slots=True)
class Exported:
    """A packed state that was written.

    Attributes:
        size: bytes of the file; ``data`` of what is in it, unpacked.
        folders: the images and layers that it names, and whether it contains each.
    """

    file: Path
    size: int
    data: int
    states: tuple[str, ...]
    folders: Mapping[str, bool]


class Steps:
    """Tells from time to time how far something is; `told` is the progress of `orchestrator.snapshots.pack_write`."""

    def __init__(self, what: str, bus: EventBus) -> None:
        self._what = what
        self._bus = bus
        self._said = monotonic()

    def told(self, done: int, total: int) -> None:
        """So many bytes are done."""
        if monotonic() - self._said >= SAY_EVERY:
            self._said = monotonic()
            self._bus.emit(Note(level="info", message=f"{self._what}: {size_text(done)} of {size_text(total)}"))


def states_to_export(environment: str, name: str | None) -> list[Snapshot]:
    """The states meant: a named one, or the healthy one with the stages on the way to it.

    Raises:
        UsageError: there is none.
    """
    paths, store = EnvironmentPaths.of(environment), default_store()
    if name is not None and name != HEALTHY:
        return [store.get(environment, name, paths.identity)]
    stored = [one for one in store.all() if one.automatic and one.manifest is not None and one.name != ISOLATE]
    state = read_state(paths.state)
    used = state.snapshot if state is not None else ""
    mine = [
        one for one in stored if one.name == HEALTHY and (str(one.folder) == used or one.environment == environment)
    ]
    if not mine:
        raise UsageError(
            f"environment {environment} has no healthy state to export",
            why="`up` saves one at its end",
            hint=f"orchestrator -n {environment} up",
        )
    healthy = next((one for one in mine if str(one.folder) == used), mine[0])
    if name is not None:
        return [healthy]
    stages: dict[str, Snapshot] = {}
    for one in stored:
        if one.name != HEALTHY and _is_on_the_way(one, healthy):
            stages.setdefault(one.name, one)
    return [*reversed(stages.values()), healthy]


def _is_on_the_way(one: Snapshot, healthy: Snapshot) -> bool:
    return one.require_manifest().inputs.items() <= healthy.require_manifest().inputs.items()


async def export(
    states: Sequence[Snapshot], file: Path, *, with_images: bool, bus: EventBus, deadline: Deadline
) -> Exported:
    """Write states into one file; whole or not at all.

    Raises:
        SnapshotError: a state is damaged, or what it rests on is not known.
        OSError: the file cannot be written.
    """
    cache, blobs, folders = ImageCache(), Blobs(), dict[str, PackedFolder]()
    packed = []
    for one in states:
        await verify(one.folder, one.require_manifest())
        packed.append(await _packed_state(one, cache, blobs, folders, deadline))
    images = {machine.image for state in packed for machine in state.machines.values()}
    for name, folder in folders.items():
        folders[name] = await _with_contents(cache.root / name, folder, name not in images or with_images, blobs)
    pack = Pack(__version__, tuple(packed), folders)
    _warn_of_secrets(packed, bus)
    size = await _write(file, to_json(pack), blobs, Steps(f"export to {file.name}", bus))
    names = tuple(state.name for state in packed)
    return Exported(
        file, size, data_bytes(pack.files()), names, {name: bool(one.files) for name, one in folders.items()}
    )


async def _packed_state(
    one: Snapshot, cache: ImageCache, blobs: Blobs, folders: dict[str, PackedFolder], deadline: Deadline
) -> PackedState:
    manifest = one.require_manifest()
    machines = {}
    for name, saved in manifest.machines.items():
        if not saved.machine_type:
            raise SnapshotError(
                f"the state {one.name} cannot be exported",
                why="it was saved by an earlier version, which did not note the type of the machines",
                hint="orchestrator up --fresh saves it again",
            )
        files = files_of(one.folder, name)
        found = {file: files.folder / file for file in MACHINE_FILES if (files.folder / file).exists()}
        scanned = await run_all(*(in_thread(blobs.scan, path) for path in found.values()))
        machines[name] = PackedMachine(
            image=_folder(cache, saved.image, folders),
            backing=await backing_of(files.disk, saved.image, deadline),
            ram=saved.ram,
            state=saved.state,
            host_key=saved.host_key,
            machine_type=saved.machine_type,
            cpu=saved.cpu,
            layers=_layers(cache, saved, folders),
            files=dict(zip(found, scanned, strict=True)),
        )
    return PackedState(
        name=one.name,
        automatic=one.automatic,
        environment=one.environment,
        key=manifest.key,
        inputs=manifest.inputs,
        created=manifest.created,
        paused=manifest.paused,
        command=manifest.command,
        machines=machines,
    )


def _layers(cache: ImageCache, saved: SavedMachine, folders: dict[str, PackedFolder]) -> dict[str, str]:
    return {
        f"{_folder(cache, file, folders)}/{Path(file).name}": fingerprint for file, fingerprint in saved.layers.items()
    }


def _folder(cache: ImageCache, path: str, folders: dict[str, PackedFolder]) -> str:
    """The name of the cache's folder that holds a path; it is described in ``folders`` then."""
    record = record_of(cache, Path(path))
    if record is None:
        raise SnapshotError(
            "a state whose image is not in the cache cannot be exported",
            where=[path],
            hint="orchestrator images list",
        )
    folders.setdefault(record.folder.name, PackedFolder(record.name, record.layer, record.key, {}))
    return record.folder.name


async def backing_of(disk: Path, image: str, deadline: Deadline) -> str:
    """The file of an image that a disk rests on, as a path in it; empty: it rests on none.

    Raises:
        SnapshotError: it rests on something else.
        HostError: the disk cannot be read.
    """
    told = json.loads((await run(["qemu-img", "info", "--output=json", str(disk)], deadline=deadline)).stdout)
    name = str(told.get("backing-filename", ""))
    if not name:
        return ""
    try:
        return str(Path(name).resolve().relative_to(Path(image).resolve()))  # run scripts resolve links
    except ValueError:
        raise SnapshotError(
            "the file below a disk is not in its machine's image", where=[str(disk), name, image]
        ) from None


async def _with_contents(entry: Path, folder: PackedFolder, included: bool, blobs: Blobs) -> PackedFolder:
    """The folder with the fingerprints of what machines read in it and, if included, all its files."""
    files = entry_files(entry)
    if included and not files:
        raise SnapshotError(
            f"image {folder.name} cannot be put into the file",
            why="it lies in the store of Nix, and its folder only links there",
            where=[str(entry)],
            hint="leave out --with-images; nix copy brings the image to another host",
        )
    read = read_by_machines(files)
    prints = await run_all(*(in_thread(digest, path) for path in read.values()))
    scanned: list[PackedFile] = []
    if included:
        scanned = await run_all(*(in_thread(blobs.scan, path) for path in files.values()))
    contents = dict(zip(read, prints, strict=True))
    return PackedFolder(folder.name, folder.layer, folder.key, contents, dict(zip(files, scanned, strict=False)))


def _warn_of_secrets(states: Sequence[PackedState], bus: EventBus) -> None:
    machines = sorted({name for state in states for name in state.machines})
    pushed = sorted(
        {name.removeprefix("file ") for state in states for name in state.inputs if name.startswith("file ")}
    )
    files = f", and of pushed files: {', '.join(pushed)}" if pushed else ""
    message = (
        f"the file holds the memory and disks of {', '.join(machines)}, with every secret that is in them: "
        f"host keys, passwords, environment of services{files}. Whoever can read it has them"
    )
    bus.emit(Note(level="warning", message=message))


async def _write(file: Path, manifest: bytes, blobs: Blobs, steps: Steps) -> int:
    """Its size. The file is there when it is complete, and only this user can read it."""
    descriptor, name = tempfile.mkstemp(dir=file.parent, prefix=f".{file.name}.", suffix=".part")
    temporary = Path(name)
    try:
        with os.fdopen(descriptor, "wb", buffering=1 << 20) as target:
            await write_pack(target, manifest, blobs, steps.told)
            target.flush()
            await in_thread(os.fsync, target.fileno())
            size = target.tell()
        temporary.replace(file)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    return size
