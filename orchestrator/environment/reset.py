"""Back to a saved state, in place: the environment, its ports, folders and user key stay."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from orchestrator.deadline import Deadline
from orchestrator.environment.launch import Launch
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.reaper_client import ReaperClient
from orchestrator.environment.saving import default_store
from orchestrator.environment.session import Session
from orchestrator.environment.ssh_files import write_ssh_files
from orchestrator.environment.startup import restore
from orchestrator.environment.state import EnvironmentState, read_state
from orchestrator.errors import HostError, OrchestratorError, SnapshotError
from orchestrator.folders import shared_memory
from orchestrator.images.contract import BuiltImage
from orchestrator.snapshots.key import differences
from orchestrator.snapshots.memory import RamBacking, file_system
from orchestrator.snapshots.restore import verify
from orchestrator.snapshots.store import Snapshot
from orchestrator.topology.stages import HEALTHY


def chosen(state: EnvironmentState, name: str) -> Snapshot:
    """The snapshot a running environment is to go back to.

    Raises:
        UsageError: it has no snapshot of this name.
        SnapshotError: it is damaged, or was taken of something else.
    """
    store = default_store()
    if name == HEALTHY and state.snapshot:
        found = next((one for one in store.all() if str(one.folder) == state.snapshot), None)
        if found is None:
            raise SnapshotError(
                f"the healthy state of environment {state.name} is gone",
                why="it was pruned, or was lost when the host rebooted",
                where=[state.snapshot],
                hint=f"orchestrator -n {state.name} up --fresh",
            )
    else:
        found = store.get(state.name, name, EnvironmentPaths.of(state.name).identity)
    if found.manifest is None:
        raise SnapshotError(
            f"the snapshot {name} is damaged",
            why=found.problem,
            where=[str(found.folder)],
            hint="orchestrator snapshot prune removes it",
        )
    changed = differences(found.manifest.inputs, state.inputs)
    if changed:
        raise SnapshotError(
            f"the snapshot {name} does not fit the environment that runs",
            why=f"it was saved from another environment; these inputs differ: {', '.join(changed)}",
            hint=f"orchestrator -n {state.name} snapshot list",
        )
    return found


async def reset(session: Session, snapshot: Snapshot, reaper: ReaperClient, deadline: Deadline) -> None:
    """End the machines and bring back those of the snapshot; every check must pass again.

    Raises:
        OrchestratorError: it did not come back; the environment is then recorded as failed.
    """
    state, env_paths = session.record.state, session.paths
    await verify(snapshot.folder, snapshot.require_manifest())  # before anything is given up for it
    launch = launch_again(session, snapshot, reaper)
    session.record.change(phase="starting", generation=state.generation + 1)
    try:
        async with deadline.enforce():
            session.faults.control.drop_all()
            await session.detach()
            await session.run_watched(restore(session, launch, snapshot, deadline))
    except BaseException as error:
        session.record.fail()
        if isinstance(error, OrchestratorError) and not error.hint:
            error.hint = f"orchestrator -n {env_paths.name} up --fresh"
        raise
    write_ssh_files(env_paths, session.record.state.machines)
    session.record.change(phase="ready")


def launch_again(session: Session, snapshot: Snapshot | None, reaper: ReaperClient) -> Launch:
    """What started the machines, read from what is recorded of them."""
    env_paths, state = session.paths, session.record.state
    images = {}
    for name, machine in state.machines.items():
        image = session.topology.machines[name].image
        images[image] = BuiltImage(image, Path(machine.image), "", state.provider, True, 0.0)
    parameters = state.inputs.get("kernel parameters", "")
    layers = {
        name: {layer: Path(disk) for layer, disk in known.layers.items()} for name, known in state.machines.items()
    }
    launch = Launch(
        images, session.public_key(), reaper, dict(os.environ), parameters, snapshot=snapshot, layers=layers
    )
    ports = {name: dict(machine.ports) for name, machine in state.machines.items()}
    return replace(launch, ports=ports, ram=place_again(env_paths, state))


def place_again(env_paths: EnvironmentPaths, state: EnvironmentState) -> RamBacking | None:
    """The kind of place where the memory is now; the old files are gone before the new ones are made."""
    files = [Path(machine.ram) for machine in state.machines.values() if machine.ram]
    if len(files) < len(state.machines):
        return None  # a clone: it rests on the saved memory itself
    beside_the_disk = all(path.is_relative_to(env_paths.workshop) for path in files)
    folder = env_paths.folder if beside_the_disk else shared_memory()
    return RamBacking(folder, file_system(folder), "as before")


def state_to_change(env_paths: EnvironmentPaths) -> EnvironmentState:
    """The recorded state of a whole environment, read when its lock is held.

    Raises:
        HostError: it was taken down meanwhile, or never came up whole.
    """
    state = read_state(env_paths.state)
    if state is None or set(state.machines) != set(state.topology.machines):
        raise HostError(
            f"environment {env_paths.name} is not running completely",
            why="it was taken down, or a start or reset of it was interrupted",
            hint=f"orchestrator -n {env_paths.name} up",
        )
    state.run_folder.mkdir(parents=True, exist_ok=True)
    return state
