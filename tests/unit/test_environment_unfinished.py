"""A start that was killed before it had a state: its run folder is found, and its reports are written."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from event_records import of
from fake_qemu import run_async
from warm_states import a_state

from orchestrator.cli.main import main
from orchestrator.environment.paths import EnvironmentPaths, new_run_folder
from orchestrator.environment.reclaim import reclaim_previous
from orchestrator.environment.state import StateFile
from orchestrator.events import Event, EventBus
from orchestrator.events.run import Note


@pytest.fixture
def paths(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> EnvironmentPaths:
    monkeypatch.setenv("ORCH_STATE_DIR", str(tmp_path / "state"))
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    found = EnvironmentPaths.of("shop")
    found.make()
    return found


def killed(paths: EnvironmentPaths, tmp_path: Path) -> Path:
    folder = new_run_folder(tmp_path / "runs")
    paths.remember_run(folder)
    return folder


@pytest.mark.parametrize("state", [None, "", '{"format": 1}'])
def test_down_writes_the_reports(paths: EnvironmentPaths, tmp_path: Path, state: str | None) -> None:
    folder = killed(paths, tmp_path)
    if state is not None:
        paths.state.write_text(state)
    assert main(["-n", "shop", "--progress", "quiet", "down"]) == 0
    assert json.loads((folder / "summary.json").read_text())["outcome"] == "interrupted"
    assert not paths.folder.exists()


def test_down_writes_those_of_a_run_on_what_was_up_too(paths: EnvironmentPaths, tmp_path: Path) -> None:
    state = a_state(tmp_path)
    state.run_folder.mkdir(parents=True)
    (state.run_folder / "summary.json").write_text("of the command that started them")
    StateFile(paths.state, state)
    folder = killed(paths, tmp_path)
    assert main(["-n", "shop", "--progress", "quiet", "down"]) == 0
    assert json.loads((folder / "summary.json").read_text())["outcome"] == "interrupted"
    assert (state.run_folder / "summary.json").read_text() == "of the command that started them"


def test_the_next_start_tells_of_it(paths: EnvironmentPaths, tmp_path: Path) -> None:
    folder = killed(paths, tmp_path)
    bus, events = EventBus(), list[Event]()
    bus.subscribe(events.append)
    assert run_async(reclaim_previous(paths, bus)) is None
    assert [note.run_folder for note in of(events, Note)] == [str(folder)]
    (folder / "summary.json").write_text("{}")
    events.clear()
    assert run_async(reclaim_previous(paths, bus)) is None
    assert not events, "its reports are there"


@pytest.mark.parametrize("text", ["", "\x00", "/nowhere/at/all", "\udcff"])
def test_a_mark_that_tells_nothing(paths: EnvironmentPaths, text: str) -> None:
    (paths.folder / "run").write_bytes(text.encode("utf-8", "surrogateescape"))
    assert paths.unfinished_run is None
