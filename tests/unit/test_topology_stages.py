"""The stages of a start: which services each has, and what of a topology each depends on."""

from __future__ import annotations

from dataclasses import replace
from itertools import pairwise
from pathlib import Path

from hypothesis import given
from hypothesis import strategies as st
from topology_parts import machine, topology

from orchestrator.snapshots.key import differences, inputs_of_stage, layer_input
from orchestrator.topology.dependants import needed_by
from orchestrator.topology.model import Dependency, Layer, Service, ServiceKind, Topology
from orchestrator.topology.stages import Stage, stages_of

LAYER = Layer("app", Path("/app"), "/opt/app")


def service(name: str, *needs: str, uses: tuple[str, ...] = (), stage: bool = False) -> Service:
    dependencies = tuple(Dependency(one) for one in needs)
    return Service(
        name, "server", ServiceKind.DAEMON, f"{name}.service", depends_on=dependencies, uses=uses, stage=stage
    )


def shop(*services: Service, layers: tuple[Layer, ...] = (LAYER,)) -> Topology:
    made = topology(Path("/nowhere"), machine("server"), services={one.name: one for one in services})
    return replace(made, layers={one.name: one for one in layers})


def names(made: Topology) -> list[tuple[str, list[str]]]:
    return [(stage.name, sorted(stage.services)) for stage in stages_of(made)]


def test_base_has_what_rests_on_no_layer() -> None:
    made = shop(
        service("database"),
        service("migrations", "database", uses=("app",)),
        service("backend", "migrations"),
        service("cache"),
        service("web", "backend", "cache"),
    )
    assert names(made) == [
        ("base", ["cache", "database"]),
        ("healthy", ["backend", "cache", "database", "migrations", "web"]),
    ]


def test_without_layers_there_is_one_stage_and_with_them_base_may_be_empty() -> None:
    assert names(shop(service("a"), layers=())) == [("healthy", ["a"])]
    assert names(shop(service("a", uses=("app",)))) == [("base", []), ("healthy", ["a"])]
    assert names(shop(service("a"))) == [("healthy", ["a"])], "nothing uses the layer: base is all there is"


def test_a_service_may_mark_a_stage_before_and_after_base() -> None:
    made = shop(
        service("database", stage=True),
        service("cache"),
        service("backend", "database", uses=("app",), stage=True),
        service("web", "backend"),
    )
    assert names(made) == [
        ("database", ["database"]),
        ("base", ["cache", "database"]),
        ("backend", ["backend", "cache", "database"]),
        ("healthy", ["backend", "cache", "database", "web"]),
    ]


def inputs(made: Topology) -> dict[str, str]:
    return {
        "QEMU": "10",
        "image server": "k",
        layer_input("app", "server"): "content /opt/app",
        "room for layer app of server": "64",
        **{f"service {name}": repr(one) for name, one in made.services.items()},
    }


def test_a_stage_depends_on_its_own_services_and_layers_only() -> None:
    made = shop(service("database"), service("backend", "database", uses=("app",)), service("web", "backend"))
    base, healthy = stages_of(made)
    assert set(inputs_of_stage(inputs(made), made, base)) == {
        "QEMU",
        "image server",
        "room for layer app of server",
        "service database",
    }
    assert inputs_of_stage(inputs(made), made, healthy) == inputs(made)
    assert made.layers_of("server", base.services) == ()
    assert [one.name for one in made.layers_of("server", healthy.services)] == ["app"]


@st.composite
def topologies(draw: st.DrawFn) -> Topology:
    """Any graph of services: each may need some before it, use layers, and mark a stage."""
    count = draw(st.integers(1, 8))
    services = []
    for number in range(count):
        needs = draw(st.lists(st.integers(0, number - 1), unique=True, max_size=3)) if number else []
        uses = draw(st.sampled_from([(), (), ("app",), ("data",), ("app", "data")]))
        services.append(service(f"s{number}", *(f"s{one}" for one in needs), uses=uses, stage=draw(st.booleans())))
    return shop(*services, layers=(LAYER, Layer("data", Path("/data"), "/opt/data")))


@given(topologies(), st.data())
def test_what_a_fitting_stage_keeps_is_what_the_change_cannot_have_touched(made: Topology, data: st.DataObject) -> None:
    """Against starting everything: a kept service is not the changed one, and rests on none that is, or uses it."""
    changed = data.draw(st.sampled_from([*made.services, "app", "data"]))
    before = {
        "QEMU": "10",
        **{layer_input(one, "server"): "old" for one in made.layers},
        **{f"service {one}": "old" for one in made.services},
    }
    name = layer_input(changed, "server") if changed in made.layers else f"service {changed}"
    after = {**before, name: "new"}
    stages = stages_of(made)
    fitting = [one for one in stages if not _differ(one, made, before, after)]
    kept = fitting[-1].services if fitting else frozenset()
    for one in kept:
        rests_on = needed_by(made.services, [one])
        assert changed not in rests_on
        assert all(changed not in made.services[other].uses for other in rests_on)
    assert all(earlier.services < later.services for earlier, later in pairwise(stages))
    for stage in stages:
        assert needed_by(made.services, stage.services) == stage.services, "it can be reached without the rest"


def _differ(stage: Stage, made: Topology, before: dict[str, str], after: dict[str, str]) -> list[str]:
    return differences(inputs_of_stage(before, made, stage), inputs_of_stage(after, made, stage))
