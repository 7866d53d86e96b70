"""A run on what is up already: a folder of its own, which tells what the machines are and has their logs since."""

from __future__ import annotations

import asyncio
import json
import os
from dataclasses import replace
from pathlib import Path
from shutil import rmtree

import pytest
from event_records import of
from warm_states import a_state

from orchestrator.deadline import Deadline
from orchestrator.environment.joined import LogMarks, changed_layers, tell_again, warn_of_kept
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.plan import Request
from orchestrator.environment.state import MachineState, StateFile
from orchestrator.environment.up import open_environment
from orchestrator.events import Event, EventBus
from orchestrator.events.read import load_events
from orchestrator.events.run import Note
from orchestrator.images.folder_disk import measure
from orchestrator.process_id import ProcessId
from orchestrator.report.fold import fold
from orchestrator.report.summary import summary
from orchestrator.snapshots.key import layer_input
from orchestrator.topology.model import Layer

HOST = {"kind": "host.accelerator", "accelerator": "tcg", "reason": "no /dev/kvm", "time_scale": 10.0, "qemu": "10.0.2"}
IMAGE = {"kind": "image.state", "subject": "debian", "state": "building", "provider": "debian"}
READY = {**IMAGE, "state": "ready", "key": "abc", "seconds": 7.5, "path": "/images/debian"}


def lines(*events: object) -> str:
    return "".join((one if isinstance(one, str) else json.dumps(one)) + "\n" for one in events)


def test_host_and_images_are_told_as_by_the_command_that_started_them(tmp_path: Path) -> None:
    state = a_state(tmp_path, factor=10.0)
    state.run_folder.mkdir(parents=True)
    name = state.topology.machines["server"].image
    (state.run_folder / "events.jsonl").write_text(
        lines(HOST, "{", "[" * 5000, "7", IMAGE | {"subject": name}, READY | {"subject": name})
    )
    bus, seen = EventBus(), []
    bus.subscribe(seen.append)
    tell_again(state, bus)
    view = fold(seen)
    assert (view.accelerator, view.time_scale, view.qemu, view.accelerator_reason) == (
        "tcg",
        10.0,
        "10.0.2",
        "no /dev/kvm",
    )
    assert [(i.name, i.provider, i.key, i.state, i.seconds) for i in view.images] == [
        (name, "debian", "abc", "cached", 7.5)
    ]


def test_a_layer_that_changed_since_is_told_of(tmp_path: Path) -> None:
    app = tmp_path / "app"
    app.mkdir()
    (app / "main").write_text("one")
    state = a_state(tmp_path)
    layers = {name: Layer(name, app, f"/opt/{name}") for name in ("app", "nobodys")}
    inputs = {layer_input("app", "server"): f"{measure(app, read=True).key} 0:0"}
    machines = {"server": MachineState(process=ProcessId.own(), image="/images/server")}
    topology = replace(state.topology, layers=layers)
    state = replace(state, topology=topology, inputs=inputs, machines=machines)
    bus, seen = EventBus(), list[Event]()
    bus.subscribe(seen.append)
    assert asyncio.run(changed_layers(state)) == []
    (app / "main").write_text("two")
    assert asyncio.run(changed_layers(state)) == ["app"]
    warn_of_kept(state, ["app"], "the image of server changed too", bus)
    [note] = of(seen, Note)
    assert (note.level, note.message.partition(";")[0]) == (
        "warning",
        "layer app changed since the machines were started",
    )
    rmtree(app)
    assert asyncio.run(changed_layers(state)) == [], "what is gone says nothing of what runs"


def test_without_the_earlier_folder_the_state_tells(tmp_path: Path) -> None:
    state = a_state(tmp_path, factor=3.0)
    bus, seen = EventBus(), []
    bus.subscribe(seen.append)
    tell_again(state, bus)
    view = fold(seen)
    assert (view.accelerator, view.time_scale) == ("tcg", 3.0)
    assert [(i.provider, i.state) for i in view.images] == [("debian", "cached")]


def test_of_the_logs_only_what_was_written_meanwhile_is_copied(tmp_path: Path) -> None:
    folder, target = tmp_path / "r1", tmp_path / "r2"
    server = folder / "machines/server"
    (server / "screenshots").mkdir(parents=True)
    (folder / "networks").mkdir()
    (server / "screenshots/001-ready.png").write_text("picture")
    for path in (server / "serial.log", server / "qemu.log", folder / "networks/lan.log"):
        path.write_text("before\n")
    marks = LogMarks.of(folder)
    with (server / "serial.log").open("a") as file:
        file.write("meanwhile\n")
    (server / "qemu.log").write_text("new\n")
    (server / "journal.jsonl").write_text("{}\n")
    marks.copy_since(target)
    copied = {str(path.relative_to(target)): path.read_text() for path in target.rglob("*") if path.is_file()}
    assert copied == {
        "machines/server/serial.log": "meanwhile\n",
        "machines/server/qemu.log": "new\n",
        "machines/server/journal.jsonl": "{}\n",
        "networks/lan.log": "",
    }


@pytest.mark.usefixtures("own_places")
def test_each_run_on_a_kept_environment_has_its_own_folder_and_the_state_keeps_the_first(tmp_path: Path) -> None:
    me = ProcessId.of(os.getpid())
    assert me is not None
    alive = {"server": MachineState(me, "/images/server", {22: 40001}, "ssh-ed25519 A")}
    state = a_state(tmp_path, machines=alive, phase="ready", factor=10.0)
    first = state.run_folder
    (first / "machines/server").mkdir(parents=True)
    (first / "events.jsonl").write_text(lines(HOST))
    (first / "summary.json").write_text("the first one's")
    env_paths = EnvironmentPaths.of("shop")
    env_paths.make()
    StateFile(env_paths.state, state)
    request = Request(state.topology, "shop", "debian", tmp_path / "runs", "orchestrator run")

    bus, seen = EventBus(), list[Event]()
    bus.subscribe(seen.append)

    async def one() -> Path:
        async with open_environment(request, bus, Deadline.after(60)) as environment:
            session = environment.session
            assert environment.resumed
            assert session.logs_folder == first, "where QEMU writes"
            assert session.record.state.run_folder == first, "`logs` and `down` find it"
            assert session.machines["server"].paths.logs == first / "machines/server"
            with (first / "machines/server/journal.jsonl").open("a") as journal:
                journal.write("{}\n")
            return session.run_folder

    folders = [asyncio.run(one()), asyncio.run(one())]
    assert len({first, *folders}) == 3
    assert (tmp_path / "runs/latest").resolve() == folders[-1]
    assert (first / "summary.json").read_text() == "the first one's"
    for folder in folders:
        view = fold(load_events(folder / "events.jsonl"))
        assert view.run_id == folder.name
        assert summary(view)["host"] == {"accelerator": "tcg", "time_scale": 10.0, "qemu": "10.0.2"}
        assert (folder / "machines/server/journal.jsonl").read_text() == "{}\n"
    left = [note.run_folder for note in of(seen, Note) if note.run_folder]
    assert left == [str(folders[0])], "as if it had been killed: it wrote no reports, and the next command does"
    assert env_paths.unfinished_run == folders[1]
