"""What a changed layer stops, exchanges, starts and records in an environment that runs; machines only note it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from simulated_time import run_simulated
from topology_parts import machine, topology

from orchestrator.deadline import Deadline
from orchestrator.environment import redeploy as module
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.redeploy import Wanted, changed_disks, other_inputs, redeploy
from orchestrator.environment.runstate import Runstate
from orchestrator.environment.session import Session
from orchestrator.environment.state import EnvironmentState, MachineState, StateFile
from orchestrator.errors import ServiceError
from orchestrator.events import EventBus
from orchestrator.guest.exchange import DiskBusyError
from orchestrator.images.layers import LayerDisk
from orchestrator.process_id import ProcessId
from orchestrator.services.graph import ServiceGraph
from orchestrator.timescale import TimeScale
from orchestrator.topology.model import Condition, Dependency, Layer, Service, ServiceKind

NEW = LayerDisk("app", Path("/cache/new/disk.ext4"), "new 0:0", 64 << 20)
INPUTS = {"layer app of server": "old 0:0 /opt/app", "image server": "i1"}


def service(name: str, *needs: str, uses: tuple[str, ...] = ()) -> Service:
    depends = tuple(Dependency(other, Condition.HEALTHY) for other in needs)
    return Service(name, "server", ServiceKind.DAEMON, f"{name}.service", depends_on=depends, uses=uses)


SERVICES = {one.name: one for one in (service("db"), service("api", "db", uses=("app",)), service("proxy", "api"))}


class Scene:
    def __init__(self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.busy = 0  # how often the guest does not let go
        self.fails = False
        monkeypatch.setattr(module, "unmount", self._unmount)
        monkeypatch.setattr(module, "exchange", self._exchange)
        monkeypatch.setattr(module, "write_ssh_files", lambda *_: None)
        cache = SimpleNamespace(pin=lambda *_: None, unpin=lambda path, _: self.done.append(f"unpin {path}"))
        monkeypatch.setattr(module, "ImageCache", lambda: cache)
        known = MachineState(ProcessId.own(), "image", layers={"app": "/cache/old/disk.ext4"}, prepared=("api", "db"))
        layers = {"app": Layer("app", tmp_path, "/opt/app")}
        state = EnvironmentState(
            name="shop",
            topology=topology(tmp_path, machine("server"), services=SERVICES, layers=layers),
            run_folder=tmp_path,
            phase="ready",
            owner=ProcessId.own(),
            command="orchestrator up",
            started=1.0,
            provider="debian",
            accelerator="tcg",
            factor=1.0,
            inputs=INPUTS,
            machines={"server": known},
        )
        (tmp_path / "state").mkdir()
        paths = SimpleNamespace(folder=tmp_path, name="shop")
        guest = SimpleNamespace(services=frozenset({"api", "db"}), prepare=self._prepare, unprepared=self._unprepared)
        live = SimpleNamespace(guest=guest, monitor=None, ready_agent=self._agent, runstate=Runstate.READY)
        record = StateFile(tmp_path / "state/state.json", state)
        self.guest = guest
        self.session = cast(
            "Session",
            SimpleNamespace(
                record=record,
                paths=cast("EnvironmentPaths", paths),
                machines={"server": live},
                topology=state.topology,
                bus=EventBus(),
                scale=TimeScale(),
                services=SimpleNamespace(
                    graph=ServiceGraph.fresh(SERVICES), stop_units=self._stop, mark_pending=self._pending
                ),
                start_services=self._start,
                verify_still_healthy=self._verify,
            ),
        )

    @property
    def state(self) -> EnvironmentState:
        return self.session.record.state

    async def _agent(self) -> object:
        return None

    async def _stop(self, names: tuple[str, ...], deadline: Deadline) -> None:
        del deadline
        self.done.append(f"stop {' '.join(names)}".strip())

    async def _unmount(self, agent: object, serial: str, place: str, limit: Deadline) -> None:
        del agent, limit
        self.done.append(f"unmount {serial} {place}")
        if self.busy:
            self.busy -= 1
            raise DiskBusyError("/opt/app is in use in machine server")

    async def _exchange(self, monitor: object, device: str, file: Path, limit: Deadline) -> None:
        del monitor, limit
        self.done.append(f"exchange {device} {file}")

    def _unprepared(self, services: tuple[str, ...]) -> frozenset[str]:
        return frozenset(services) - self.guest.services

    async def _prepare(self, services: frozenset[str], limit: Deadline) -> None:
        del limit
        self.done.append(f"mount for {' '.join(sorted(services))}")
        self.guest.services |= services

    def _pending(self, names: tuple[str, ...]) -> None:
        self.done.append(f"pending {' '.join(names)}")

    async def _start(self, deadline: Deadline) -> None:
        del deadline
        self.done.append("start")
        if self.fails:
            raise ServiceError("service api failed")

    async def _verify(self, deadline: Deadline) -> None:
        del deadline
        self.done.append("verify")

    def redeploy(self, disk: LayerDisk = NEW, *, untouched: tuple[str, ...] = (), **more: Any) -> tuple[str, ...]:
        inputs = {**INPUTS, "layer app of server": f"{disk.key} /opt/app"}
        wanted = Wanted({"server": (disk,)}, inputs, frozenset(untouched))
        return run_simulated(redeploy(self.session, wanted, Deadline.after(60), **more))


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(tmp_path, monkeypatch)


UNMOUNT, EXCHANGE = "unmount layer-app /opt/app", "exchange layer-app /cache/new/disk.ext4"
OLD_UNPINNED = "unpin /cache/old/disk.ext4"


def test_what_uses_the_layer_and_what_depends_on_it_starts_again_and_nothing_else(scene: Scene) -> None:
    assert scene.redeploy() == ("api", "proxy")
    assert scene.done[:5] == ["stop api proxy", UNMOUNT, EXCHANGE, OLD_UNPINNED, "mount for api"]
    assert scene.done[5:] == ["pending api proxy", "start", "verify"]
    assert scene.state.machines["server"].layers == {"app": "/cache/new/disk.ext4"}
    assert scene.state.inputs["layer app of server"] == "new 0:0 /opt/app"
    assert scene.state.phase == "ready"


def test_files_that_are_read_each_time_start_nothing_again(scene: Scene) -> None:
    assert scene.redeploy(untouched=("app",)) == ()
    assert scene.done == ["stop", UNMOUNT, EXCHANGE, OLD_UNPINNED, "mount for api", "verify"]


def test_where_a_service_keeps_even_those_it_starts_again(scene: Scene) -> None:
    scene.busy = 1
    assert scene.redeploy(untouched=("app",)) == ("api", "proxy")
    assert scene.done[:4] == ["stop", UNMOUNT, "stop api proxy", UNMOUNT]


def test_a_layer_that_something_else_keeps_is_not_exchanged(scene: Scene) -> None:
    scene.busy = 1
    with pytest.raises(DiskBusyError):
        scene.redeploy()
    assert scene.done == ["stop api proxy", UNMOUNT]
    assert scene.state.machines["server"].layers == {"app": "/cache/old/disk.ext4"}
    assert scene.state.phase == "failed"


def test_after_a_failure_every_service_is_looked_at(scene: Scene) -> None:
    scene.fails = True
    with pytest.raises(ServiceError):
        scene.redeploy()
    assert scene.state.phase == "failed"
    assert scene.state.machines["server"].layers == {"app": "/cache/new/disk.ext4"}, "it is there, and does not work"
    scene.done.clear()
    scene.fails = False
    assert scene.redeploy(doubtful=True) == ()
    assert scene.done == ["stop", "pending db api proxy", "start", "verify"]


def test_the_disk_that_is_there_already_is_no_change(scene: Scene) -> None:
    old = replace(NEW, path=Path("/cache/old/disk.ext4"))
    assert changed_disks(scene.session, Wanted({"server": (old,)}, INPUTS)) == {}
    assert changed_disks(scene.session, Wanted({"server": (NEW,)}, INPUTS)) == {"server": [NEW]}


def test_only_the_content_of_layers_can_be_changed_in_machines_that_run(scene: Scene) -> None:
    content = {**INPUTS, "layer app of server": "other"}
    assert other_inputs(scene.state.topology, INPUTS, content) == []
    changed = {**content, "image server": "i2", "room for layer app of server": "128"}
    assert other_inputs(scene.state.topology, INPUTS, changed) == ["image server", "room for layer app of server"]
