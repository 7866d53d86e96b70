"""``orchestrator down``."""

from __future__ import annotations

import argparse
from contextlib import nullcontext
from functools import partial

from orchestrator.cli.run_folder import continued, report_on
from orchestrator.cli.runtime import chosen_name, kill_environment, run_command, say
from orchestrator.environment.lock import command_text, hold
from orchestrator.environment.paths import EnvironmentPaths, environments
from orchestrator.environment.reclaim import unpin_images
from orchestrator.environment.state import EnvironmentState, read_state
from orchestrator.environment.teardown import orphans, take_down
from orchestrator.errors import HostError, OrchestratorError
from orchestrator.events import EventBus
from orchestrator.events.run import Note


def run(arguments: argparse.Namespace) -> int:
    names = environments() if arguments.all else [chosen_name(arguments)]
    code = 0
    for name in names:
        paths = EnvironmentPaths.of(name)
        try:
            run_command(arguments, partial(_down, paths), force=kill_environment(paths))
        except OrchestratorError as error:
            if not arguments.all:
                raise
            say(f"{name}: {error.what}")
            code = error.exit_code
    return code


async def _down(paths: EnvironmentPaths, bus: EventBus) -> None:
    """Take the environment down, from its state alone. Without one this succeeds too."""
    if not paths.folder.exists() and not orphans(paths):
        say(f"environment {paths.name} does not exist; nothing to do")
        return
    with hold(paths.lock, paths.name, command_text()):
        try:
            state = read_state(paths.state)
        except HostError as error:
            bus.emit(
                Note(level="warning", message=f"{error.what} ({error.why}); its processes are found by their marks")
            )
            state = None
        if state is None:
            unfinished = paths.unfinished_run
            await take_down(paths, None, bus)
            if unfinished is not None:
                report_on(unfinished)
        else:
            await _take_down_recorded(paths, state, bus)
    say(f"environment {paths.name} is down")


async def _take_down_recorded(paths: EnvironmentPaths, state: EnvironmentState, bus: EventBus) -> None:
    unfinished = paths.unfinished_run  # of a killed command on what was up
    there = state.run_folder.is_dir()  # nobody removed it
    with continued(state.run_folder, bus, only_missing=True) if there else nullcontext():
        unpin_images(paths, state)
        await take_down(paths, state, bus)
    if unfinished is not None:
        report_on(unfinished, only_missing=True)
