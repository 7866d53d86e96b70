"""The tree of saved states: what goes on from what, and what differs."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from warm_states import BASE

from orchestrator.cli.snapshot import as_tree_dict, for_people
from orchestrator.snapshots.store import Snapshot
from orchestrator.snapshots.tree import branches

MACHINES = {"QEMU": "10", "image server": "i1", "service database": "d"}
ALL = {**MACHINES, "layer app of server": "a1", "service web": "w"}


def state(folder: str, inputs: Mapping[str, str], created: float, environment: str = "shop") -> Snapshot:
    manifest = replace(BASE, inputs=inputs, created=created)
    return Snapshot(Path(f"/store/{environment}@{folder}"), "tmpfs", manifest)


SCENE = [
    state("seeded~ab12", ALL, 9.0),
    state("healthy.2", {**ALL, "layer app of server": "a2"}, 8.0),
    state("healthy.1", ALL, 7.0),
    state("base.1", MACHINES, 6.0),
    state("base.0", {**MACHINES, "image server": "i0"}, 2.0),
    state("healthy.0", {**ALL, "image server": "i0"}, 1.0),
    state("healthy.9", ALL, 0.5, "other"),
]


def test_each_state_is_below_what_it_goes_on_from() -> None:
    shown = [("  " * one.depth + one.snapshot.folder.name.partition("@")[2]) for one in branches(SCENE)]
    assert shown == [
        "base.1",
        "  healthy.2",
        "  healthy.1",
        "    seeded~ab12",
        "base.0",
        "  healthy.0",
        "healthy.9",
    ]


def test_what_differs_is_told() -> None:
    lines = [line.split(None, 1)[1] for line in for_people(branches(SCENE), 10.0).splitlines()[1:]]
    assert [line.partition("server")[2].strip() for line in lines] == [
        "",
        "with layer app, service web",
        "other layer app",
        "",
        "other image server",
        "other image server, layer app",
        "",
    ]


def test_programs_get_the_parent_and_all_names() -> None:
    data = {str(one["path"]).partition("@")[2]: one for one in map(as_tree_dict, branches(SCENE))}
    assert data["healthy.2"]["parent"] == "/store/shop@base.1"
    assert data["healthy.2"]["adds"] == ["layer app of server", "service web"]
    assert (data["base.1"]["parent"], data["base.1"]["changed"]) == (None, [])
    assert data["base.0"]["changed"] == ["image server"]


def test_a_damaged_state_is_listed_and_is_nobodys_parent() -> None:
    damaged = Snapshot(Path("/store/shop@base.2"), "tmpfs", None, "gone")
    assert [one.depth for one in branches([damaged, SCENE[2]])] == [0, 0]
