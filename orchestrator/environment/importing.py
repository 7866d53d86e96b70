"""Importing a packed state: its images and layers into the cache, its states to where a start finds them."""

from __future__ import annotations

import shutil
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.deadline import Deadline
from orchestrator.environment.exporting import Steps
from orchestrator.environment.import_checks import Have, check_disk, check_host, have
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.saving import default_store
from orchestrator.errors import HostError
from orchestrator.events import EventBus
from orchestrator.events.run import Note
from orchestrator.folders import cache_root
from orchestrator.images.cache import BUILDING, ImageCache
from orchestrator.process import run
from orchestrator.snapshots.manifest import Manifest, SavedMachine, files_of
from orchestrator.snapshots.memory import MIB, digest
from orchestrator.snapshots.pack import Pack, PackedMachine, PackedState, data_bytes
from orchestrator.snapshots.pack_read import NewFiles, PackReader
from orchestrator.snapshots.store import Snapshot, SnapshotStore, SnapshotWriter, place_for, point_name
from orchestrator.text import size_text
from orchestrator.threads import in_thread
from orchestrator.vm.accelerator import probe

STAGING = "import"  # the lock and the folder in which images are put together; one import at a time
SPARE = 512 * MIB  # bytes that stay free on the disk


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import came to.

    Attributes:
        states: those of the file; ``known`` the names of those that were here already.
        folders: the images and layers that were added to the cache.
    """

    states: tuple[Snapshot, ...]
    known: tuple[str, ...]
    folders: tuple[str, ...]


@dataclass
class _Work:
    """An import that goes on.

    Attributes:
        writers: the states that are made.
    """

    environment: str
    where: str
    pack: Pack
    have: Have
    cache: ImageCache
    store: SnapshotStore
    deadline: Deadline
    writers: dict[str, SnapshotWriter] = field(default_factory=dict)


async def import_file(file: Path, environment: str | None, bus: EventBus, deadline: Deadline) -> Imported:
    """Take what is in a packed state; nothing of it is there before all of it was read.

    Args:
        environment: whose states they become; None: of the environment that exported them.

    Raises:
        SnapshotError: the file is damaged, cannot be used here, or rests on images that are not here.
        OSError: the file cannot be read.
    """
    with file.open("rb", buffering=1 << 20) as source:
        reader = PackReader(source, str(file))
        pack = await in_thread(reader.manifest)
        accelerator = await probe(cache_root() / "accelerator.json")
        await check_host(pack, accelerator, str(file), deadline)
        cache, store = ImageCache(), default_store()
        async with cache.build_lock(STAGING, lambda *_: None, deadline):
            found = await have(pack, cache, str(file))
            name = environment or pack.states[0].environment
            return await _import(_Work(name, str(file), pack, found, cache, store, deadline), reader, bus)


async def _import(work: _Work, reader: PackReader, bus: EventBus) -> Imported:
    staging = work.cache.root / f"{BUILDING}{STAGING}"
    shutil.rmtree(staging, ignore_errors=True)  # of an import that was killed: we have its lock
    known = {number: one for number, state in enumerate(work.pack.states) if (one := _known(work, state)) is not None}
    new = [state for number, state in enumerate(work.pack.states) if number not in known]
    try:
        with ExitStack() as stack:
            places = NewFiles()
            _plan_states(work, new, places, stack)
            _plan_folders(work, staging, places)
            await reader.unpack(work.pack, places, Steps(f"import of {Path(work.where).name}", bus).told)
            for name in work.have.wanted:
                await _adopt(work, name, staging / name)
            states = [await _publish(work, state) for state in new]
    finally:
        shutil.rmtree(staging, ignore_errors=True)
    _say(work, states, known, bus)
    return Imported((*known.values(), *states), tuple(one.name for one in known.values()), work.have.wanted)


def _known(work: _Work, state: PackedState) -> Snapshot | None:
    """The same state, where it is here already; a damaged one in its place is removed."""
    if not state.automatic:
        return None
    for one in work.store.damaged(state.name, state.key):
        work.store.remove(one)
    return work.store.at_stage(state.name, state.key)


def _plan_states(work: _Work, states: Sequence[PackedState], places: NewFiles, stack: ExitStack) -> None:
    """Where the files of the states go.

    Raises:
        SnapshotError: there is no room, or the name is taken.
    """
    files = (file for state in states for machine in state.machines.values() for file in machine.files.values())
    place = place_for(work.store, data_bytes(files))
    identity = EnvironmentPaths.of(work.environment).identity
    for state in states:
        name = f"{state.name}.{state.key}" if state.automatic else point_name(state.name, identity)
        writer = stack.enter_context(work.store.saving(work.environment, name, place))
        work.writers[state.name] = writer
        for machine, packed in state.machines.items():
            folder = files_of(writer.folder, machine).folder
            folder.mkdir(mode=0o700)
            places.add(folder, packed.files, private=True)


def _plan_folders(work: _Work, staging: Path, places: NewFiles) -> None:
    wanted = {name: work.pack.folders[name].files for name in work.have.wanted}
    size = data_bytes(file for files in wanted.values() for file in files.values())
    work.cache.root.mkdir(parents=True, exist_ok=True)
    free = shutil.disk_usage(work.cache.root).free
    if wanted and free < size + SPARE:
        raise HostError(
            f"there is no room for the images of {work.where}",
            why=f"they take {size_text(size)}, and {work.cache.root} has {size_text(free)} free",
            hint="orchestrator images prune",
        )
    for name, files in wanted.items():
        (staging / name).mkdir(parents=True)
        places.add(staging / name, files, private=False)


async def _adopt(work: _Work, name: str, made: Path) -> None:
    """Make a folder an entry of the cache."""
    folder = work.pack.folders[name]

    async def fill(target: Path) -> None:
        for path in made.iterdir():
            path.rename(target / path.name)

    rest = {"waiting": lambda *_: None, "deadline": work.deadline}
    await work.cache.obtain(folder.name, folder.layer, folder.key, fill, **rest)  # type: ignore[arg-type]


async def _publish(work: _Work, state: PackedState) -> Snapshot:
    writer = work.writers[state.name]
    machines = {}
    for name, packed in state.machines.items():
        machines[name] = await _machine(work, files_of(writer.folder, name).disk, packed)
    manifest = Manifest(
        name=state.name,
        environment=work.environment,
        owner="",  # nobody's here: who starts from it makes host keys of its own
        key=state.key,
        inputs=state.inputs,
        created=state.created,
        paused=state.paused,
        command=state.command,
        machines=machines,
    )
    snapshot = writer.publish(manifest)
    for machine in machines.values():
        for path in (machine.image, *machine.layers):
            work.cache.pin(Path(path), snapshot.folder)
    return snapshot


async def _machine(work: _Work, disk: Path, packed: PackedMachine) -> SavedMachine:
    image = _path(work, packed.image)
    await in_thread(check_disk, disk, packed.backing, work.where)
    if packed.backing:
        base = image / packed.backing
        form = "qcow2" if base.suffix == ".qcow2" else "raw"
        rebase = ["qemu-img", "rebase", "-u", "-f", "qcow2", "-F", form, "-b", str(base), str(disk)]
        await run(rebase, deadline=work.deadline, hint="orchestrator host-setup")
    return SavedMachine(
        image=str(image),
        ram=packed.ram,
        state=packed.state,
        disk=await in_thread(digest, disk),
        host_key=packed.host_key,
        layers={str(_path(work, layer)): fingerprint for layer, fingerprint in packed.layers.items()},
        machine_type=packed.machine_type,
        cpu=packed.cpu,
    )


def _path(work: _Work, name: str) -> Path:
    """The path of what a packed state calls ``FOLDER`` or ``FOLDER/FILE``."""
    name, _, file = name.partition("/")
    folder = work.pack.folders[name]
    return work.cache.path_of(folder.name, folder.layer, folder.key) / file


def _say(work: _Work, states: Sequence[Snapshot], known: Mapping[int, Snapshot], bus: EventBus) -> None:
    for one in known.values():
        bus.emit(Note(level="info", message=f"the state {one.name} is here already ({one.folder.name})"))
    for one in states:
        where = "memory" if one.kind == "tmpfs" else "disk"
        bus.emit(Note(level="info", message=f"imported the state {one.name}: {size_text(one.size)} in {where}"))
    if work.have.wanted:
        bus.emit(Note(level="info", message=f"added to the cache: {', '.join(work.have.wanted)}"))
