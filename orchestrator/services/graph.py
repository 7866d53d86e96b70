"""The dependency graph of services as a pure state machine.

The scheduler asks what may start, tells what happened, and asks again. Nothing
here waits or talks to a guest.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from types import MappingProxyType

from orchestrator.events.states import ServiceState
from orchestrator.topology.dependants import direct_dependants, with_dependants
from orchestrator.topology.model import Condition, Dependency, Service, ServiceKind

State = ServiceState
_GOOD = frozenset({State.HEALTHY, State.COMPLETED})

# Which states of a dependency satisfy each condition.
_SATISFIES: Mapping[Condition, frozenset[State]] = MappingProxyType(
    {
        Condition.STARTED: frozenset({State.CHECKING}) | _GOOD,
        Condition.HEALTHY: _GOOD,
        Condition.COMPLETED: frozenset({State.COMPLETED}),
    }
)
_LEGAL: Mapping[State, frozenset[State]] = MappingProxyType(
    {
        State.PENDING: frozenset({State.STARTING, State.SKIPPED}),
        State.STARTING: frozenset({State.CHECKING, State.FAILED}),
        State.CHECKING: frozenset({State.HEALTHY, State.COMPLETED, State.FAILED}),
        State.HEALTHY: frozenset({State.PENDING, State.STOPPED, State.FAILED}),
        State.COMPLETED: frozenset({State.PENDING, State.STOPPED, State.FAILED}),
        State.FAILED: frozenset({State.PENDING, State.STOPPED}),
        State.SKIPPED: frozenset({State.PENDING}),
        State.STOPPED: frozenset({State.PENDING}),
    }
)


@dataclass(frozen=True, slots=True)
class ServiceGraph:
    """All services and where each stands; every change makes a new graph."""

    services: Mapping[str, Service]
    states: Mapping[str, State]

    @classmethod
    def fresh(cls, services: Mapping[str, Service]) -> ServiceGraph:
        return cls(services, dict.fromkeys(services, State.PENDING))

    @classmethod
    def remembered(cls, services: Mapping[str, Service], states: Mapping[str, str]) -> ServiceGraph:
        """The graph with what was proven earlier; everything else is pending."""
        good = {state.value: state for state in _GOOD}
        return cls(services, {name: good.get(states.get(name, ""), State.PENDING) for name in services})

    def startable(self) -> tuple[str, ...]:
        """Pending services whose every dependency is satisfied, in the order of the file."""
        return tuple(
            name
            for name, service in self.services.items()
            if self.states[name] is State.PENDING and all(self.satisfied(d) for d in service.depends_on)
        )

    def pending(self) -> tuple[str, ...]:
        """The services that are still to be started."""
        return tuple(name for name in self.services if self.states[name] is State.PENDING)

    def satisfied(self, dependency: Dependency) -> bool:
        return self.states[dependency.service] in _SATISFIES[dependency.condition]

    def advance(self, name: str, state: State) -> ServiceGraph:
        """The graph after ``name`` went to ``state``; a failure skips what can no longer start.

        Raises:
            ValueError: that step is not possible.
        """
        old = self.states[name]
        if state not in _LEGAL[old]:
            raise ValueError(f"service {name} cannot go from {old} to {state}")
        graph = replace(self, states={**self.states, name: state})
        if state in (State.FAILED, State.SKIPPED):
            for other in graph.direct_dependants(name):
                if graph.states[other] is State.PENDING:
                    graph = graph.advance(other, State.SKIPPED)
        return graph

    def reset(self, names: Iterable[str]) -> ServiceGraph:
        """The graph with these services pending again, whatever they were."""
        return replace(self, states={**self.states, **dict.fromkeys(names, State.PENDING)})

    def direct_dependants(self, name: str) -> tuple[str, ...]:
        """The services that name this one as what they depend on."""
        return direct_dependants(self.services, name)

    def with_dependants(self, names: Iterable[str]) -> tuple[str, ...]:
        """These services and everything that rests on them, in the order of the file."""
        return with_dependants(self.services, names)

    def stop_order(self, names: Iterable[str]) -> tuple[str, ...]:
        """Dependants before what they depend on, also through services that are not among them."""
        left = set(names)
        order: list[str] = []
        while left:
            free = [n for n in self.services if n in left and left & set(self.with_dependants((n,))) == {n}]
            order += free
            left -= set(free)
        return tuple(order)

    @property
    def settled(self) -> bool:
        return all(state.settled for state in self.states.values())

    def proven(self) -> tuple[str, ...]:
        """The services that are healthy or completed, in the order of the file."""
        return tuple(name for name in self.services if self.states[name] in _GOOD)

    @property
    def good(self) -> bool:
        """Whether every service is healthy or completed."""
        return all(state in _GOOD for state in self.states.values())


def good_state(service: Service) -> State:
    """What a service is when its checks have passed."""
    return State.COMPLETED if service.kind is ServiceKind.ONESHOT else State.HEALTHY
