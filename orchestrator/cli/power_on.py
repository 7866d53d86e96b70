"""``orchestrator power on``: a machine that is off, started again with its disk, its services proven."""

from __future__ import annotations

import argparse

from orchestrator.cli.runtime import limit_of, recorded_state, run_command
from orchestrator.deadline import Deadline
from orchestrator.debug import debug_log
from orchestrator.environment.evidence import collect_all
from orchestrator.environment.lock import command_text, hold
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.reaper_client import reaper_client
from orchestrator.environment.reset import state_to_change
from orchestrator.environment.run_events import emit_failure, over_limit
from orchestrator.environment.session import Session
from orchestrator.environment.start_again import start_again
from orchestrator.environment.state import StateFile
from orchestrator.environment.switched_off import ended_machines
from orchestrator.errors import OrchestratorError
from orchestrator.events import Event, EventBus, JsonLinesLog
from orchestrator.events.run import Note, RunReady
from orchestrator.report.write import write_report

ON_LIMIT = 3600.0


def power_on(arguments: argparse.Namespace) -> int:
    """Start the machine, and return when it is handed over and its services are proven."""
    paths, _ = recorded_state(arguments)
    deadline = limit_of(arguments.wait_timeout or ON_LIMIT)
    return run_command(arguments, lambda bus: _power_on(paths, arguments.machine, bus, deadline))


async def _power_on(paths: EnvironmentPaths, name: str, bus: EventBus, deadline: Deadline) -> int:
    with hold(paths.lock, paths.name, command_text()):
        state = state_to_change(paths)
        with JsonLinesLog(state.run_folder / "events.jsonl") as log:
            debug_log.write_to(state.run_folder)
            stop = bus.subscribe(log)
            session = Session(paths, StateFile(paths.state, state), bus)
            try:
                await _start(session, name, deadline)
                bus.emit(_up(session, name, deadline))
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


def _up(session: Session, name: str, deadline: Deadline) -> Event:
    """What is told at the end: READY where everything is."""
    elapsed, off = round(deadline.elapsed, 3), ended_machines(session.record.state)
    if not off:
        return RunReady(session.paths.name, elapsed=elapsed)
    return Note(name, level="info", message=f"is up after {elapsed:.1f} s; still off: {', '.join(off)}")


async def _start(session: Session, name: str, deadline: Deadline) -> None:
    off = ended_machines(session.record.state)
    if name not in off:
        return  # another command was quicker
    async with deadline.enforce(), reaper_client() as reaper:
        await session.reattach(deadline, absent=off)
        session.record.change(phase="starting")
        await session.run_watched(start_again(session, [name], reaper, deadline))
        session.record.change(phase="ready")
