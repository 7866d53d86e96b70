"""The pytest plugin: what is kept and shown of tests. No machine runs."""

from __future__ import annotations

import os
import re
import sys
from typing import TYPE_CHECKING

import pytest
from fake_environment import FakeEnvironment

from orchestrator.deadline import Deadline
from orchestrator.report.write import write_report

if TYPE_CHECKING:
    from pytest_scene import Scene

pytest_plugins = ("pytester", "pytest_scene")

FAILS = """
def test_good(server): note("good")
def test_bad(server): assert 1 == 2, "one is not two"
@pytest.fixture
def broken(server): raise ValueError("broken")
def test_setup(broken): pass
@pytest.mark.xfail
def test_expected(server): assert 0
def test_skips(server): pytest.skip("not now")
"""
FILES = ["server.png", "server-journal.txt", "events.jsonl"]


def test_evidence_of_failures_is_in_the_run_folder_and_in_junit(scene: Scene) -> None:
    scene.tests(a=FAILS)
    done = scene.run("--junit-xml=out.xml")
    done.assert_outcomes(passed=1, failed=1, errors=1, xfailed=1, skipped=1)
    kept = scene.run_folder / "tests"
    assert sorted(path.name for path in kept.iterdir()) == ["test_a.py-test_bad", "test_a.py-test_setup"]
    bad = kept / "test_a.py-test_bad"
    properties = scene.properties("out.xml")
    assert properties["test_bad"] == [(f"orchestrator-{name}", str(bad / name)) for name in FILES]
    assert len(properties["test_setup"]) == 3
    assert properties["test_good"] == properties["test_expected"] == []
    assert "test_good" not in (bad / "events.jsonl").read_text(), "the events of the test alone"
    done.stdout.fnmatch_lines(
        ["*one is not two*", "*- orchestrator -*", "evidence of this failure:", f"{bad}/server.png"]
    )


def test_tests_are_events_and_in_the_report(scene: Scene) -> None:
    scene.tests(a=FAILS)
    scene.run()
    begun, ended = scene.events("test.begin"), scene.events("test.end")
    assert [event["id"] for event in begun] == [event["id"] for event in ended]
    statuses = {event["id"].split("::")[1]: event["status"] for event in ended}
    assert statuses == {
        "test_good": "passed",
        "test_bad": "failed",
        "test_setup": "failed",
        "test_expected": "skipped",
        "test_skips": "skipped",
    }
    bad = ended[1]
    assert (bad["phase"], bad["file"], bad["line"]) == ("pytest", "test_a.py", 5)
    assert bad["subject"] == "test_a.py › test_bad"
    assert bad["error"].startswith("AssertionError: one is not two")
    assert [one["path"] for one in bad["attachments"]] == [f"tests/test_a.py-test_bad/{name}" for name in FILES]
    view = write_report(scene.run_folder)
    assert (len(view.tests), view.count("failed"), view.count("skipped")) == (5, 2, 2)
    assert "tests/test_a.py-test_bad/server.png" in (scene.run_folder / "report" / "index.html").read_text()


def test_the_time_of_a_start_or_a_reset_is_not_the_tests(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = [0.0]
    monkeypatch.setattr("orchestrator.pytest_plugin.current.monotonic", lambda: clock[0])

    def opened(self: FakeEnvironment) -> None:
        open_(self)
        clock[0] += 1000

    monkeypatch.setattr(FakeEnvironment, "open", opened)
    scene.tests(a="def test_1(server): pass")
    scene.run()
    assert scene.events("test.end")[0]["duration"] == 0


open_ = FakeEnvironment.open


@pytest.mark.parametrize("error", [RuntimeError("disk full"), OSError(28, "No space left")])
def test_trouble_with_the_evidence_does_not_hide_the_failure(
    scene: Scene, monkeypatch: pytest.MonkeyPatch, error: Exception
) -> None:
    monkeypatch.setattr(FakeEnvironment, "fails_to_collect", error)
    scene.tests(a="def test_1(server): assert 1 == 2")
    done = scene.run()
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["*assert 1 == 2*"])
    assert f"the evidence of this failure is not complete: {error}" in done.stdout.str()


def test_two_tests_never_share_a_folder(scene: Scene) -> None:
    scene.tests(a="@pytest.mark.parametrize('x', ['a/b', 'a-b', 'a' * 500])\ndef test_1(server, x): assert 0")
    scene.run().assert_outcomes(failed=3)
    folders = [path.name for path in (scene.run_folder / "tests").iterdir()]
    assert len(folders) == 3
    assert all(re.fullmatch(r"[A-Za-z0-9_.-]{1,120}", name) for name in folders)


def test_pytest_html_gets_the_files(scene: Scene) -> None:
    pytest.importorskip("pytest_html")
    scene.tests(a="def test_1(server): assert 0")
    scene.run("--html=out.html", "--self-contained-html", others=("-p", "no:asyncio", "-p", "no:cacheprovider"))
    page = (scene.pytester.path / "out.html").read_text()
    assert "server-journal.txt" in page
    assert "data:image/png;base64,iVBORw0K" in page


def test_what_the_driver_logs_is_not_in_the_report(scene: Scene) -> None:
    scene.tests(
        a="""
import logging
def test_1(server):
    logging.getLogger("orchestrator.commands").debug("a command")
    logging.getLogger("qemu.qmp.protocol").error("no connection yet")
    logging.getLogger("mine").warning("a warning of the test")
    assert 0
"""
    )
    done = scene.run()
    done.stdout.fnmatch_lines(["*a warning of the test"])
    done.stdout.no_fnmatch_line("DEBUG *")
    done.stdout.no_fnmatch_line("ERROR *qemu.qmp*")


# ------------------------------------------------------------------ log patterns

SIGNS = """
def test_fails(server): server.logs("oom-kill")
@pytest.mark.accepts_sign("oom-kill")
def test_accepts(server): server.logs("oom-kill")
def test_waived(server): server.logs("oom-kill", waiver="known")
def test_suspicious(server): server.logs("segfault", severity="suspicious")
@pytest.mark.accepts_sign("oom-kill")
def test_another(server): server.logs("disk-error")
@pytest.fixture
def late(server):
    yield
    server.logs("oops")
def test_late(late): pass
def test_shown_once(server):
    server.logs("oom-kill")
    assert 0, "the reason"
"""


def test_a_failing_log_pattern_fails_a_test_that_does_not_accept_it(scene: Scene) -> None:
    scene.tests(a=SIGNS)
    done = scene.run("-rfEp")
    done.assert_outcomes(passed=4, failed=3, errors=1)
    done.stdout.fnmatch_lines(
        [
            "machine server: something is wrong (oom-kill): a line of oom-kill",
            '  if the test is to cause it: @pytest.mark.accepts_sign("oom-kill")',
        ]
    )
    done.stdout.fnmatch_lines_random(
        [
            "PASSED *test_accepts",
            "PASSED *test_waived",
            "PASSED *test_suspicious",
            "FAILED *test_another*",
            "ERROR *test_late*",
        ]
    )
    assert (scene.run_folder / "tests" / "test_a.py-test_fails").is_dir()


# ------------------------------------------------------------------ --orch-sit


@pytest.mark.slow
def test_sit_waits_for_enter_with_the_machines_as_they_are(scene: Scene) -> None:
    pexpect = pytest.importorskip("pexpect")
    from pytest_scene import OTHERS, PLUGIN

    scene.log.write_text("")
    scene.write("conftest.py", "import fake_environment\nfake_environment.install()\n")
    scene.tests(a="def test_1(server): assert 1 == 2\ndef test_2(server): note('2')")
    words = ["-m", "pytest", *PLUGIN, *OTHERS, "--orch-sit"]
    child = pexpect.spawn(sys.executable, words, cwd=str(scene.pytester.path), encoding="utf-8", timeout=60)
    child.expect("test_1 failed; the machines stay as they are")
    child.expect("orchestrator -n shop shell server")
    child.expect("Go on with Enter: ")
    assert scene.notes == ["open shop variant mock"]
    child.sendline("")
    child.expect("1 failed, 1 passed")
    child.expect(pexpect.EOF)
    assert scene.notes == ["open shop variant mock", "fail shop", "reset shop", "2", "close shop"]


def test_sit_needs_a_terminal(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.tests(a="def test_1(server): pass")
    monkeypatch.setattr(sys, "__stdin__", open(os.devnull))  # noqa: SIM115, PTH123
    done = scene.run("--orch-sit")
    assert done.ret == 4
    done.stderr.fnmatch_lines(["ERROR: --orch-sit waits for Enter, and standard input is not a terminal"])


def test_sit_and_workers_do_not_go_together(scene: Scene) -> None:
    scene.tests(a="def test_1(server): pass")
    done = scene.run("--orch-sit", "-n2")
    assert done.ret == 4
    done.stderr.fnmatch_lines(["ERROR: --orch-sit stops at a terminal, and workers of xdist have none: leave out -n"])


# ------------------------------------------------------------------ interruption


@pytest.mark.slow
def test_ctrl_c_ends_the_environment_and_the_test_is_interrupted(scene: Scene) -> None:
    from pytest_scene import OTHERS, PLUGIN

    scene.log.write_text("")
    scene.write("conftest.py", "import fake_environment\nfake_environment.install()\n")
    scene.tests(
        a="""
import time
@pytest.fixture(scope="session")
def filled(environment):
    yield
    note("emptied")
def test_1(filled):
    note("in it")
    time.sleep(60)
"""
    )
    child = scene.pytester.popen([sys.executable, "-m", "pytest", *PLUGIN, *OTHERS])
    limit = Deadline.after(60)
    while "in it" not in scene.notes:
        assert not limit.expired
    child.send_signal(2)
    assert child.wait(60) == 2
    assert scene.notes == ["open shop variant mock", "in it", "fail shop", "emptied", "close shop"]
    assert scene.events("test.end")[0]["status"] == "interrupted"
