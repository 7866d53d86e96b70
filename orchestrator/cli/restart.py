"""``orchestrator restart``: services or whole machines, and everything that depends on them."""

from __future__ import annotations

import argparse

from orchestrator.cli.runtime import limit_of, living_state, run_command
from orchestrator.deadline import Deadline
from orchestrator.debug import debug_log
from orchestrator.environment.evidence import collect_all
from orchestrator.environment.lock import command_text, hold
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.run_events import emit_failure, over_limit
from orchestrator.environment.session import Session
from orchestrator.environment.startup import restart
from orchestrator.environment.state import EnvironmentState, StateFile, read_state
from orchestrator.environment.targets import machines_of, services_of
from orchestrator.errors import OrchestratorError
from orchestrator.events import EventBus, JsonLinesLog
from orchestrator.events.run import RunReady
from orchestrator.report.write import write_report


def run(arguments: argparse.Namespace) -> int:
    paths, state = living_state(arguments)
    deadline = limit_of(arguments.wait_timeout)
    return run_command(arguments, lambda bus: _restart(paths, state, arguments.names, bus, deadline))


async def _restart(
    paths: EnvironmentPaths, state: EnvironmentState, names: list[str], bus: EventBus, deadline: Deadline
) -> int:
    with hold(paths.lock, paths.name, command_text()), JsonLinesLog(state.run_folder / "events.jsonl") as log:
        debug_log.write_to(state.run_folder)
        stop = bus.subscribe(log)
        state = read_state(paths.state) or state  # it may have changed before the lock was ours
        session = Session(paths, StateFile(paths.state, state), bus)
        services_of(session.topology, names)  # a wrong name is reported before anything is changed
        try:
            async with deadline.enforce():
                await session.reattach(deadline, machines_of(session.topology, names))
                session.record.change(phase="starting")
                await session.run_watched(restart(session, names, deadline))
            session.record.change(phase="ready")
            bus.emit(RunReady(paths.name, elapsed=round(deadline.elapsed, 3)))
            return 0
        except OrchestratorError as cause:
            error = over_limit(cause, deadline)
            session.record.fail()
            emit_failure(error, bus)
            await collect_all(session, "failure")
            return error.exit_code
        finally:
            await session.close()
            stop()
            write_report(state.run_folder)
