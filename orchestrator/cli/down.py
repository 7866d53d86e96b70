"""``orchestrator down``."""

from __future__ import annotations

import argparse
from functools import partial
from pathlib import Path

from orchestrator.cli.runtime import chosen_name, kill_environment, run_command, say
from orchestrator.debug import debug_log
from orchestrator.environment.lock import command_text, hold
from orchestrator.environment.paths import EnvironmentPaths, environments
from orchestrator.environment.reclaim import unpin_images
from orchestrator.environment.state import EnvironmentState, read_state
from orchestrator.environment.teardown import orphans, take_down
from orchestrator.errors import HostError, OrchestratorError
from orchestrator.events import EventBus, JsonLinesLog
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
                _report(unfinished)
        else:
            await _take_down_recorded(paths, state, bus)
            debug_log.leave()
    say(f"environment {paths.name} is down")


async def _take_down_recorded(paths: EnvironmentPaths, state: EnvironmentState, bus: EventBus) -> None:
    unfinished = paths.unfinished_run  # of a killed command on what was up
    if state.run_folder.is_dir():
        debug_log.write_to(state.run_folder)
        with JsonLinesLog(state.run_folder / "events.jsonl") as log:
            stop = bus.subscribe(log)
            unpin_images(paths, state)
            await take_down(paths, state, bus)
            stop()
        if not (state.run_folder / "summary.json").exists():
            _report(state.run_folder)
    else:
        unpin_images(paths, state)
        await take_down(paths, state, bus)
    if unfinished is not None and not (unfinished / "summary.json").exists():
        _report(unfinished)


def _report(run_folder: Path) -> None:
    """Write the reports of a command that was killed before it wrote them."""
    from orchestrator.report.write import write_report

    write_report(run_folder)
