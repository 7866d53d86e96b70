"""What everything that looks after services needs: how machines are reached, what is said of them, whom to tell."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass, field

from orchestrator.deadline import Deadline
from orchestrator.errors import OrchestratorError, ServiceError
from orchestrator.events import EventBus
from orchestrator.events.services import UnitAlias
from orchestrator.guest.agent import Agent
from orchestrator.services import systemd
from orchestrator.services.checks import Channels
from orchestrator.services.journal import Journal
from orchestrator.topology.model import Service

EVIDENCE_LINES = 15
LOOK_LIMIT = 10.0  # seconds for one question about units, before scaling: it must not fail the wait on a busy machine


@dataclass(frozen=True, slots=True)
class Reach:
    """The ways to the machines of one environment.

    Attributes:
        channels: for the machine of every service and check.
        journals: the followed journal of each machine.
        factor: what all limits of the topology are multiplied with.
        command: how the user calls this program for this environment, for hints.
        names: units that systemd knows by another name than the topology: (machine, unit) → its own.
    """

    channels: Mapping[str, Channels]
    journals: Mapping[str, Journal]
    bus: EventBus
    factor: float
    command: str
    names: dict[tuple[str, str], str] = field(default_factory=dict)

    async def agent(self, machine: str) -> Agent:
        """The machine's agent, once it was handed over."""
        return await self.channels[machine].agent()

    def journal(self, machine: str) -> Journal | None:
        return self.journals.get(machine)

    def look_limit(self) -> Deadline:
        return Deadline.after(LOOK_LIMIT * max(1.0, self.factor))

    def know(self, machine: str, unit: str, real: str) -> None:
        """Keep a unit's own name, and tell it once: logs are found by it."""
        if not real or real == unit or (machine, unit) in self.names:
            return
        self.names[machine, unit] = real
        if journal := self.journal(machine):
            journal.know(unit, real)
        self.bus.emit(UnitAlias(unit, machine=machine, id=real))

    def real(self, machine: str, unit: str) -> str:
        return self.names.get((machine, unit), unit)

    async def explained(self, service: Service, what: str, why: str) -> ServiceError:
        """The error of a service, with its unit's last words."""
        evidence: list[str] = []
        journal = self.journal(service.machine)
        hint = f"{self.command} shell {service.machine}"
        if service.unit is not None:
            unit = self.real(service.machine, service.unit)
            hint = f"{self.command} logs --unit {unit} {service.machine}"
            with suppress(OrchestratorError):
                limit = Deadline.after(10 * max(1.0, self.factor / 2))
                evidence = await systemd.last_lines(await self.agent(service.machine), unit, EVIDENCE_LINES, limit)
        return ServiceError(
            f"service {service.name} on machine {service.machine} {what}",
            subject=service.name,
            why=why,
            evidence=evidence,
            where=[] if journal is None else [str(journal.path)],
            hint=hint,
        )
