"""``orchestrator reset``: the running environment back to its healthy state, or to a named one."""

from __future__ import annotations

import argparse
import json
import sys

from orchestrator.cli.run_folder import continued
from orchestrator.cli.runtime import limit_of, living_state, run_command
from orchestrator.deadline import Deadline
from orchestrator.environment.evidence import collect_all
from orchestrator.environment.lock import command_text, hold
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.reaper_client import reaper_client
from orchestrator.environment.reset import chosen, reset, state_to_change
from orchestrator.environment.run_events import emit_failure, over_limit
from orchestrator.environment.session import Session
from orchestrator.environment.state import StateFile
from orchestrator.errors import OrchestratorError
from orchestrator.events import EventBus
from orchestrator.events.run import RunReady
from orchestrator.topology.stages import HEALTHY


def run(arguments: argparse.Namespace) -> int:
    return reset_to(arguments, arguments.snapshot or HEALTHY)


def reset_to(arguments: argparse.Namespace, name: str) -> int:
    """Put the environment back to a snapshot; the exit code."""
    paths, state = living_state(arguments)
    deadline = limit_of(arguments.wait_timeout)
    chosen(state, name)  # a wrong name is reported before anything is locked or changed
    code = run_command(arguments, lambda bus: _reset(paths, name, bus, deadline))
    if arguments.json:
        outcome = {"exit_code": code, "snapshot": name, "seconds": round(deadline.elapsed, 3)}
        sys.stdout.write(json.dumps(outcome) + "\n")
    return code


async def _reset(paths: EnvironmentPaths, name: str, bus: EventBus, deadline: Deadline) -> int:
    with hold(paths.lock, paths.name, command_text()):
        state = state_to_change(paths)
        with continued(state.run_folder, bus):
            session = Session(paths, StateFile(paths.state, state), bus)
            try:
                async with reaper_client() as group:
                    await reset(session, chosen(state, name), group, deadline)
                bus.emit(RunReady(paths.name, elapsed=round(deadline.elapsed, 3), restored=True))
                return 0
            except OrchestratorError as cause:
                error = over_limit(cause, deadline)
                emit_failure(error, bus)
                await collect_all(session, "failure")
                return error.exit_code
            finally:
                await session.close()
