"""Starting from a saved state instead of booting: which one, what when it fails, and saving one for the next time."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from orchestrator.deadline import Deadline
from orchestrator.environment.decision import Choice, Inputs, decide
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
from orchestrator.snapshots.key import inputs_of_stage, key_of
from orchestrator.snapshots.restore import verify
from orchestrator.snapshots.store import Snapshot
from orchestrator.topology.stages import HEALTHY, Stage, stages_of


def choose(environment: str, planned: Inputs, start: str, bus: EventBus) -> Choice | None:
    """The deepest saved state that fits; None for a cold start. Says which, and why.

    Args:
        start: ``auto``, ``warm`` (nothing else than the healthy state will do) or ``cold``.

    Raises:
        SnapshotError: ``warm``, and none fits.
    """
    if start == "cold":
        return None
    decided = decide(environment, planned)
    if decided.choice is not None and (start != "warm" or decided.choice.stage.name == HEALTHY):
        bus.emit(Note(level="info", message=decided.text))
        return decided.choice
    if start == "warm":
        raise SnapshotError("there is no saved state to start from", why=decided.why, hint="orchestrator up makes one")
    bus.emit(Note(level="info", message=decided.text))
    return None


def is_clone(snapshot: Snapshot, env_paths: EnvironmentPaths) -> bool:
    """Whether another environment made this state: any number then rest on its memory, copy on write."""
    return snapshot.manifest is None or snapshot.manifest.owner != env_paths.identity


async def begin(session: Session, launch: Launch, deadline: Deadline, *, require_restore: bool) -> Stage | None:
    """Start the machines, from the launch's snapshot if it has one; the stage they were restored at.

    Raises:
        OrchestratorError: the start failed. A failed restore only raises with ``require_restore``.
    """
    snapshot = launch.snapshot
    if snapshot is None:
        await session.run_watched(cold_start(session, launch, deadline, save_stage))
        return None
    stage = launch.stage or stages_of(session.topology)[-1]
    try:
        await verify(snapshot.folder, snapshot.require_manifest())
        await session.run_watched(restore(session, launch, snapshot, deadline))
    except OrchestratorError as error:
        # What is damaged, or does not come back healthy, is not tried again; lack of room says nothing about it.
        damaged = isinstance(error, SnapshotDamaged)
        of_services = stage.name == HEALTHY and isinstance(error, ServiceError)  # of others, what came later may fail
        if damaged or (not require_restore and (of_services or isinstance(error, MachineError))):
            default_store().remove(snapshot)
        if require_restore or deadline.expired:
            raise
        bus = session.bus
        message = f"the saved state cannot be used ({error.brief}); a cold start follows"
        bus.emit(Note(level="warning", message=message))
        await session.discard_machines()
        ram = launch.ram or choose_ram_backing(session.topology, session.paths, bus)
        cold = replace(launch, snapshot=None, stage=None, ram=ram)
        await session.run_watched(cold_start(session, cold, deadline, save_stage))
        return None
    if stage.name == HEALTHY:
        session.record.change(snapshot=str(snapshot.folder))
    return stage


async def save_stage(session: Session, stage: Stage, deadline: Deadline) -> None:
    """Save the state at a stage of a cold start, unless there is one of its key; a failure is only noted.

    Raises:
        ServiceError, MachineError: as `save_healthy`.
    """
    await _save_state(session, stage, deadline)


async def save_healthy(session: Session, deadline: Deadline) -> None:
    """Save the state that was just proven, unless there is one of this key; a failure is only noted.

    Raises:
        ServiceError: a service ended since it was proven: nothing is saved, and nothing is ready.
        MachineError: a machine is lost.
    """
    stored = await _save_state(session, stages_of(session.topology)[-1], deadline)
    if stored is not None:
        session.record.change(snapshot=str(stored.folder))


async def _save_state(session: Session, stage: Stage, deadline: Deadline) -> Snapshot | None:
    state, bus, store = session.record.state, session.bus, default_store()
    key = key_of(inputs_of_stage(state.inputs, state.topology, stage))
    known = store.at_stage(stage.name, key)
    if known is not None:
        return known
    if not all(savable(machine) for machine in state.machines.values()):
        return None  # its image forbids it, at every start
    for one in store.damaged(stage.name, key):
        store.remove(one)  # it may hold the name
    await session.verify_still_healthy(deadline)
    try:
        stored = await save(session, stage.name, f"{stage.name}.{key}", deadline, stage=stage)
    except OrchestratorError as error:
        if isinstance(error, MachineError) and not await _all_run(session):
            raise  # a machine is lost, or is paused: that is no lack of a snapshot
        bus.emit(Note(level="warning", message=f"the {stage.name} state was not saved: {error.brief}"))
        return None
    for one in store.prunable(keep=[stored.folder, *in_use()]):
        if one.automatic:  # what a user saved goes when the user says so, damaged or not
            store.remove(one)
    return stored


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
