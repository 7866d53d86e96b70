"""Bringing home what a guest knows: service logs, the end of its journal."""

from __future__ import annotations

import re
from collections.abc import Iterable
from contextlib import suppress

from orchestrator.deadline import Deadline
from orchestrator.environment.machine import ANSWER_LIMIT, LiveMachine
from orchestrator.environment.session import Session
from orchestrator.errors import OrchestratorError, ServiceError, TimeLimit
from orchestrator.events.run import Note
from orchestrator.timescale import TimeScale

EVIDENCE_LIMIT = 30.0  # seconds for the logs of all machines, before scaling
LOG_LIMIT = 8 << 20  # bytes of one collected log; the end is kept


async def add_machine_status(machines: Iterable[LiveMachine], error: OrchestratorError) -> None:
    """Add to an error about time or a service what each machine is seen to do: it may be the reason."""
    if isinstance(error, (ServiceError, TimeLimit)):
        descriptions = [f"machine {live.name}: {await live.qemu.describe()}" for live in machines]
        error.evidence = (*error.evidence, *descriptions)


async def collect_all(session: Session, step: str) -> None:
    """Pictures of all machines, then logs of those that still answer.

    Args:
        step: what the pictures show, part of their names.
    """
    machines, run_folder = session.machines.values(), session.run_folder
    deadline = Deadline.after(session.scale.reply(EVIDENCE_LIMIT))
    for machine in machines:
        with suppress(OrchestratorError):
            await machine.qemu.screenshot(step, run_folder)
    for machine in machines:
        if not machine.handed_over:
            continue
        if not await answers(machine, session.scale):
            message = "logs of services not collected: the machine does not answer; its journal so far is here"
            session.bus.emit(Note(machine.name, level="warning", message=message))
            continue
        await machine.clock.compare("end")
        try:
            await collect_logs(session, machine, deadline)
        except OSError as error:  # a full disk: the failure and the end of the machines matter more
            message = f"logs of services not collected: {error}"
            session.bus.emit(Note(machine.name, level="warning", message=message))


async def answers(machine: LiveMachine, scale: TimeScale) -> bool:
    """Whether the machine runs and its agent says so at once."""
    try:
        if await machine.monitor.run_state() != "running":
            return False
        await machine.agent.ping(deadline=Deadline.after(scale.reply(ANSWER_LIMIT)))
    except OrchestratorError:
        return False
    return True


async def collect_logs(session: Session, machine: LiveMachine, deadline: Deadline) -> None:
    """Write ``services/<unit>.log`` for every unit of the machine, and the files services name.

    A guest that does not answer loses only what is not already on the host.
    """
    folder = session.run_folder / "machines" / machine.name / "services"
    folder.mkdir(parents=True, exist_ok=True)
    for service in session.topology.services.values():
        if service.machine != machine.name:
            continue
        sources: dict[str, list[str]] = {}
        if service.unit is not None:
            sources[f"{service.unit.removesuffix('.service')}.log"] = [
                "journalctl",
                "-b",
                f"--unit={session.services.real_name(service.machine, service.unit)}",
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
                session.bus.emit(Note(machine.name, level="warning", message=f"{name} not collected: {error.what}"))
                return
            with suppress(OSError):
                (folder / name).write_bytes(result.stdout[-LOG_LIMIT:])
