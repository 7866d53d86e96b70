"""What `dev` does with its environment at each kind of change; opening, exchanging and machines only note it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from event_records import notes
from simulated_time import run_simulated
from topology_parts import machine, topology

from orchestrator.deadline import Deadline
from orchestrator.dev import environment as module
from orchestrator.dev import opened as opening
from orchestrator.dev.changes import Changes
from orchestrator.dev.environment import DevEnvironment
from orchestrator.dev.suite_runs import Known
from orchestrator.environment.plan import Plan, Request
from orchestrator.environment.redeploy import Wanted
from orchestrator.errors import ImageError, ServiceError, TopologyError
from orchestrator.events import Event, EventBus
from orchestrator.guest.exchange import DiskBusyError
from orchestrator.images.layer_parts import LayerParts
from orchestrator.images.layers import LayerDisk
from orchestrator.topology.model import Check, Layer, Service, ServiceKind, Topology
from orchestrator.topology.stages import Stage

APP = Changes(layers=frozenset({"app"}), text="app/main.py")
FILE = Changes(topology=True, text="orchestrator.toml")
CONTENT, IMAGE = "layer app of server", "image server"
SAME = LayerParts("static 1", "resets 1", "rest 1")


class Scene:
    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.done: list[str] = []
        self.events: list[Event] = []
        self.bus = EventBus()
        self.bus.subscribe(self.events.append)
        self.parts, self.inputs = SAME, {CONTENT: "1", IMAGE: "i1"}
        self.requests: list[Request] = []
        self.untouched: list[frozenset[str]] = []
        self.fails: Exception | None = None
        (root / "app").mkdir()
        layers = {"app": Layer("app", root / "app", "/opt/app", resets=("/sql",))}
        web = Service("web", "server", ServiceKind.DAEMON, "web.service", uses=("app",))
        self.topology = topology(root, machine("server"), services={"web": web}, layers=layers)
        self.read: Callable[[], Topology] = lambda: self.topology
        self.state: Any = SimpleNamespace(
            topology=self.topology,
            provider="debian",
            inputs=dict(self.inputs),
            machines={"server": SimpleNamespace(layers={"app": "/cache/1"}, ports={22: 4001, 80: 4002})},
        )
        for name in ("plan", "parts_of", "redeploy"):
            monkeypatch.setattr(module, name, getattr(self, f"_{name}"))
        monkeypatch.setattr(module, "can_redeploy", lambda _: True)
        monkeypatch.setattr(opening, "parts_of", self._parts_of)
        monkeypatch.setattr(opening, "open_environment", self._open)
        monkeypatch.setattr(opening, "bring_up", self._bring_up)
        monkeypatch.setattr(opening, "close_down", self._close_down)
        monkeypatch.setattr(opening, "write_report", lambda _: None)
        self.dev = DevEnvironment(self._request, self.bus, 60.0, known=Known())
        monkeypatch.setattr(self.dev._folders, "begin", lambda *_: None)

    def _request(self) -> Request:
        return Request(self.read(), "shop", "debian", Path("/runs"), "orchestrator dev", start="cold")

    @asynccontextmanager
    async def _open(self, request: Request, bus: EventBus, deadline: Deadline) -> AsyncIterator[Any]:
        del bus, deadline
        self.requests.append(request)
        self.done.append("open")
        record = SimpleNamespace(state=self.state, change=self._change)
        session = SimpleNamespace(record=record, machines={}, logs_folder=Path("/runs/1"), run_watched=self._watched)
        launch = SimpleNamespace(stage=Stage("base", frozenset()), snapshot=object())
        yield SimpleNamespace(session=session, launch=launch, resumed=False, worth_keeping=True)
        self.done.append("let go")

    async def _watched(self, work: Any) -> Any:
        return await work

    def _change(self, **changes: object) -> None:
        self.done.append(f"record {' '.join(changes)}")

    async def _bring_up(self, environment: object, deadline: Deadline) -> None:
        del environment, deadline
        self.state.inputs = dict(self.inputs)
        self.state.machines["server"].layers = {"app": f"/cache/{self.inputs[CONTENT]}"}

    async def _close_down(self, environment: object) -> None:
        del environment
        self.done.append("down")

    async def _plan(self, *_: object) -> Plan:
        disk = LayerDisk("app", Path(f"/cache/{self.inputs[CONTENT]}"), "key", 1)
        return Plan(cast("Any", None), {}, {"server": (disk,)}, self.inputs)

    async def _parts_of(self, layer: Layer) -> LayerParts:
        del layer
        return self.parts

    async def _redeploy(
        self, session: object, wanted: Wanted, deadline: Deadline, *, doubtful: bool
    ) -> tuple[str, ...]:
        del session, deadline
        self.done.append("exchange" + " and look at all" * doubtful)
        self.untouched.append(wanted.untouched)
        if self.fails is not None:
            raise self.fails
        self.state.inputs = dict(wanted.inputs)
        self.state.machines["server"].layers = {"app": f"/cache/{self.inputs[CONTENT]}"}
        return () if wanted.untouched else ("web",)

    def change(self, **parts: str) -> None:
        """The layer's folder holds something else."""
        self.inputs[CONTENT] = str(int(self.inputs[CONTENT]) + 1)
        self.parts = replace(self.parts, **parts)

    def play(self, *rounds: Callable[[], object] | Changes, reset: bool = False) -> list[str]:
        """Open it, then do all of these; what each deployment said."""

        async def all_of_them() -> list[str]:
            said = [await self.dev.deploy(Changes(), reset=False)]
            for one in rounds:
                if isinstance(one, Changes):
                    said.append(await self.dev.deploy(one, reset=reset))
                else:
                    one()
            return said

        return run_simulated(all_of_them())


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(tmp_path, monkeypatch)


def test_a_changed_layer_is_exchanged_where_it_runs(scene: Scene) -> None:
    said = scene.play(lambda: scene.change(rest="rest 2"), APP)
    assert said == ["started from stage base", "layer app brought in, 1 of 1 services started again"]
    assert scene.done == ["open", "exchange"]
    assert scene.untouched == [frozenset()]


def test_a_change_of_static_files_only_leaves_services_alone(scene: Scene) -> None:
    said = scene.play(lambda: scene.change(static="static 2"), APP)
    assert said[-1] == "layer app brought in, no service started again"
    assert scene.untouched == [frozenset({"app"})]


def test_a_save_without_a_change_does_nothing(scene: Scene) -> None:
    assert scene.play(APP)[-1] == ""
    assert scene.done == ["open"]


def test_a_changed_migration_goes_back_to_a_stage_and_says_so(scene: Scene) -> None:
    said = scene.play(lambda: scene.change(resets="resets 2"), APP)
    assert said[-1] == "/sql of layer app changed: started from stage base"
    assert scene.done == ["open", "down", "let go", "open"]


def test_ports_stay_and_a_cold_start_is_not_repeated(scene: Scene) -> None:
    scene.play(lambda: scene.change(resets="resets 2"), APP)
    first, second = scene.requests
    assert (first.start, second.start) == ("cold", "auto")
    assert second.ports == {"server": {22: 4001, 80: 4002}}, "the address in the user's browser stays"


def test_another_image_is_another_start(scene: Scene) -> None:
    said = scene.play(lambda: scene.inputs.update({IMAGE: "i2"}), APP)
    assert said[-1] == "image server changed: started from stage base"


def test_a_reset_starts_again(scene: Scene) -> None:
    assert scene.play(Changes(), reset=True)[-1] == "reset: started from stage base"


def test_a_layer_that_a_guest_keeps_is_brought_in_by_a_start(scene: Scene) -> None:
    def busy() -> None:
        scene.change(rest="rest 2")
        scene.fails = DiskBusyError("/opt/app is in use in machine server")

    assert scene.play(busy, APP)[-1] == "/opt/app is in use in machine server: started from stage base"


def test_after_a_broken_one_static_files_do_not_hide_what_must_start_again(scene: Scene) -> None:
    def broken() -> None:
        scene.change(rest="rest 2")
        scene.fails = ServiceError("service web failed")

    with pytest.raises(ServiceError):
        scene.play(broken, APP)
    scene.fails = None
    scene.change(rest="rest 1")
    run_simulated(scene.dev.deploy(APP, reset=False))
    assert scene.done[-1] == "exchange and look at all"
    assert scene.untouched[-1] == frozenset(), "the old content is back, and the service runs the broken one"


def test_a_topology_with_a_mistake_is_told_and_the_old_one_stays(scene: Scene) -> None:
    def wrong() -> Topology:
        raise TopologyError("the topology has a mistake", evidence=["orchestrator.toml:3:1: …"])

    def edit() -> None:
        scene.read = wrong

    with pytest.raises(TopologyError):
        scene.play(edit, FILE)
    scene.change(rest="rest 2")
    both = replace(APP, topology=True)
    assert run_simulated(scene.dev.deploy(both, reset=False)).startswith("layer app brought in")
    assert notes(scene.events, "warning") == ["the topology has a mistake; the topology stays as it was"]
    assert scene.dev.request.topology is scene.topology


def test_a_changed_topology_starts_again_and_a_suite_of_another_place_does_not(scene: Scene) -> None:
    def checked() -> None:
        web = replace(scene.topology.services["web"], checks=(cast("Check", "another"),))
        scene.read = lambda: replace(scene.topology, services={"web": web})

    def moved() -> None:
        scene.read = lambda: replace(scene.topology, path=Path("/elsewhere/orchestrator.toml"))

    assert scene.play(moved, FILE)[-1] == ""
    assert scene.done == ["open", "record topology"]
    assert scene.dev.moved.is_set(), "other files are watched now"
    checked()
    assert run_simulated(scene.dev.deploy(FILE, reset=False)) == "the topology changed: started from stage base"


def test_a_build_that_is_under_way_is_told_and_nothing_is_touched(scene: Scene) -> None:
    def unfinished() -> None:
        scene.dev._request = replace(
            scene.dev._request,
            topology=replace(
                scene.topology, layers={"app": replace(scene.topology.layers["app"], requires=("bin/server",))}
            ),
        )

    with pytest.raises(TopologyError, match="cannot be used as it is") as raised:
        scene.play(unfinished, APP)
    assert "bin/server is missing" in raised.value.evidence[0]
    assert scene.done == ["open"]


def test_what_could_not_be_opened_is_opened_by_the_next_round(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    @asynccontextmanager
    async def refused(*_: object) -> AsyncIterator[Any]:
        raise ImageError("the image cannot be built")
        yield

    monkeypatch.setattr(opening, "open_environment", refused)
    with pytest.raises(ImageError):
        scene.play()
    monkeypatch.setattr(opening, "open_environment", scene._open)
    assert scene.play() == ["started from stage base"]


@pytest.mark.parametrize(("keep", "end"), [(False, ["down", "let go"]), (True, ["let go"])])
def test_at_the_end_it_goes_down_or_stays(scene: Scene, keep: bool, end: list[str]) -> None:
    async def both() -> bool:
        await scene.dev.deploy(Changes(), reset=False)
        return await scene.dev.close("passed", 0, Deadline.after(1), keep=keep)

    assert (run_simulated(both()), scene.done[1:]) == (keep, end)
