"""What log matches make of a run whose tests passed: failed, or suspicious."""

from __future__ import annotations

from datetime import date
from typing import Literal

from orchestrator.errors import SignsFound
from orchestrator.events import Event, EventBus, wall_clock
from orchestrator.events.machines import LogMatched
from orchestrator.events.run import Note
from orchestrator.log_patterns import Severity
from orchestrator.topology.model import Topology


class Verdict:
    """Remembers the log matches of a run that nobody has waived."""

    def __init__(self, bus: EventBus) -> None:
        self._matches: list[LogMatched] = []
        bus.subscribe(self._take)

    def _take(self, event: Event) -> None:
        if isinstance(event, LogMatched) and not event.waiver:
            self._matches.append(event)

    def _of(self, severity: Severity) -> list[LogMatched]:
        return [event for event in self._matches if event.severity is severity]

    def demand(self) -> None:
        """Raise when the run cannot have passed.

        Raises:
            SignsFound: a kernel's bug, a killed process, a failing disk.
        """
        failing = self._of(Severity.FAILING)
        if failing:
            told = [f"{event.subject}: {event.pattern}: {event.line}" for event in failing]
            raise SignsFound(
                f"the tests passed, but machine {failing[0].subject} did not: {failing[0].explanation}",
                subject=failing[0].subject,
                why=told[0],
                evidence=told[1:],
                hint="a known one can be waived in the topology, with a reason and a date: [[waivers]]",
            )

    @property
    def outcome(self) -> Literal["passed", "suspicious"]:
        """``passed`` or ``suspicious``."""
        return "suspicious" if self._of(Severity.SUSPICIOUS) else "passed"


def warn_of_expired(topology: Topology, bus: EventBus) -> None:
    """Tell which waivers do not hold any more."""
    today = date.fromtimestamp(wall_clock())
    for waiver in topology.waivers:
        if not waiver.holds(today):
            message = f"{waiver.pattern} was waived until {waiver.until} ({waiver.reason}); it counts again"
            bus.emit(Note(level="warning", message=message))
