"""``orchestrator restart``: services or whole machines, and everything that depends on them."""

from __future__ import annotations

import argparse

from orchestrator.cli.changing import change
from orchestrator.cli.runtime import limit_of, living_state, run_command
from orchestrator.deadline import Deadline
from orchestrator.environment.lock import command_text, hold
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.reset import state_to_change
from orchestrator.environment.session import Session
from orchestrator.environment.startup import restart
from orchestrator.environment.targets import machines_of, services_of
from orchestrator.events import EventBus
from orchestrator.events.run import RunReady


def run(arguments: argparse.Namespace) -> int:
    paths, _ = living_state(arguments)
    deadline = limit_of(arguments.wait_timeout)
    return run_command(arguments, lambda bus: _restart(paths, arguments.names, bus, deadline))


async def _restart(paths: EnvironmentPaths, names: list[str], bus: EventBus, deadline: Deadline) -> int:
    async def work(session: Session) -> RunReady:
        async with deadline.enforce():
            await session.reattach(deadline, machines_of(session.topology, names))
            session.record.change(phase="starting")
            await session.run_watched(restart(session, names, deadline))
        session.record.change(phase="ready")
        return RunReady(paths.name, elapsed=round(deadline.elapsed, 3))

    with hold(paths.lock, paths.name, command_text()):
        state = state_to_change(paths)  # it may have changed before the lock was ours
        services_of(state.topology, names)  # a wrong name is reported before anything is changed
        return await change(paths, state, work, bus, deadline)
