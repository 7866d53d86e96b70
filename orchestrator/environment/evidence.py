"""Bringing home what a guest knows: service logs, the end of its journal."""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterable
from contextlib import suppress
from pathlib import Path

from orchestrator.deadline import Deadline
from orchestrator.environment.machine import LiveMachine
from orchestrator.errors import OrchestratorError, ServiceError, TimeLimit
from orchestrator.events import EventBus
from orchestrator.events.run import Note
from orchestrator.topology.model import Topology

EVIDENCE_LIMIT = 30.0  # seconds for the logs of all machines, before scaling
LOG_LIMIT = 8 << 20  # bytes of one collected log; the end is kept


async def add_machine_status(machines: Iterable[LiveMachine], error: OrchestratorError) -> None:
    """Add to an error about time or a service what each machine is seen to do: it may be the reason."""
    if isinstance(error, (ServiceError, TimeLimit)):
        said = [f"machine {live.name}: {await live.describe_state()}" for live in machines]
        error.evidence = (*error.evidence, *said)


async def collect_all(
    machines: Collection[LiveMachine],
    topology: Topology,
    run_folder: Path,
    step: str,
    bus: EventBus,
    patience: float,
    real: Callable[[str, str], str],
) -> None:
    """Pictures of all machines, then logs of those that still answer.

    Args:
        real: a unit's own name, of machine and the name in the topology.
        patience: what the limit is multiplied with.
    """
    limit = Deadline.after(EVIDENCE_LIMIT * patience)
    for machine in machines:
        with suppress(OrchestratorError):
            await machine.screenshot(step, run_folder)
    for machine in machines:
        if not machine.handed_over:
            continue
        if not await machine.answers():
            message = "logs of services not collected: the machine does not answer; its journal so far is here"
            bus.emit(Note(machine.name, level="warning", message=message))
        else:
            await collect_logs(machine, topology, run_folder, bus, limit, real)


async def collect_logs(
    machine: LiveMachine,
    topology: Topology,
    run_folder: Path,
    bus: EventBus,
    deadline: Deadline,
    real: Callable[[str, str], str],
) -> None:
    """Write ``services/<unit>.log`` for every unit of the machine, and the files services name.

    Args:
        real: a unit's own name, of machine and the name in the topology.

    A guest that does not answer loses only what is not already on the host.
    """
    folder = run_folder / "machines" / machine.name / "services"
    folder.mkdir(parents=True, exist_ok=True)
    for service in topology.services.values():
        if service.machine != machine.name:
            continue
        sources: dict[str, list[str]] = {}
        if service.unit is not None:
            sources[f"{service.unit.removesuffix('.service')}.log"] = [
                "journalctl",
                "-b",
                f"--unit={real(service.machine, service.unit)}",
                "-o",
                "short-iso-precise",
                "--no-pager",
                "-q",
            ]
        for path in service.logs:
            name = re.sub(r"[^A-Za-z0-9._-]+", "-", path).strip("-.")
            sources[name] = ["tail", "-c", str(LOG_LIMIT), path]
        for name, command in sources.items():
            try:
                result = await machine.agent.exec(command, deadline=deadline)
            except OrchestratorError as error:
                bus.emit(Note(machine.name, level="warning", message=f"{name} not collected: {error.what}"))
                return
            with suppress(OSError):
                (folder / name).write_bytes(result.stdout[-LOG_LIMIT:])
