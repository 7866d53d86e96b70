"""``orchestrator power on``: a machine that is off, started again with its disk, its services proven."""

from __future__ import annotations

import argparse

from orchestrator.cli.changing import change
from orchestrator.cli.runtime import limit_of, recorded_state, run_command
from orchestrator.deadline import Deadline
from orchestrator.environment.lock import command_text, hold
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.reaper_client import reaper_client
from orchestrator.environment.reset import state_to_change
from orchestrator.environment.session import Session
from orchestrator.environment.start_again import start_again
from orchestrator.environment.switched_off import ended_machines
from orchestrator.events import Event, EventBus
from orchestrator.events.run import Note, RunReady

ON_LIMIT = 3600.0


def power_on(arguments: argparse.Namespace) -> int:
    """Start the machine, and return when it is handed over and its services are proven."""
    paths, _ = recorded_state(arguments)
    deadline = limit_of(arguments.wait_timeout or ON_LIMIT)
    return run_command(arguments, lambda bus: _power_on(paths, arguments.machine, bus, deadline))


async def _power_on(paths: EnvironmentPaths, name: str, bus: EventBus, deadline: Deadline) -> int:
    async def work(session: Session) -> Event:
        await _start(session, name, deadline)
        return _up(session, name, deadline)

    with hold(paths.lock, paths.name, command_text()):
        return await change(paths, state_to_change(paths), work, bus, deadline)


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
