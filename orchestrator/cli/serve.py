"""Serving the page of a run until Ctrl-C: `orchestrator view` and `orchestrator report --serve`."""

from __future__ import annotations

import argparse
import json
import sys
from contextlib import suppress
from pathlib import Path

from orchestrator.cli.report import run_folder
from orchestrator.cli.runtime import chosen_name, say
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.state import read_state
from orchestrator.view.screens import Screens
from orchestrator.view.server import PageServer


def serve(folder: Path, logs: Path, arguments: argparse.Namespace, screens: Screens | None = None) -> int:
    """Serve a run folder.

    Args:
        logs: where its machines write, which is another folder for a run on machines that were up before.
        screens: of the machines that run.
    """
    with PageServer(folder, logs, arguments.port or 0, screens) as server:
        if arguments.json:
            sys.stdout.write(json.dumps({"address": server.address, "run_folder": str(folder)}) + "\n")
        else:
            sys.stdout.write(f"{server.address}\n")
        sys.stdout.flush()
        say(f"{folder.name} is shown there until Ctrl-C, to whoever knows the address")
        with suppress(KeyboardInterrupt):
            server.serve_forever()
        server.ending = True
    return 0


def view_page(arguments: argparse.Namespace) -> int:
    """The page of what runs under the environment's name: of its last command, else of the latest run here."""
    env_paths = EnvironmentPaths.of(chosen_name(arguments))
    state = read_state(env_paths.state)
    if state is not None:
        folder = env_paths.last_run or state.run_folder
        paths = {name: env_paths.machine(name, state.run_folder) for name in state.topology.machines}
        return serve(folder, state.run_folder, arguments, Screens({name: one.qmp_side for name, one in paths.items()}))
    folder = run_folder(None, arguments.runs)
    return serve(folder, folder, arguments)
