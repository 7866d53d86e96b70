"""What an earlier command left of an environment: still running, or remains to remove."""

from __future__ import annotations

from pathlib import Path

from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.state import EnvironmentState, read_state
from orchestrator.environment.switched_off import can_go_on
from orchestrator.environment.teardown import orphans, take_down
from orchestrator.errors import HostError
from orchestrator.events import EventBus
from orchestrator.events.run import Note
from orchestrator.images.cache import ImageCache


async def reclaim_previous(env_paths: EnvironmentPaths, bus: EventBus) -> EnvironmentState | None:
    """The state of a living environment; the remains of a dead one are removed and reported.

    Call it with the lock held.
    """
    try:
        previous = read_state(env_paths.state)
    except HostError as error:
        bus.emit(Note(level="warning", message=f"{error.brief}; everything of it is removed"))
        note_unfinished_run(env_paths, bus)
        await take_down(env_paths, None, bus)
        return None
    if previous is None:
        note_unfinished_run(env_paths, bus)
        if orphans(env_paths):
            await take_down(env_paths, None, bus)
        return None
    machines = previous.machines
    if can_go_on(env_paths, previous) and all(m.host_key for m in machines.values()):
        return previous
    gone = [name for name, machine in machines.items() if not machine.process.alive]
    reason = f"machines no longer run: {', '.join(gone)}" if gone else "it never came up"
    bus.emit(
        Note(
            level="warning",
            message=f"leftovers of environment {env_paths.name} ({previous.command}, {reason}) are removed",
            run_folder=str(previous.run_folder),  # its reports may not have been written
        )
    )
    if env_paths.unfinished_run != previous.run_folder:
        note_unfinished_run(env_paths, bus)
    unpin_images(env_paths, previous)
    await take_down(env_paths, previous, bus)
    return None


def note_unfinished_run(env_paths: EnvironmentPaths, bus: EventBus) -> None:
    """Report a run folder that a killed command left without reports."""
    folder = env_paths.unfinished_run
    if folder is not None:
        message = f"a command that was killed left the run folder {folder.name} without reports; they are written"
        bus.emit(Note(level="warning", message=message, run_folder=str(folder)))


def unpin_images(env_paths: EnvironmentPaths, state: EnvironmentState) -> None:
    """The environment no longer needs its images and the disks of its layers."""
    cache = ImageCache()
    for path in {one for machine in state.machines.values() for one in (machine.image, *machine.layers.values())}:
        cache.unpin(Path(path), env_paths.folder)
