"""Order, dependants, critical path and the pictures of the graph."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from topology_samples import ALICIA, GOLDEN, write

from orchestrator.topology import graph
from orchestrator.topology.load import load_topology
from orchestrator.topology.model import Dependency, Service, ServiceKind, Topology


@pytest.fixture
def alicia(tmp_path: Path) -> Topology:
    return load_topology(write(tmp_path, ALICIA.read_text(encoding="utf-8")))


def made(edges: dict[str, list[str]]) -> Topology:
    """A topology of services with these dependencies."""
    services = {
        name: Service(name, "m", ServiceKind.DAEMON, f"{name}.service", tuple(Dependency(each) for each in needs))
        for name, needs in edges.items()
    }
    return Topology("t", Path("/t.toml"), "", (), {}, {}, {}, services, None)


@st.composite
def graphs(draw: st.DrawFn) -> dict[str, list[str]]:
    names = [f"s{number}" for number in range(draw(st.integers(0, 8)))]
    edges = {
        name: draw(st.lists(st.sampled_from(names[:index]), unique=True)) if index else []
        for index, name in enumerate(names)
    }
    return {name: edges[name] for name in draw(st.permutations(names))}


def test_the_levels_of_a_real_file(alicia: Topology) -> None:
    assert graph.order(alicia) == (
        ("network",),
        ("postgresql", "mock-llm", "mock-livekit"),
        ("database",),
        ("migrations",),
        ("backend",),
        ("nginx",),
        ("client",),
    )


@given(graphs())
def test_levels_hold_all_services_after_what_they_need(edges: dict[str, list[str]]) -> None:
    levels = graph.order(made(edges))
    place = {name: number for number, level in enumerate(levels) for name in level}
    assert set(place) == set(edges)
    assert sum(map(len, levels)) == len(edges)
    for name, needs in edges.items():
        # Directly below the deepest one: nothing waits longer than it must.
        assert place[name] == max((place[each] + 1 for each in needs), default=0)


@given(graphs(), st.data())
def test_dependants_are_those_that_reach_it(edges: dict[str, list[str]], data: st.DataObject) -> None:
    if not edges:
        return
    name = data.draw(st.sampled_from(sorted(edges)))

    def reaches(start: str) -> bool:
        return any(each == name or reaches(each) for each in edges[start])

    found = graph.dependants(made(edges), name)
    assert set(found) == {each for each in edges if reaches(each)}
    started = [each for level in graph.order(made(edges)) for each in level]
    assert list(found) == [each for each in started if each in found]


def test_dependants_of_nothing_known(alicia: Topology) -> None:
    assert graph.dependants(alicia, "backend") == ("nginx", "client")
    with pytest.raises(KeyError):
        graph.dependants(alicia, "frontend")


@pytest.mark.parametrize(
    ("name", "render"), [("graph.txt", graph.as_text), ("graph.mmd", graph.as_mermaid), ("graph.json", graph.as_json)]
)
def test_pictures(name: str, render: object, alicia: Topology) -> None:
    assert callable(render)
    assert render(alicia) == (GOLDEN / name).read_text(encoding="utf-8")


def test_the_json_says_the_same(alicia: Topology) -> None:
    data = json.loads(graph.as_json(alicia))
    assert [tuple(level) for level in data["levels"]] == list(graph.order(alicia))
    assert [service["name"] for service in data["services"]] == list(alicia.services)


def test_a_circle_is_refused() -> None:
    with pytest.raises(ValueError, match="a, b"):
        graph.order(made({"a": ["b"], "b": ["a"]}))
