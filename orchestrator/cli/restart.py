"""``orchestrator restart``: services or whole machines, and everything that rests on them."""

from __future__ import annotations

import argparse

from orchestrator.cli.runtime import limit_of, living_state, run_command
from orchestrator.deadline import Deadline
from orchestrator.environment.lock import command_text, hold
from orchestrator.environment.places import EnvironmentPaths
from orchestrator.environment.session import Session
from orchestrator.environment.state import EnvironmentState, StateFile, read_state
from orchestrator.environment.targets import machines_of, services_of
from orchestrator.environment.up import over_limit, emit_failure
from orchestrator.errors import OrchestratorError
from orchestrator.events import EventBus, JsonLinesLog
from orchestrator.report.write import write_report


def run(arguments: argparse.Namespace) -> int:
    places, state = living_state(arguments)
    deadline = limit_of(arguments.wait_timeout)
    return run_command(arguments, lambda bus: _restart(places, state, arguments.names, bus, deadline))


async def _restart(
    places: EnvironmentPaths, state: EnvironmentState, names: list[str], bus: EventBus, deadline: Deadline
) -> int:
    with hold(places.lock, places.name, command_text()), JsonLinesLog(state.run_folder / "events.jsonl") as log:
        stop = bus.subscribe(log)
        state = read_state(places.state) or state  # it may have changed before the lock was ours
        session = Session(places, StateFile(places.state, state), bus)
        services_of(session.topology, names)  # a wrong name is told before anything is touched
        try:
            async with deadline.enforce():
                await session.reattach(deadline, machines_of(session.topology, names))
                session.record.change(phase="starting")
                await session.run_watched(session.restart(names, deadline))
            session.record.change(phase="ready")
            bus.emit("run.ready", places.name, elapsed=round(deadline.elapsed, 3))
            return 0
        except OrchestratorError as cause:
            error = over_limit(cause, deadline)
            session.record.change(phase="failed")
            emit_failure(error, bus)
            await session.collect("failure")
            return error.exit_code
        finally:
            await session.close()
            stop()
            write_report(state.run_folder)
