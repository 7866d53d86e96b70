"""The graph of services: examples, and a state machine that hypothesis drives through every order of events."""

from __future__ import annotations

from collections.abc import Iterable

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from orchestrator.services.graph import ServiceGraph, State, good_state
from orchestrator.topology.model import Condition, Dependency, Service, ServiceKind


def service(name: str, *needs: str | Dependency, kind: ServiceKind = ServiceKind.DAEMON) -> Service:
    dependencies = tuple(d if isinstance(d, Dependency) else Dependency(d) for d in needs)
    return Service(name, "server", kind, f"{name}.service", dependencies)


def graph_of(*services: Service) -> ServiceGraph:
    return ServiceGraph.fresh({s.name: s for s in services})


def up(graph: ServiceGraph, *names: str) -> ServiceGraph:
    for name in names:
        for state in (State.STARTING, State.CHECKING, good_state(graph.services[name])):
            graph = graph.advance(name, state)
    return graph


CHAIN = graph_of(service("a"), service("b", "a"), service("c", "b"), service("d", "a"), service("e"))


def test_only_what_needs_nothing_may_start_first() -> None:
    assert CHAIN.startable() == ("a", "e")
    assert up(CHAIN, "a").startable() == ("b", "d", "e")
    assert CHAIN.advance("a", State.STARTING).startable() == ("e",)


def test_a_failure_skips_all_that_rests_on_it_and_nothing_else() -> None:
    failed = CHAIN.advance("a", State.STARTING).advance("a", State.FAILED)
    assert dict(failed.states) == {
        "a": State.FAILED,
        "b": State.SKIPPED,
        "c": State.SKIPPED,
        "d": State.SKIPPED,
        "e": State.PENDING,
    }
    assert CHAIN.states["a"] is State.PENDING, "a change makes a new graph"


@pytest.mark.parametrize(
    ("condition", "kind", "satisfying"),
    [
        (Condition.STARTED, ServiceKind.DAEMON, {State.CHECKING, State.HEALTHY}),
        (Condition.HEALTHY, ServiceKind.DAEMON, {State.HEALTHY}),
        (Condition.HEALTHY, ServiceKind.ONESHOT, {State.COMPLETED}),
        (Condition.COMPLETED, ServiceKind.ONESHOT, {State.COMPLETED}),
    ],
)
def test_what_satisfies_each_condition(condition: Condition, kind: ServiceKind, satisfying: set[State]) -> None:
    graph = graph_of(service("a", kind=kind), service("b", Dependency("a", condition)))
    path = [State.STARTING, State.CHECKING, good_state(graph.services["a"]), State.STOPPED]
    seen = {State.PENDING} if "b" in graph.startable() else set()
    for state in path:
        graph = graph.advance("a", state)
        if "b" in graph.startable():
            seen.add(state)
    assert seen == satisfying


@pytest.mark.parametrize("wrong", [State.CHECKING, State.HEALTHY, State.FAILED, State.STOPPED, State.PENDING])
def test_illegal_steps_raise(wrong: State) -> None:
    with pytest.raises(ValueError, match="service a cannot go from pending to"):
        CHAIN.advance("a", wrong)


def test_what_is_settled_stays_so_until_it_is_reset() -> None:
    graph = up(CHAIN, "a")
    with pytest.raises(ValueError, match="cannot go"):
        graph.advance("a", State.STARTING)
    assert up(graph.advance("a", State.STOPPED).reset(["a"]), "a").states["a"] is State.HEALTHY


def test_with_dependants_is_in_the_order_of_the_file() -> None:
    assert CHAIN.with_dependants(["a"]) == ("a", "b", "c", "d")
    assert CHAIN.with_dependants(["c", "e"]) == ("c", "e")
    assert CHAIN.with_dependants([]) == ()


def test_stop_order_sees_through_services_that_are_not_stopped() -> None:
    assert CHAIN.stop_order(["a", "c"]) == ("c", "a"), "c rests on a, by way of b"
    assert CHAIN.stop_order(["a", "b", "c", "d", "e"]) == ("c", "d", "e", "b", "a")


def test_good_and_settled() -> None:
    done = up(CHAIN, "a", "b", "c", "d", "e")
    assert done.settled
    assert done.good
    stopped = done.advance("e", State.STOPPED)
    assert stopped.settled
    assert not stopped.good
    assert not CHAIN.settled


def reachable(services: dict[str, Service], start: str) -> set[str]:
    """Everything that ``start`` needs, directly or not."""
    found: set[str] = set()
    todo = [start]
    while todo:
        for dependency in services[todo.pop()].depends_on:
            if dependency.service not in found:
                found.add(dependency.service)
                todo.append(dependency.service)
    return found


class Bringing(RuleBasedStateMachine):
    """A scheduler that starts what may start, and a world that answers in any order."""

    @initialize(data=st.data(), count=st.integers(1, 8))
    def make(self, data: st.DataObject, count: int) -> None:
        services: dict[str, Service] = {}
        for number in range(count):
            kind = data.draw(st.sampled_from(list(ServiceKind)))
            needs = []
            for earlier in list(services.values()):
                if data.draw(st.booleans()):
                    conditions = [Condition.STARTED, Condition.HEALTHY]
                    if earlier.kind is ServiceKind.ONESHOT:  # the loader allows it for these only
                        conditions.append(Condition.COMPLETED)
                    needs.append(Dependency(earlier.name, data.draw(st.sampled_from(conditions))))
            services[f"s{number}"] = service(f"s{number}", *needs, kind=kind)
        # the order of the file need not be that of the dependencies
        shuffled = data.draw(st.permutations(list(services.values())))
        self.graph = graph_of(*shuffled)

    def teardown(self) -> None:
        """However far it came: when the rest succeeds, everything settles."""
        if not hasattr(self, "graph"):
            return
        graph = self.graph
        for _ in range(4 * len(graph.services) + 1):
            if graph.settled:
                break
            for name in graph.startable():
                graph = graph.advance(name, State.STARTING)
            for name, state in list(graph.states.items()):
                if state is State.STARTING:
                    graph = graph.advance(name, State.CHECKING)
                elif state is State.CHECKING:
                    graph = graph.advance(name, good_state(graph.services[name]))
        assert graph.settled
        assert graph.good or State.FAILED in graph.states.values()

    def moving(self) -> list[str]:
        return [n for n, s in self.graph.states.items() if s in (State.STARTING, State.CHECKING)]

    @precondition(lambda self: self.graph.startable())
    @rule(data=st.data())
    def start(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.graph.startable()))
        for dependency in self.graph.services[name].depends_on:
            state = self.graph.states[dependency.service]
            good = {State.HEALTHY, State.COMPLETED}
            if dependency.condition is Condition.STARTED:
                good |= {State.CHECKING}
            if dependency.condition is Condition.COMPLETED:
                good = {State.COMPLETED}
            assert state in good
        self.graph = self.graph.advance(name, State.STARTING)

    @precondition(lambda self: self.moving())
    @rule(data=st.data())
    def progress(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.moving()))
        starting = self.graph.states[name] is State.STARTING
        self.graph = self.graph.advance(name, State.CHECKING if starting else good_state(self.graph.services[name]))

    @precondition(lambda self: self.moving())
    @rule(data=st.data())
    def fail(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(self.moving()))
        before = dict(self.graph.states)
        self.graph = self.graph.advance(name, State.FAILED)
        changed = {n for n, s in self.graph.states.items() if s is not before[n]} - {name}
        # those that wait for it through services that wait themselves, and nobody else
        expected: set[str] = set()
        while True:
            more = {
                other
                for lost in {name, *expected}
                for other in self.graph.direct_dependants(lost)
                if before[other] is State.PENDING
            } - expected
            if not more:
                break
            expected |= more
        assert changed == expected
        assert all(self.graph.states[n] is State.SKIPPED for n in changed)

    @rule(data=st.data())
    def illegal(self, data: st.DataObject) -> None:
        name = data.draw(st.sampled_from(list(self.graph.states)))
        back = {State.PENDING: State.CHECKING}.get(self.graph.states[name], State.SKIPPED)
        with pytest.raises(ValueError, match="cannot go"):
            self.graph.advance(name, back)

    @rule(data=st.data())
    def stop_order_is_reverse_topological(self, data: st.DataObject) -> None:
        names: Iterable[str] = data.draw(st.sets(st.sampled_from(list(self.graph.services))))
        order = self.graph.stop_order(names)
        assert sorted(order) == sorted(names)
        services = dict(self.graph.services)
        for position, name in enumerate(order):
            assert not reachable(services, name) & set(order[:position]), f"{name} outlived what it needs: {order}"

    @invariant()
    def something_can_go_on_until_all_is_settled(self) -> None:
        if hasattr(self, "graph"):
            assert self.graph.settled or self.graph.startable() or self.moving()


TestBringing = Bringing.TestCase
TestBringing.settings = settings(
    stateful_step_count=25, deadline=None, derandomize=True, suppress_health_check=list(HealthCheck)
)
