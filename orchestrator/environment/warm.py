"""Starting from a saved state instead of booting: which one, what when it fails, and saving one for the next time."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from orchestrator.deadline import Deadline
from orchestrator.environment.launch import Launch
from orchestrator.environment.memory import choose_ram_backing, savable
from orchestrator.environment.paths import EnvironmentPaths, environments
from orchestrator.environment.saving import default_store, save
from orchestrator.environment.session import Session
from orchestrator.environment.startup import cold_start, restore
from orchestrator.environment.state import read_state
from orchestrator.errors import (
    HostError,
    MachineError,
    OrchestratorError,
    ServiceError,
    SnapshotDamaged,
    SnapshotError,
)
from orchestrator.events import EventBus
from orchestrator.events.run import Note
from orchestrator.snapshots.key import differences, key_of
from orchestrator.snapshots.manifest import HEALTHY
from orchestrator.snapshots.restore import verify
from orchestrator.snapshots.store import Snapshot
from orchestrator.text import size_text


def choose(environment: str, inputs: Mapping[str, str], start: str, bus: EventBus) -> Snapshot | None:
    """The saved state to start from; None for a cold start. Says which, and why.

    Args:
        start: ``auto``, ``warm`` (nothing else will do) or ``cold``.

    Raises:
        SnapshotError: ``warm``, and none fits.
    """
    if start == "cold":
        return None
    store = default_store()
    found = store.healthy(key_of(inputs))
    if found is not None:
        where = "memory" if found.kind == "tmpfs" else "disk"
        message = f"start from the saved healthy state ({size_text(found.size)} in {where}, {found.folder.name})"
        bus.emit(Note(level="info", message=message))
        return found
    last = store.last_healthy(environment)
    damaged = store.damaged(key_of(inputs))
    if damaged:
        why = f"the saved healthy state is damaged ({damaged[0].problem})"
    elif last is None or last.manifest is None:
        why = "no healthy state was saved yet"
    else:
        why = f"the saved state does not fit, changed since: {', '.join(differences(last.manifest.inputs, inputs))}"
    if start == "warm":
        raise SnapshotError("there is no saved state to start from", why=why, hint="orchestrator up makes one")
    bus.emit(Note(level="info", message=f"cold start: {why}"))
    return None


def is_clone(snapshot: Snapshot, env_paths: EnvironmentPaths) -> bool:
    """Whether another environment made this state: any number then rest on its memory, copy on write."""
    return snapshot.manifest is None or snapshot.manifest.owner != env_paths.identity


async def begin(session: Session, launch: Launch, deadline: Deadline, *, require_restore: bool) -> bool:
    """Start the machines, from the launch's snapshot if it has one; whether they were restored.

    Raises:
        OrchestratorError: the start failed. A failed restore only raises with ``require_restore``.
    """
    snapshot = launch.snapshot
    if snapshot is None:
        await session.run_watched(cold_start(session, launch, deadline))
        return False
    try:
        await verify(snapshot.folder, snapshot.require_manifest())
        await session.run_watched(restore(session, launch, snapshot, deadline))
    except OrchestratorError as error:
        # What is damaged, or does not come back healthy, is not tried again; lack of room says nothing about it.
        damaged = isinstance(error, SnapshotDamaged)
        if damaged or (not require_restore and isinstance(error, (MachineError, ServiceError))):
            default_store().remove(snapshot)
        if require_restore or deadline.expired:
            raise
        bus = session.bus
        message = f"the saved state cannot be used ({error.brief}); a cold start follows"
        bus.emit(Note(level="warning", message=message))
        await session.discard_machines()
        ram = launch.ram or choose_ram_backing(session.topology, session.paths, bus)
        cold = replace(launch, snapshot=None, ram=ram)
        await session.run_watched(cold_start(session, cold, deadline))
        return False
    session.record.change(snapshot=str(snapshot.folder))
    return True


async def save_healthy(session: Session, deadline: Deadline) -> None:
    """Save the state that was just proven, unless there is one of this key; a failure is only noted.

    Raises:
        ServiceError: a service ended since it was proven: nothing is saved, and nothing is ready.
        MachineError: a machine is lost.
    """
    state, bus, store = session.record.state, session.bus, default_store()
    key = key_of(state.inputs)
    known = store.healthy(key)
    if known is not None:
        session.record.change(snapshot=str(known.folder))
        return
    if not all(savable(machine) for machine in state.machines.values()):
        return  # its image forbids it, at every start
    for one in store.damaged(key):
        store.remove(one)  # it may hold the name
    await session.verify_still_healthy(deadline)
    try:
        stored = await save(session, HEALTHY, f"{HEALTHY}.{key}", deadline)
    except OrchestratorError as error:
        if isinstance(error, MachineError) and not await _all_run(session):
            raise  # a machine is lost, or is paused: that is no lack of a snapshot
        bus.emit(Note(level="warning", message=f"the healthy state was not saved: {error.brief}"))
        return
    session.record.change(snapshot=str(stored.folder))
    for one in store.prunable(keep=[stored.folder, *in_use()]):
        if one.automatic:  # what a user saved goes when the user says so, damaged or not
            store.remove(one)


async def _all_run(session: Session) -> bool:
    try:
        states = [await live.monitor.run_state() for live in session.machines.values()]
    except MachineError:
        return False
    return all(state == "running" for state in states)


def in_use() -> set[Path]:
    """The snapshots that living environments rest on."""
    found = set()
    for name in environments():
        try:
            state = read_state(EnvironmentPaths.of(name).state)
        except HostError:
            continue
        if state is not None and state.live_processes:
            found |= {Path(machine.base).parent.parent for machine in state.machines.values() if machine.base}
            found |= {Path(state.snapshot)} if state.snapshot else set()
    return found
