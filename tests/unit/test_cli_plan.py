"""What `orchestrator plan` says of a start: the stage it begins with, what changed, what starts again."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from topology_parts import machine, topology
from warm_states import put

from orchestrator.cli.plan import as_data, as_text
from orchestrator.environment.decision import Decision, Inputs, changed_text, decide
from orchestrator.environment.saving import default_store
from orchestrator.snapshots.key import inputs_of_stage, key_of
from orchestrator.snapshots.memory import RamBacking
from orchestrator.topology.model import Dependency, Layer, Service, ServiceKind
from orchestrator.topology.stages import stages_of

pytestmark = pytest.mark.usefixtures("own_places")

DATABASE = Service("database", "server", ServiceKind.DAEMON, "database.service")
WEB = Service("web", "server", ServiceKind.DAEMON, "web.service", depends_on=(Dependency("database"),), uses=("app",))
SHOP = replace(
    topology(Path("/nowhere"), machine("server"), services={"database": DATABASE, "web": WEB}),
    layers={"app": Layer("app", Path("/app"), "/opt/app")},
)
OLD = {
    "QEMU": "10",
    "layer app of server": "one /opt/app",
    "service database": "d1",
    "service web": "w1",
}


def save_base(inputs: dict[str, str]) -> None:
    """A saved state at the stage base."""
    base = stages_of(SHOP)[0]
    wanted = inputs_of_stage(inputs, SHOP, base)
    store = default_store()
    healthy = put(inputs)
    with store.saving("shop", f"base.{key_of(wanted)}", RamBacking(store.memory, "tmpfs", "")) as saving:
        (saving.folder / "server").mkdir()
        manifest = replace(healthy.require_manifest(), name="base", key=key_of(wanted), inputs=wanted)
        saving.publish(manifest)


def decided(**changes: str) -> Decision:
    return decide("shop", Inputs(SHOP, {**OLD, **changes}))


def test_nothing_was_saved() -> None:
    found = decided()
    assert found.choice is None
    assert as_text(found, ("database", "web")) == [
        "cold start: no healthy state was saved yet",
        "  stage healthy (2 of 2 services)",
        "    no healthy state was saved yet",
        "  stage base (1 of 2 services)",
        "    no base state was saved yet",
        "  started again: database, web",
    ]


def test_nothing_changed() -> None:
    save_base(OLD)
    found = decided()
    assert found.text.startswith("start from the saved healthy state (")
    assert as_data(found)["start_again"] == []


def test_a_changed_layer_and_a_changed_late_service() -> None:
    save_base(OLD)
    found = decided(**{"layer app of server": "two /opt/app", "service web": "w2"})
    assert found.text.startswith("layer app, service web changed: from stage base, 1 of 2 services start again (")
    lines = as_text(found, ("database", "web"))
    assert lines[1:4] == [
        "  stage healthy (2 of 2 services)",
        "    changed: layer app of server",
        "    changed: service web",
    ]
    assert lines[-2:] == ["  proven again: database", "  started again: web"]
    data = as_data(found)
    assert (data["stage"], data["start_again"]) == ("base", ["web"])
    assert [(one["name"], one["fits"]) for one in data["stages"]] == [("healthy", False), ("base", True)]


def test_a_change_below_every_stage_is_a_cold_start() -> None:
    save_base(OLD)
    found = decided(**{"service database": "d2"})
    assert found.choice is None
    assert found.text == "cold start: the saved state does not fit, changed since: service database"
    assert found.again == ("database", "web")


def test_what_changed_is_said_once() -> None:
    assert changed_text(["QEMU", "layer app of a", "layer app of b", "file /x of a"]) == "QEMU, layer app, file /x"
