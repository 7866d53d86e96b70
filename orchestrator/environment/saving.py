"""Saving a running environment as a snapshot."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from orchestrator.deadline import Deadline
from orchestrator.environment.memory import base_of, memory_wanted, savable
from orchestrator.environment.session import Session
from orchestrator.errors import SnapshotError
from orchestrator.events import wall_clock
from orchestrator.events.run import Note
from orchestrator.folders import cache_root
from orchestrator.images.cache import ImageCache
from orchestrator.snapshots.key import inputs_of_stage, key_of
from orchestrator.snapshots.manifest import Manifest, SavedMachine
from orchestrator.snapshots.memory import MIB, touched
from orchestrator.snapshots.save import Source, save_machines
from orchestrator.snapshots.store import Snapshot, SnapshotStore, SnapshotWriter, place_for
from orchestrator.text import size_text
from orchestrator.topology.stages import Stage


def default_store() -> SnapshotStore:
    """All snapshots of this user."""
    return SnapshotStore.of(cache_root())


async def save(
    session: Session, name: str, folder_name: str, deadline: Deadline, *, stage: Stage | None = None
) -> Snapshot:
    """Save a running environment under a name, and report how long that took.

    Args:
        stage: how far it has come; None: every service is up.

    Raises:
        SnapshotError: it cannot be saved, or the name is taken.
    """
    try:
        return await _save(session, name, folder_name, deadline, stage)
    except OSError as error:
        raise SnapshotError("the snapshot could not be saved", why=str(error)) from error


async def _save(session: Session, name: str, folder_name: str, deadline: Deadline, stage: Stage | None) -> Snapshot:
    state, store = session.record.state, default_store()
    sizes = {name: machine.memory * MIB for name, machine in state.topology.machines.items()}
    wanted = sum(memory_wanted(machine, sizes[name]) for name, machine in state.machines.items())
    wanted += sum(touched(live.paths.disk) for live in session.machines.values()) + 64 * MIB
    place = place_for(store, wanted)
    inputs = state.inputs if stage is None else inputs_of_stage(state.inputs, state.topology, stage)
    with store.saving(state.name, folder_name, place) as writer:
        machines, paused = await save_all_machines(session, writer, deadline)
        manifest = Manifest(
            name=name,
            environment=state.name,
            owner=session.paths.identity,
            key=key_of(inputs),
            inputs=inputs,
            created=wall_clock(),
            paused=round(paused, 3),
            command=state.command,
            machines=machines,
        )
        snapshot = writer.publish(manifest)
    cache = ImageCache()
    for machine in state.machines.values():
        for path in (machine.image, *machine.layers.values()):
            cache.pin(Path(path), snapshot.folder)
    why = f", since {place.reason}" if place.folder == store.disk else f" ({place.folder})"
    where = f"memory ({place.folder})" if snapshot.kind == "tmpfs" else f"disk{why}"
    message = (
        f"saved the state {name}: {size_text(snapshot.size)} in {where}; "
        f"the machines were paused for {manifest.paused:.2f} s"
    )
    session.bus.emit(Note(level="info", message=message))
    return snapshot


async def save_all_machines(
    session: Session, writer: SnapshotWriter, deadline: Deadline
) -> tuple[Mapping[str, SavedMachine], float]:
    """Save all machines at one moment; they run on. What was saved, and the seconds they were paused.

    Raises:
        SnapshotError: a machine's memory is its run script's own, or there is no room.
    """
    sources = []
    for name, live in session.machines.items():
        known = session.record.state.machines[name]
        if not savable(known):
            raise SnapshotError(
                f"machine {name} cannot be saved",
                subject=name,
                why="it has no guest agent, which would give it new keys after a restore"
                if known.ssh_only
                else "the run script of its image sets its own memory backend (memory-backend)",
                where=[known.image],
                hint="docs/snapshots.md",
            )
        paths, ram = live.paths, Path(known.ram) if known.ram else None
        rest = (known.image, known.host_key, paths.serial_log, paths.journal, base_of(known))
        used = {layer for one in live.guest.services for layer in session.topology.services[one].uses}
        layers = tuple(Path(file) for layer, file in known.layers.items() if layer in used)
        sources.append(Source(name, live.monitor, ram, paths.disk, *rest, layers))
    return await save_machines(sources, writer.folder, deadline)
