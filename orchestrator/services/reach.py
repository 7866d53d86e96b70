"""How the machines of one environment are reached, for everything that drives or checks services."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

from orchestrator.deadline import Deadline
from orchestrator.events import EventBus
from orchestrator.events.services import UnitAlias
from orchestrator.guest.channel import GuestChannel
from orchestrator.services.channels import Channels
from orchestrator.services.journal import Journal
from orchestrator.timescale import TimeScale

LOOK_TIMEOUT = 10.0  # seconds for one question about units, before scaling: it must not fail the wait on a busy machine


@dataclass(frozen=True, slots=True)
class Reach:
    """The ways to the machines of one environment.

    Attributes:
        channels: for the machine of every service and check.
        journals: the followed journal of each machine.
        scale: of all limits and intervals.
        command: how the user calls this program for this environment, for hints.
        names: units that systemd knows by another name than the topology: (machine, unit) → its own.
    """

    channels: Mapping[str, Channels]
    journals: Mapping[str, Journal]
    bus: EventBus
    scale: TimeScale
    command: str
    names: dict[tuple[str, str], str] = field(default_factory=dict)

    async def agent(self, machine: str) -> GuestChannel:
        """The machine's agent, once it was handed over."""
        return await self.channels[machine].agent()

    def journal(self, machine: str) -> Journal | None:
        return self.journals.get(machine)

    def look_deadline(self) -> Deadline:
        return Deadline.after(self.scale.interval(LOOK_TIMEOUT))

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
