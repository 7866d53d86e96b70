"""The first and the last events of a run, and the error that ends one."""

from __future__ import annotations

from pathlib import Path

import orchestrator
from orchestrator.deadline import Deadline
from orchestrator.environment.plan import Request
from orchestrator.errors import OrchestratorError, TimeLimit
from orchestrator.events import EventBus
from orchestrator.events.base import FORMAT
from orchestrator.events.run import Failure, PlannedMachine, PlannedService, RunFinished, RunOutcome, RunStarted
from orchestrator.trace_context import VARIABLE


def emit_run_started(request: Request, run_folder: Path, provider: str, bus: EventBus) -> None:
    """The first event of a run: what is going to be started."""
    topology = request.topology
    bus.emit(
        RunStarted(
            request.name,
            format=FORMAT,
            command=request.command,
            run_id=run_folder.name,
            run_folder=str(run_folder),
            variant=topology.variant,
            provider=provider,
            topology=str(topology.path),
            machines=tuple(PlannedMachine(m.name, m.image, m.cpus, m.memory) for m in topology.machines.values()),
            services=tuple(
                PlannedService(s.name, s.machine, s.kind.value, s.unit, tuple(d.service for d in s.depends_on))
                for s in topology.services.values()
            ),
            version=orchestrator.__version__,
            traceparent=request.inherited.get(VARIABLE, ""),
            suite_machine=topology.suite.machine if topology.suite else "",
        )
    )


def over_limit(error: OrchestratorError, deadline: Deadline) -> OrchestratorError:
    """The error; where the time of the whole command is over, a `TimeLimit` that says so."""
    if isinstance(error, TimeLimit) or not deadline.expired:
        return error
    expired = TimeLimit(
        f"time limit of {deadline} reached",
        why=f"{error.what}\n{error.why}".strip(),
        where=error.where,
        hint=error.hint,
        evidence=error.evidence,
    )
    expired.subject = error.subject
    return expired


def emit_failure(error: OrchestratorError, bus: EventBus) -> None:
    """The error as an event; it then need not be shown again."""
    error.shown = True
    bus.emit(Failure.of(error))


def finish(bus: EventBus, name: str, outcome: RunOutcome, exit_code: int, deadline: Deadline) -> None:
    """The last event of a run."""
    bus.emit(RunFinished(name, outcome=outcome, exit_code=exit_code, elapsed=round(deadline.elapsed, 3)))
