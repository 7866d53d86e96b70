"""Saved states of an environment, for the tests of what starts from them and makes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from event_records import notes
from topology_parts import machine, topology

from orchestrator.environment.saving import default_store
from orchestrator.environment.state import EnvironmentState, MachineState
from orchestrator.events import Event, EventBus
from orchestrator.process_id import ProcessId
from orchestrator.snapshots.key import key_of
from orchestrator.snapshots.manifest import MANIFEST, Manifest, SavedMachine
from orchestrator.snapshots.memory import RamBacking
from orchestrator.snapshots.store import Snapshot
from orchestrator.topology.model import Service, ServiceKind
from orchestrator.topology.stages import HEALTHY

INPUTS = {"QEMU": "10.0.2", "topology": "t1", "image server": "i1"}
SERVER = SavedMachine("/images/server", "aa", "bb", "cc", "ssh-ed25519 A")
BASE = Manifest(HEALTHY, "shop", "ab12", "", {}, 100.0, 0.2, "orchestrator up", {"server": SERVER})
WEB = Service("web", "server", ServiceKind.DAEMON, "web.service")


class Notes:
    def __init__(self) -> None:
        self.bus = EventBus()
        self.found: list[Event] = []
        self.bus.subscribe(self.found.append)

    def texts(self, level: str) -> list[str]:
        return notes(self.found, level)


def put(
    inputs: Mapping[str, str], *, environment: str = "shop", owner: str = "ab12", created: float = 100.0
) -> Snapshot:
    """A healthy snapshot of these inputs."""
    key = key_of(inputs)
    store = default_store()
    with store.saving(environment, f"{HEALTHY}.{key}", RamBacking(store.memory, "tmpfs", "")) as saving:
        (saving.folder / "server").mkdir()
        (saving.folder / "server/ram").write_bytes(b"x" * 5000)
        manifest = replace(BASE, environment=environment, owner=owner, key=key, inputs=inputs, created=created)
        return saving.publish(manifest)


def damage(one: Snapshot) -> None:
    (one.folder / MANIFEST).write_text("{")


def a_state(tmp_path: Path, **changes: object) -> EnvironmentState:
    state = EnvironmentState(
        name="shop",
        topology=topology(tmp_path, machine("server"), services={"web": WEB}),
        run_folder=tmp_path / "runs/r1",
        phase="starting",
        owner=ProcessId(4, 5, "another boot"),
        command="orchestrator up",
        started=1.0,
        provider="debian",
        accelerator="tcg",
        factor=1.0,
        inputs=INPUTS,
        services={"web": "healthy"},
        machines={"server": MachineState(ProcessId(8, 9, "another boot"), "/images/server", {22: 40001}, "ssh A", "")},
    )
    return replace(state, **changes)  # type: ignore[arg-type]
