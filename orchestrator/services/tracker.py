"""Where every service is: the graph as it is now, with an event for each change."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable

from orchestrator.errors import ServiceError
from orchestrator.events import EventBus
from orchestrator.events.services import ServiceStateChanged
from orchestrator.services.graph import ServiceGraph, State, good_state
from orchestrator.topology.model import Service


class ServiceTracker:
    """The current `ServiceGraph`. Only this class replaces it.

    Attributes:
        graph: as it is now.
        changed: set at each change; who waits for one clears it first.
    """

    def __init__(self, graph: ServiceGraph, bus: EventBus) -> None:
        self.graph = graph
        self.changed = asyncio.Event()
        self._bus = bus

    def claim(self, service: Service) -> None:
        """The service is being worked on. No event: its clock does not run yet, or nothing is started."""
        self.graph = self.graph.advance(service.name, State.STARTING)

    def starting(self, service: Service) -> None:
        """Report a claimed service as starting."""
        self._emit(service.name, State.STARTING)

    def move(self, name: str, state: State, elapsed: float = 0.0, detail: str = "") -> None:
        """A service came to a state.

        Args:
            elapsed: seconds since its start.

        Raises:
            ValueError: the graph knows no such step.
        """
        self.graph = self.graph.advance(name, state)
        self._emit(name, state, elapsed, detail)
        self.changed.set()

    def succeed(self, service: Service, elapsed: float = 0.0) -> None:
        """The checks of a service have passed."""
        self.move(service.name, good_state(service), elapsed)

    def fail(self, service: Service, error: ServiceError, elapsed: float = 0.0) -> None:
        """A service failed; what needs it is skipped."""
        before = dict(self.graph.states)
        if before[service.name] is State.FAILED:
            return
        self.move(service.name, State.FAILED, elapsed, error.why)
        for name, state in self.graph.states.items():
            if state is State.SKIPPED and before[name] is not State.SKIPPED:
                self._emit(name, State.SKIPPED, detail=f"needs {service.name}")

    def mark_pending(self, names: Iterable[str], *, silent: bool = False) -> None:
        """Services are pending again, whatever they were.

        Args:
            silent: without events.
        """
        names = tuple(names)
        self.graph = self.graph.reset(names)
        if not silent:
            for name in names:
                self._emit(name, State.PENDING)

    def assume_checking(self) -> None:
        """All services are taken to run, and to be checked; without events."""
        for name in self.graph.services:
            self.graph = self.graph.reset([name]).advance(name, State.STARTING).advance(name, State.CHECKING)

    def _emit(self, name: str, state: State, elapsed: float = 0.0, detail: str = "") -> None:
        machine = self.graph.services[name].machine
        self._bus.emit(
            ServiceStateChanged(name, machine=machine, state=state, elapsed=round(elapsed, 3), detail=detail)
        )
