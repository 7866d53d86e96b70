"""What `why` tells of a failure: the first cause, on whatever machine it is."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_process import Cli
from timeline_scene import SERVICES, Scene, broken_database

from orchestrator.timeline.read import read_timeline
from orchestrator.timeline.story import Story, tell


def story(scene: Scene) -> Story:
    return tell(read_timeline(scene.folder), "runs/r")


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    scene = Scene(tmp_path / "run")
    scene.begin()
    for machine in ("server", "client"):
        scene.clock(machine, 1.0)
    return scene


def failed_service(scene: Scene, name: str, second: float) -> None:
    unit = {one[0]: one[3] for one in SERVICES}[name]
    scene.event(second, "service.state", name, machine="server", state="failed", detail="it exited")
    scene.event(second + 0.1, "failure", name, type="ServiceError", what=f"service {name} failed ({unit})", exit_code=3)
    scene.event(second + 1, "run.finished", "shop", outcome="error", exit_code=3)


def test_a_browser_test_that_fails_because_of_another_machine(tmp_path: Path) -> None:
    told = story(broken_database(tmp_path / "run"))
    assert told.outcome == "failed" and told.failures == 1
    assert told.trouble is not None and told.trouble.test == "chat › sends a message"
    assert told.cause.sure and told.cause.service == "postgresql"
    assert told.cause.entry is not None and "code=killed" in told.cause.entry.text
    assert told.way == ("nginx", "backend", "postgresql")
    shown = [(one.source, one.text) for one in told.lines]
    assert ("request", "POST http://server/api/messages: 502 after 0.08 s") in shown
    assert any(source == "browser" and "Expect 'toBeVisible': Timed out" in text for source, text in shown)
    assert any("could not connect" in text for _, text in shown)
    assert [one.at for one in told.lines] == sorted(one.at for one in told.lines)
    assert told.commands[1] == "less runs/r/machines/server/services/postgresql.log"
    assert told.commands[2] == "orchestrator -n shop run --keep failure --grep 'sends a message'"


def test_what_ends_on_purpose_is_no_cause(tmp_path: Path) -> None:
    scene = Scene(tmp_path / "run")
    scene.begin()
    for machine in ("server", "client"):
        scene.clock(machine, 1.0)
    scene.unit_ended("server", 50.0, "alicia.service", "alicia.service: Deactivated successfully.", 6)
    scene.event(50.5, "service.state", "backend", machine="server", state="stopped")
    scene.test(60.0, "down › says so", "failed", error="Error: other text")
    scene.event(61.0, "run.finished", "shop", outcome="failed", exit_code=1)
    told = story(scene)
    assert told.cause.entry is None, "the phase stops the backend; the test itself is wrong"


def test_a_service_that_does_not_start_because_of_what_it_needs(scene: Scene) -> None:
    scene.event(10.0, "service.state", "backend", machine="server", state="starting")
    scene.said("server", 11.0, "FATAL: no space in pg_wal", "postgresql.service", SYSLOG_IDENTIFIER="postgres")
    scene.said("server", 12.0, "ERROR cannot connect", "alicia.service", SYSLOG_IDENTIFIER="alicia")
    failed_service(scene, "backend", 15.0)
    told = story(scene)
    assert told.cause.service == "postgresql" and not told.cause.sure
    assert told.way == ("backend", "postgresql")


def test_trouble_of_what_is_not_needed_is_no_cause(scene: Scene) -> None:
    scene.event(10.0, "service.state", "postgresql", machine="server", state="starting")
    scene.said("server", 11.0, "ERROR nobody needs me here", "nginx.service", SYSLOG_IDENTIFIER="nginx")
    scene.said("server", 12.0, "FATAL: wrong password", "postgresql.service", SYSLOG_IDENTIFIER="postgres")
    failed_service(scene, "postgresql", 15.0)
    told = story(scene)
    assert told.cause.entry is not None and "wrong password" in told.cause.entry.text


def test_a_machine_that_is_lost_comes_before_everything_else(scene: Scene) -> None:
    scene.console("server", 20.0, "[ 9.9] Kernel panic - not syncing: VFS\n")
    scene.event(20.2, "machine.state", "server", state="panicked", detail="the guest's kernel panicked")
    scene.event(20.3, "failure", "server", type="MachineError", what="machine server is lost", exit_code=3)
    scene.event(21.0, "run.finished", "shop", outcome="error", exit_code=3)
    told = story(scene)
    assert told.cause.sure and told.cause.entry is not None
    assert told.cause.entry.machine == "server" and "panic" in told.cause.entry.text
    assert told.commands[1] == "less runs/r/machines/server/serial.log"


def test_the_story_fits_on_a_terminal(tmp_path: Path) -> None:
    scene = broken_database(tmp_path / "runs" / "r")
    for number in range(200):
        scene.said("server", 60.2 + number / 1000, f"ERROR {number}", "alicia.service", SYSLOG_IDENTIFIER="alicia")
    cli = Cli(tmp_path)
    done = cli("why", "runs/r")
    lines = done.stdout.splitlines()
    assert done.returncode == 0 and len(lines) <= 20
    assert lines[0] == "r: failed"
    assert lines[2] == "first cause, 2 s earlier, on server · postgresql:"
    assert "needed by: postgresql ← backend ← nginx" in done.stdout
    data = json.loads(cli("why", "runs/r", "--json").stdout)
    assert data["cause"]["machine"] == "server" and data["cause_service"] == "postgresql"
    assert data["cause"]["t"] == 60.0 and data["failure"]["t"] == 62.0


def test_a_run_that_passed_has_no_story(scene: Scene) -> None:
    scene.test(5.0, "a", "passed")
    scene.event(6.0, "run.finished", "shop", outcome="passed", exit_code=0)
    told = story(scene)
    assert told.trouble is None and told.lines == ()


def test_a_folder_that_is_no_run(tmp_path: Path) -> None:
    done = Cli(tmp_path)("why", str(tmp_path))
    assert done.returncode == 2 and "is not a run folder" in done.stderr
