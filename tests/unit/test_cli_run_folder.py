"""A command that goes on in the run folder of an earlier one adds to it, and leaves it in order however it ends."""

from __future__ import annotations

import json
import logging
from pathlib import Path

import pytest
from cli_process import Cli

from orchestrator.cli.run_folder import continued, print_summary
from orchestrator.debug import debug_log
from orchestrator.events import EventBus
from orchestrator.events.run import Note


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "events.jsonl").write_text(Note(message="of before").as_json() + "\n")
    return tmp_path


def messages(folder: Path) -> list[str]:
    return [json.loads(line)["message"] for line in (folder / "events.jsonl").read_text().splitlines()]


def test_its_events_and_its_reports_are_there_after_a_failure_too(folder: Path) -> None:
    bus = EventBus()
    with pytest.raises(ValueError, match="it went wrong"), continued(folder, bus):
        bus.emit(Note(message="of this command"))
        raise ValueError("it went wrong")
    bus.emit(Note(message="of the next one"))
    assert messages(folder) == ["of before", "of this command"]
    assert (folder / "summary.json").exists()


def test_what_follows_is_not_in_its_debug_log(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    root = logging.getLogger()
    monkeypatch.setattr(root, "handlers", [])
    monkeypatch.setattr(debug_log, "_before", None)
    debug_log.configure()
    log = logging.getLogger("orchestrator.commands")
    with pytest.raises(ValueError, match="no"), continued(folder, EventBus()):
        log.debug("in it")
        raise ValueError("no")
    log.debug("after it")
    text = (folder / "debug.log").read_text()
    assert "in it" in text
    assert "after it" not in text


def test_reports_that_are_there_are_kept_on_wish(folder: Path) -> None:
    (folder / "summary.json").write_text("of the command before")
    with continued(folder, EventBus(), only_missing=True):
        pass
    assert (folder / "summary.json").read_text() == "of the command before"


def test_reports_that_cannot_be_written_do_not_hide_how_it_went(
    folder: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (folder / "summary.json").mkdir()
    with continued(folder, EventBus()):
        pass
    assert "the reports could not be written" in capsys.readouterr().err


def test_what_is_printed_as_json_survives_a_full_disk(folder: Path, capsys: pytest.CaptureFixture[str]) -> None:
    print_summary(folder, 5)
    assert json.loads(capsys.readouterr().out) == {"exit_code": 5, "run_folder": str(folder)}
    (folder / "summary.json").write_text('{"outcome": "failed"}\n')
    print_summary(folder, 5)
    assert capsys.readouterr().out == '{"outcome": "failed"}\n'


def test_restart_of_an_unknown_service_changes_and_writes_nothing(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    paths = cli.record(alive=True)
    before = paths.state.read_text()
    done = cli("restart", "wbe")
    assert done.returncode == 2
    assert "wbe" in done.stderr
    assert list((tmp_path / "runs").iterdir()) == []
    assert paths.state.read_text() == before


def test_restart_of_what_never_came_up_whole_says_so(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    paths = cli.record(alive=True)
    state = json.loads(paths.state.read_text())
    del state["machines"]["beta"]
    paths.state.write_text(json.dumps(state))
    done = cli("restart", "web")
    assert done.returncode == 3
    assert "environment tiny is not running completely" in done.stderr
