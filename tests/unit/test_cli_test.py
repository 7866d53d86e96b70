"""`orchestrator test` from its arguments to its exit code, on machines that are none."""

from __future__ import annotations

import json
import os
import signal
import threading
from concurrent.futures import Future
from pathlib import Path
from typing import Any, ClassVar

import pytest
from cli_process import Cli
from testscript_scene import FakeEnvironment

from orchestrator.cli import driver_runtime, test
from orchestrator.cli.arguments import build_parser
from orchestrator.cli.driver_runtime import MainThread
from orchestrator.deadline import Deadline
from orchestrator.errors import HostError, Interrupted, OrchestratorError, TimeLimit
from orchestrator.events.run import RunStarted


class MadeEnvironment(FakeEnvironment):
    """An environment that tells what was asked of it."""

    made: ClassVar[list[MadeEnvironment]] = []
    error: OrchestratorError | None = None

    def __init__(self, request: Any, *, keep: str, boot: bool, units: bool, subscriber: Any) -> None:
        super().__init__(Path(request.runs).parent / f"run-{len(self.made)}", *request.topology.machines)
        self.asked = {"keep": keep, "boot": boot, "units": units, "start": request.start}
        self.closed = False
        self._keep = keep
        self.record = subscriber
        self.made.append(self)

    async def open(self) -> None:
        if type(self).error is not None:
            raise type(self).error

    async def close(self) -> None:
        self.closed = True


@pytest.fixture
def opened(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> list[MadeEnvironment]:
    Cli(tmp_path)  # its topology
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(test, "Environment", MadeEnvironment)
    monkeypatch.setattr(MadeEnvironment, "made", [])
    return MadeEnvironment.made


def run(tmp_path: Path, *words: str, **scripts: str) -> int:
    for name, text in scripts.items():
        (tmp_path / f"{name}.py").write_text(text)
    return test.run(build_parser().parse_args(["test", *words, *(f"{name}.py" for name in scripts)]))


def test_a_script_that_passes(
    opened: list[MadeEnvironment], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, a="print('printed')\nalpha.succeed('true')\nlog('logged')") == 0
    out, err = capsys.readouterr()
    assert out == "printed\n"
    assert "alpha: must succeed: true" in err.splitlines()
    assert "logged" in err.splitlines()
    assert opened[0].asked == {"keep": "never", "boot": False, "units": True, "start": "cold"}
    assert opened[0].closed


def test_options_reach_the_environment(opened: list[MadeEnvironment], tmp_path: Path) -> None:
    run(tmp_path, "--warm", "--units", "boot", "--keep=always", a="pass")
    assert opened[0].asked == {"keep": "always", "boot": True, "units": False, "start": "auto"}


def test_each_script_has_its_environment_and_its_outcome(
    opened: list[MadeEnvironment], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert run(tmp_path, "--json", a="print('to stderr')", b="assert False, 'because'", c="pass") == 1
    out, err = capsys.readouterr()
    outcomes = json.loads(out)
    assert [(one["file"], one["outcome"], one["exit_code"]) for one in outcomes] == [
        ("a.py", "passed", 0),
        ("b.py", "failed", 1),
        ("c.py", "passed", 0),
    ]
    assert outcomes[1]["error"] == "b.py: because"
    assert outcomes[1]["cases"][0]["status"] == "failed"
    assert "b.py:1: assert False, 'because'\nerror: b.py: because" in err
    assert "to stderr" in err
    assert len(opened) == 3


def test_an_environment_that_does_not_open(
    opened: list[MadeEnvironment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(MadeEnvironment, "error", HostError("no room"))
    with pytest.raises(HostError):
        run(tmp_path, a="pass")
    assert run(tmp_path, a="pass", b="pass") == 3
    assert "error    b.py (0.0 s) no room" in capsys.readouterr().err
    assert all(one.closed for one in opened)


def test_the_limit_of_a_script(opened: list[MadeEnvironment], tmp_path: Path) -> None:
    assert run(tmp_path, "--timeout", "0.1s", a="alpha.succeed('hang')") == 124
    assert [error.what for error in opened[0].explained] == ["time limit of 0.1 s reached"]


def test_quiet_shows_no_lines_of_the_script(
    opened: list[MadeEnvironment], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run(tmp_path, "-q", a="log('logged')\nassert False")
    err = capsys.readouterr().err
    assert "logged" not in err
    assert "error: a.py: `assert False` does not hold" in err


def test_a_signal_ends_the_script_and_takes_the_machines_down(
    opened: list[MadeEnvironment], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr(driver_runtime, "counts", lambda number: 1)
    text = "import signal\nos.kill(os.getpid(), signal.SIGTERM)\nalpha.succeed('hang')"
    with pytest.raises(Interrupted) as caught:
        run(tmp_path, "--keep", "always", a=text)
    assert caught.value.exit_code == 143
    assert opened[0]._keep == "never"
    assert opened[0].closed
    assert "interrupted: shutting down" in capsys.readouterr().err


def test_the_run_folder_is_known_from_its_event(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    from orchestrator.cli.script_progress import ScriptProgress

    progress = ScriptProgress(build_parser().parse_args(["test", "a.py"]))
    started = {"format": 2, "command": "", "run_id": "", "variant": "", "provider": "", "topology": "", "version": ""}
    progress(RunStarted("x", run_folder=str(tmp_path), machines=(), services=(), **started))
    progress.told_where()
    assert f"report: {tmp_path}/report/index.html" in capsys.readouterr().err


def test_what_does_not_end_when_it_is_cancelled_is_left_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_runtime, "GRACE", 0.01)
    cancelled: list[str] = []
    with MainThread(lambda: None, lambda: None) as main, pytest.raises(TimeLimit):
        main.wait(Future(), lambda: cancelled.append("once"), Deadline.after(0.01))
    assert cancelled == ["once"]


def test_a_signal_between_two_waits_is_not_lost(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_runtime, "counts", lambda number: 1)
    assert threading.current_thread() is threading.main_thread()
    done: Future[int] = Future()
    done.set_result(1)
    with MainThread(lambda: None, lambda: None) as main:
        assert main.wait(done, lambda: None) == 1
        os.kill(os.getpid(), signal.SIGINT)
        with pytest.raises(Interrupted):
            main.wait(done, lambda: None)
