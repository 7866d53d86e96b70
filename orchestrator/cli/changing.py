"""A command that changes what runs: with the lock held, in the run folder of the command that started it."""

from __future__ import annotations

from collections.abc import Awaitable, Callable

from orchestrator.cli.run_folder import continued
from orchestrator.deadline import Deadline
from orchestrator.environment.evidence import collect_all
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.run_events import emit_failure, over_limit
from orchestrator.environment.session import Session
from orchestrator.environment.state import EnvironmentState, StateFile
from orchestrator.errors import OrchestratorError
from orchestrator.events import Event, EventBus


async def change(
    paths: EnvironmentPaths,
    state: EnvironmentState,
    work: Callable[[Session], Awaitable[Event]],
    bus: EventBus,
    deadline: Deadline,
) -> int:
    """Do work on a running environment; the exit code. A failure is recorded, and its evidence collected.

    Args:
        state: read when the lock was held.
        work: returns the event that tells how it went.
    """
    with continued(state.run_folder, bus):
        session = Session(paths, StateFile(paths.state, state), bus)
        try:
            bus.emit(await work(session))
            return 0
        except OrchestratorError as cause:
            error = over_limit(cause, deadline)
            session.record.fail()
            emit_failure(error, bus)
            await collect_all(session, "failure")
            return error.exit_code
        finally:
            await session.close()
