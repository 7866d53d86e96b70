"""The errors of services: what failed, why, the last lines of its unit, and the command that shows more."""

from __future__ import annotations

from collections.abc import Sequence
from contextlib import suppress

from orchestrator.deadline import Deadline
from orchestrator.errors import OrchestratorError, ServiceError
from orchestrator.services import systemd
from orchestrator.services.reach import Reach
from orchestrator.topology.model import Service

EVIDENCE_LINES = 15
LAST_LINES_LIMIT = 10.0  # seconds for the last lines of a unit, before scaling


async def explain(reach: Reach, service: Service, what: str, why: str) -> ServiceError:
    """The error of a service, with the last lines of its unit where the guest still gives them.

    Args:
        what: follows the names of service and machine: "did not start", "failed".
    """
    evidence: list[str] = []
    journal = reach.journal(service.machine)
    hint = f"{reach.command} shell {service.machine}"
    if service.unit is not None:
        unit = reach.real(service.machine, service.unit)
        hint = f"{reach.command} logs --unit {unit} {service.machine}"
        with suppress(OrchestratorError):
            deadline = Deadline.after(reach.scale.transfer(LAST_LINES_LIMIT))
            agent = await reach.agent(service.machine)
            evidence = await systemd.last_lines(agent, unit, EVIDENCE_LINES, deadline)
    return ServiceError(
        f"service {service.name} on machine {service.machine} {what}",
        subject=service.name,
        why=why,
        evidence=evidence,
        where=[] if journal is None else [str(journal.path)],
        hint=hint,
    )


def cannot_start(waiting: Sequence[str], command: str) -> ServiceError:
    """Nothing runs, nothing may start, and something still waits: a dependency was stopped."""
    return ServiceError(
        f"service {', '.join(waiting)} cannot start",
        why="something it needs was stopped and not started again",
        hint=f"{command} status",
    )
