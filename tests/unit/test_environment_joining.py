"""What `up` does with layers that changed, when it joins machines that run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from event_records import notes
from simulated_time import run_simulated
from topology_parts import machine, topology

from orchestrator.deadline import Deadline
from orchestrator.environment import up
from orchestrator.environment.plan import Plan, Request
from orchestrator.environment.up import Environment
from orchestrator.events import Event, EventBus
from orchestrator.topology.model import Layer

CONTENT = "layer app of server"


class Scene:
    def __init__(self, root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.events: list[Event] = []
        self.off: list[str] = []
        self.changed = ["app"]
        self.planned = {CONTENT: "new", "image server": "i1"}
        self.done: list[str] = []
        bus = EventBus()
        bus.subscribe(self.events.append)
        wanted = topology(root, machine("server"), layers={"app": Layer("app", root, "/opt/app")})
        state = SimpleNamespace(
            name="shop", topology=wanted, provider="debian", inputs={CONTENT: "old", "image server": "i1"}
        )
        session = SimpleNamespace(record=SimpleNamespace(state=state), bus=bus)
        request = Request(wanted, "shop", "debian", root, "orchestrator up")
        self.environment = Environment(cast("Any", session), cast("Any", None), None, request)
        monkeypatch.setattr(up, "ended_machines", lambda _: self.off)
        monkeypatch.setattr(up, "changed_layers", self._changed)
        monkeypatch.setattr(up, "plan", self._plan)
        for name in ("join", "join_and_start", "join_changed"):
            monkeypatch.setattr(up, name, self._noting(name))

    async def _changed(self, state: object) -> list[str]:
        del state
        return self.changed

    async def _plan(self, *_: object) -> Plan:
        return Plan(cast("Any", None), {}, {"server": ()}, self.planned)

    def _noting(self, name: str) -> Callable[..., Any]:
        async def noted(session: object, *more: Any) -> None:
            del session
            inputs = getattr(more[0], "inputs", {})
            self.done.append(f"{name} {inputs.get(CONTENT, '')}".strip())

        return noted

    def join(self) -> list[str]:
        async def work() -> None:
            await (await up._joining(self.environment, Deadline.after(60)))

        run_simulated(work())
        return self.done


@pytest.fixture
def scene(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Scene:
    return Scene(tmp_path, monkeypatch)


def test_a_layer_that_changed_is_brought_in(scene: Scene) -> None:
    assert scene.join() == ["join_changed new"]
    assert notes(scene.events, "warning") == []


def test_where_nothing_changed_nothing_is_made(scene: Scene) -> None:
    scene.changed = []
    assert scene.join() == ["join"]


def test_where_an_image_changed_too_it_is_told_and_the_layer_stays(scene: Scene) -> None:
    scene.planned["image server"] = "i2"
    assert scene.join() == ["join"]
    [warning] = notes(scene.events, "warning")
    assert warning.startswith("layer app changed since the machines were started; they keep what it was then")
    assert "image server changed too" in warning


def test_where_a_machine_is_off_it_is_told_and_the_layer_stays(scene: Scene) -> None:
    scene.off = ["server"]
    assert scene.join() == ["join_and_start"]
    assert "a machine of it is off" in notes(scene.events, "warning")[0]
