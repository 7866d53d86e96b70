"""What a run consists of, and what depends on what. Pure."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from orchestrator.events import Event
from orchestrator.events.run import RunStarted
from orchestrator.events.services import UnitAlias


@dataclass(frozen=True, slots=True)
class ServicePart:
    """A service; ``depends_on`` has names of services."""

    name: str
    machine: str
    unit: str
    oneshot: bool
    depends_on: tuple[str, ...]


@dataclass(slots=True)
class Parts:
    """The services of a run and their units, under all names that a journal has for them."""

    services: dict[str, ServicePart] = field(default_factory=dict)
    machines: tuple[str, ...] = ()
    suite_machine: str = ""
    _units: dict[tuple[str, str], str] = field(default_factory=dict)

    @classmethod
    def of(cls, events: Iterable[Event]) -> Parts:
        """Those of a run's events."""
        found = cls()
        for event in events:
            if isinstance(event, RunStarted):
                found.machines = tuple(machine.name for machine in event.machines)
                found.suite_machine = event.suite_machine
                for one in event.services:
                    oneshot = one.kind == "oneshot"
                    found.services[one.name] = ServicePart(
                        one.name, one.machine, one.unit or "", oneshot, one.depends_on
                    )
                    if one.unit:
                        found._units[one.machine, one.unit] = one.name
            elif isinstance(event, UnitAlias) and (event.machine, event.subject) in found._units:
                found._units[event.machine, event.id] = found._units[event.machine, event.subject]
        return found

    def service_of(self, machine: str, unit: str) -> str:
        """The service that a unit of a machine is; empty where it is none of the topology's."""
        return self._units.get((machine, unit), "")

    def needed_by(self, names: Iterable[str]) -> dict[str, int]:
        """These services and all that they need, each with its distance: 0 for the services themselves."""
        found: dict[str, int] = {}
        now = [name for name in names if name in self.services]
        distance = 0
        while now:
            for name in now:
                found.setdefault(name, distance)
            after = {one for name in now for one in self.services[name].depends_on}
            now = [name for name in after if name in self.services and name not in found]
            distance += 1
        return found

    def last(self) -> list[str]:
        """The services that nothing depends on: what a browser sees rests on all of them."""
        needed = {one for part in self.services.values() for one in part.depends_on}
        return [name for name in self.services if name not in needed]

    def way(self, start: str, end: str) -> list[str]:
        """The shortest way of dependencies from one service to another, both included; empty: there is none."""
        ways: list[list[str]] = [[start]] if start in self.services else []
        seen = {start}
        while ways:
            way = ways.pop(0)
            if way[-1] == end:
                return way
            for name in self.services[way[-1]].depends_on:
                if name in self.services and name not in seen:
                    seen.add(name)
                    ways.append([*way, name])
        return []
