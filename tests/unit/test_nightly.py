"""A night: what it runs, repeats, records and says; and what happens to it when something goes wrong."""

from __future__ import annotations

import errno
import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from xml.etree.ElementTree import parse

import pytest
from nightly_scene import LIB, NightlyScene

from orchestrator.nightly.model import Night
from orchestrator.nightly.overlap import Gap, gap_of

PASSED = {"tests": {"a": "p", "b": "p", "c": "p", "d": "p"}}
ONE_FAILS = {"tests": {"a": "f", "b": "p", "c": "p", "d": "p"}}
A_PASSES, A_FAILS = {"tests": {"a": "p"}}, {"tests": {"a": "f"}}
OTHER = {"revisions": {"layer app": "a9"}}
A_BREAKS, A_IS_BROKEN = {**ONE_FAILS, **OTHER}, {**A_FAILS, **OTHER}
Make = Callable[[str], NightlyScene]


@pytest.fixture
def make(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> Make:
    return lambda settings: NightlyScene(tmp_path, monkeypatch, capsys, settings)


@pytest.fixture
def scene(make: Make) -> NightlyScene:
    return make('[nightly]\nbuild = false\n[nightly.notify]\ncommand = ["sh", "-c", "cat >> told.txt"]\n')


@pytest.fixture
def sequel(scene: NightlyScene) -> NightlyScene:
    """A first night has passed."""
    scene.night(PASSED, code=0)
    return scene


def told(scene: NightlyScene) -> str:
    path = scene.folder / "told.txt"
    text = path.read_text() if path.exists() else ""
    path.unlink(missing_ok=True)
    return text


def test_a_night_that_passes_says_nothing(scene: NightlyScene) -> None:
    night = scene.night(PASSED, code=0)
    assert (night["outcome"], night["exit_code"], night["told"]) == ("passed", 0, [])
    assert told(scene) == ""
    assert "run: passed, 4 tests" in scene.said
    assert "tiny-night" in scene.calls[0]


def test_a_failed_test_is_repeated_and_stays_failed(sequel: NightlyScene) -> None:
    night = sequel.night(A_BREAKS, *[A_IS_BROKEN] * 3, code=1)
    assert [run["role"] for run in sequel.cell["runs"]] == ["first", "rerun", "rerun", "rerun"]
    again = sequel.calls[-1]
    assert again[again.index("--grep") + 1] == "a"
    assert again[again.index("--isolate") + 1] == "test"
    assert night["broken"] == ["a"]
    text = told(sequel)
    assert text.startswith("tiny-night: the night failed\nrun: 1 of 4 tests failed, first: a: expected 1, found 2\n")
    assert "- broken now: a" in text


def test_a_pass_in_a_fresh_state_makes_it_flaky_and_not_green(sequel: NightlyScene) -> None:
    night = sequel.night(ONE_FAILS, A_FAILS, A_PASSES, A_PASSES, code=0)
    assert (night["outcome"], sequel.cell["flaky"], sequel.cell["failed"]) == ("flaky", ["a"], [])
    assert "- flaky: a" in told(sequel)
    junit = parse(sequel.folder / "runs/latest-night/junit.xml").getroot()
    assert (junit.get("failures"), len(list(junit.iter("flakyFailure")))) == ("0", 1)


def test_flaky_can_fail_the_night(make: Make) -> None:
    scene = make('[nightly]\nbuild = false\nflaky = "fail"\nreruns = 1\n')
    assert scene.night(ONE_FAILS, A_PASSES, code=1)["outcome"] == "flaky"


def test_one_message_when_it_breaks_and_one_when_it_is_fixed(sequel: NightlyScene) -> None:
    sequel.night(A_BREAKS, *[A_IS_BROKEN] * 3, code=1)
    assert "was: passed; is: failed" in told(sequel)
    sequel.night(A_BREAKS, *[A_IS_BROKEN] * 3, code=1)
    assert told(sequel) == "", "nothing changed"
    sequel.night({**PASSED, "revisions": {"layer app": "a2"}}, code=0)
    text = told(sequel)
    assert "was: failed; is: passed" in text
    assert "- fixed: a" in text


def test_a_new_test_runs_several_times_in_its_first_night(sequel: NightlyScene) -> None:
    more = {"tests": {**PASSED["tests"], "e": "p"}}
    night = sequel.night(more, {"tests": {"e": "p"}}, {"tests": {"e": "f"}}, *[{"tests": {"e": "p"}}] * 2, code=0)
    assert [run["role"] for run in sequel.cell["runs"]] == ["first", *["new"] * 4]
    assert (night["outcome"], sequel.cell["new"], sequel.cell["flaky"]) == ("flaky", ["e"], ["e"])
    sequel.night(more, code=0)
    assert sequel.cell["new"] == []


def test_quarantine_holds_until_its_last_day(make: Make) -> None:
    scene = make(
        '[nightly]\nbuild = false\n[[nightly.quarantine]]\ntest = "a"\nreason = "issue 7"\nuntil = 2099-01-01\n'
        '[[nightly.quarantine]]\ntest = "b"\nreason = "issue 8"\nuntil = 2020-01-01\n'
    )
    scene.night(ONE_FAILS, code=0)
    assert (scene.cell["quarantined"], scene.cell["outcome"]) == (["a"], "passed")
    assert len(scene.cell["runs"]) == 1, "nothing is repeated whose outcome does not count"
    scene.night({"tests": {"a": "p", "b": "f", "c": "p", "d": "p"}}, *[{"tests": {"b": "f"}}] * 3, code=1)
    assert scene.cell["failed"] == ["b"]


def test_infrastructure_is_no_tests_fault(sequel: NightlyScene) -> None:
    night = sequel.night(None, code=3)
    assert (night["outcome"], night["reason"]) == ("error", "run: error: no image")
    sequel.night({"tests": {"a": "f", "b": "f", "c": "f", "d": "p"}}, code=1)
    assert len(sequel.cell["runs"]) == 1, "nearly everything failed: nothing is repeated"
    _, text = sequel.command("history", "test", "a", "--json")
    assert [one["verdict"] for one in json.loads(text)] == ["new"]


def test_every_cell_runs_and_the_worst_counts(make: Make) -> None:
    scene = make('[nightly]\nbuild = false\nreruns = 0\nvariants = ["small", "keyed"]\nsuites.smoke = "suite"\n')
    scene.prepare({"small-smoke": [PASSED], "keyed-smoke": [ONE_FAILS]})
    assert scene.command("nightly")[0] == 1
    assert [cell["outcome"] for cell in scene.latest["cells"]] == ["passed", "failed"]
    first, second = scene.calls
    assert first[first.index("--variant") + 1] == "small"
    assert second[second.index("--suite") + 1] == str(scene.folder / "suite")


def test_what_is_left_when_the_budget_is_used_up_is_told(make: Make) -> None:
    scene = make("[nightly]\nbuild = false\nbudget = 20\n")
    night = scene.night(code=124)
    assert (night["outcome"], night["reason"]) == ("error", "no time was left for run")


def test_an_update_that_fails_does_not_stop_the_night(make: Make) -> None:
    scene = make('[nightly]\npull = ["upstream/clone", "suite"]\n')
    upstream, clone = scene.folder / "upstream", scene.folder / "upstream/clone"
    run = lambda *words: subprocess.run(["git", *words], check=True, capture_output=True, text=True).stdout.strip()  # noqa: E731
    who = ["-c", "user.name=a", "-c", "user.email=a@b"]
    run("init", "-q", str(upstream / "origin"))
    run("-C", str(upstream / "origin"), *who, "commit", "-q", "--allow-empty", "-m", "one")
    run("clone", "-q", str(upstream / "origin"), str(clone))
    run("-C", str(upstream / "origin"), *who, "commit", "-q", "--allow-empty", "-m", "two")
    new = run("-C", str(upstream / "origin"), "rev-parse", "HEAD")
    night = scene.night(PASSED, code=0, build=3)
    pulled, refused, images = night["updates"]
    assert (pulled["ok"], pulled["after"]) == (True, new)
    assert pulled["before"] != new
    assert (refused["ok"], images["ok"], images["message"]) == (False, False, "the build failed")
    assert "update failed: pull" in scene.said
    assert night["outcome"] == "passed"
    scene.night(PASSED, code=0, build=3)
    assert "update failed" not in scene.said, "it was said in the night before"


def test_nothing_is_run_by_a_dry_run(scene: NightlyScene) -> None:
    code, text = scene.command("nightly", "--dry-run")
    assert code == 0
    assert "orchestrator run --file" in text
    assert not (scene.folder / "runs").exists()
    _, text = scene.command("nightly", "--dry-run", "--json")
    assert json.loads(text)["budget"] == 6 * 3600


# ------------------------------------------------------------------ what goes wrong


SLOW = 'import runpy, sys, time\nif "run" in sys.argv: print("begun", flush=True); time.sleep(60)\n'


@pytest.fixture
def slow(scene: NightlyScene) -> Iterator[subprocess.Popen[str]]:
    """A night whose run takes for ever."""
    program = scene.folder / "slow.py"
    program.write_text(SLOW)
    start = (
        f"import sys; from orchestrator.nightly import commands; commands.PROGRAM = (sys.executable, {str(program)!r});"
    )
    start += "from orchestrator.cli.main import main; sys.exit(main(['nightly']))"
    process = subprocess.Popen([sys.executable, "-c", start], stderr=subprocess.PIPE, text=True, cwd=scene.folder)
    log = scene.folder / "runs/latest-night/cells/run/output.txt"
    limit = time.monotonic() + 60
    while "begun" not in (log.read_text() if log.exists() else ""):
        assert process.poll() is None
        assert time.monotonic() < limit
    yield process
    process.kill()
    process.wait()
    assert process.stderr is not None
    process.stderr.close()


@pytest.mark.slow
def test_a_second_night_is_skipped_and_recorded(scene: NightlyScene, slow: subprocess.Popen[str]) -> None:
    assert scene.command("nightly")[0] == 5
    assert "another night of tiny-night is under way" in scene.said
    night = scene.latest
    assert (night["outcome"], night["exit_code"]) == ("skipped", 5)
    assert night["reason"].startswith("another night")
    assert f"pid {slow.pid}" in night["reason"]


@pytest.mark.slow
def test_a_night_that_is_interrupted_says_so(scene: NightlyScene, slow: subprocess.Popen[str]) -> None:
    slow.send_signal(signal.SIGTERM)
    assert slow.wait(60) == 143
    assert (scene.latest["outcome"], scene.latest["exit_code"]) == ("interrupted", 143)


@pytest.mark.slow
def test_a_night_that_was_killed_is_seen_in_the_next_message(scene: NightlyScene, slow: subprocess.Popen[str]) -> None:
    slow.kill()
    slow.wait()
    scene.night(PASSED, code=0)
    assert "was: was interrupted; is: passed" in told(scene)


def test_a_history_that_cannot_be_used_ends_no_night(scene: NightlyScene) -> None:
    state = scene.folder / "state"
    state.mkdir()
    (state / "history-folders").mkdir()  # where a file should be
    assert scene.night(PASSED, code=0)["outcome"] == "passed"
    assert "the history could not be asked" in told(scene)
    (state / "history-folders").rmdir()
    _, text = scene.command("history", "list", "--json")
    assert json.loads(text) == []
    scene.command("history", "import", "runs")
    _, text = scene.command("history", "list", "--json")
    assert [row["outcome"] for row in json.loads(text)] == ["passed"], "nothing is lost that the folders hold"


def test_a_full_disk_is_told(scene: NightlyScene, monkeypatch: pytest.MonkeyPatch) -> None:
    """The night cannot go on; the message still says why."""

    def refuse(night: Night) -> None:
        if night.cells:
            raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(Night, "write", refuse)
    scene.prepare({"run": [PASSED]})
    assert scene.command("nightly")[0] == 3
    text = told(scene)
    assert text.startswith("tiny-night: the night could not run\nthe night cannot be recorded: ")
    assert "No space left" in text


def test_a_history_that_was_lost_is_made_again_with_its_nights(sequel: NightlyScene) -> None:
    sequel.night(ONE_FAILS, A_FAILS, A_PASSES, A_PASSES, code=0)
    before = sequel.command("history", "export")
    (sequel.folder / "state/history.db").write_bytes(b"what" * 5000)
    assert sequel.command("history", "export") == before


def test_missing_nights_and_a_clock_that_was_set_back() -> None:
    day = 86_400.0
    assert gap_of(None, day) == Gap()
    assert [gap_of(0.0, days * day).missed for days in (0.9, 1.0, 1.1, 1.6, 2.0, 3.1)] == [0, 0, 0, 1, 1, 2]
    assert gap_of(10 * day, day) == Gap(clock_back=True)


def test_they_are_told(sequel: NightlyScene) -> None:
    path = sequel.folder / "runs/latest-night/night.json"
    for days, text in ((3, "2 nights are missing"), (-9, "the clock of this host was set back")):
        data = json.loads(path.read_text())
        path.write_text(json.dumps({**data, "started": time.time() - days * 86_400}))
        sequel.night(PASSED, code=0)
        assert text in told(sequel)
        shutil.rmtree((sequel.folder / "runs/latest-night").resolve())
        _forget_last(sequel)
        path = sorted((sequel.folder / "runs").glob("night-*"))[0] / "night.json"


def _forget_last(scene: NightlyScene) -> None:
    """The database goes, so that only the folders that are left count."""
    for path in (scene.folder / "state").glob("history.db*"):
        path.unlink()


def test_it_works_as_cron_starts_it(scene: NightlyScene) -> None:
    """No terminal, no HOME, LANG=C, a strict umask, a home that cannot be written."""
    scene.prepare({"run": [PASSED]})
    start = "import os, sys; os.umask(0o077); from orchestrator.nightly import commands;"
    start += f"commands.PROGRAM = (sys.executable, {str(scene.folder / 'fake.py')!r});"
    start += "from orchestrator.cli.main import main; sys.exit(main(['nightly']))"
    environment = {
        "PATH": "/usr/bin:/bin",
        "LANG": "C",
        "SHELL": "/bin/sh",
        "PYTHONPATH": os.environ["PYTHONPATH"],
        "ORCH_STATE_DIR": str(scene.folder / "state"),
        "ORCH_CACHE_DIR": str(scene.folder / "cache"),
    }
    done = subprocess.run(
        [sys.executable, "-c", start],
        env=environment,
        cwd=scene.folder,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert "the night passed" in done.stderr
    assert "\x1b" not in done.stderr
    assert LIB.is_dir()
