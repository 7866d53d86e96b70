"""Scripts on machines that are none: names, results, test cases, endings."""

from __future__ import annotations

import threading
from datetime import timedelta
from pathlib import Path

import pytest
from testscript_scene import LIMIT, Scene

from orchestrator.driver.testscript.outcome import Outcome, exit_code_of
from orchestrator.driver.testscript.runner import interruption
from orchestrator.errors import MachineError, TimeLimit
from orchestrator.events.run import Failure
from orchestrator.events.suite import SuiteError, SuiteOutput, SuiteStateChanged, TestBegan, TestEnded


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path, "server", "client-2")


def shown(scene: Scene) -> list[str]:
    return [event.line for event in scene.environment.of(SuiteOutput)]


# ---------------------------------------------------------------------- what a script can call


def test_names_and_results_are_those_of_nixos(scene: Scene) -> None:
    outcome = scene.play(
        """
assert [m.name for m in machines] == ["client-2", "server"]
assert client_2.name == "client-2" and isinstance(server, QemuMachine)
start_all()
assert server.succeed("a", "b", timeout=3) == "a\\nb\\n"
assert server.fail("c") == "c\\n"
assert server.execute("d") == (0, "d\\n")
assert server.execute("e", check_return=False) == (-1, "e\\n")
assert server.execute("f", check_output=False, timeout=5) == (-2, "")
assert server.systemctl("start x") == (3, "start x\\n")
assert server.start_job("y", "alice") == (3, "start y\\n")
server.wait_for_unit("z", "bob", 7)
"""
    )
    assert outcome.outcome == "passed", outcome.error
    assert ("start",) in scene.calls("client-2")
    calls = scene.calls("server")
    assert ("succeed", "a", 3) in calls
    assert ("execute", "d", 900.0) in calls
    assert ("execute", "f", 5) in calls
    assert ("systemctl", "start y", "alice") in calls
    assert ("wait_for_unit", "z", "bob", 7) in calls
    assert calls[-1] == ("execute", "sync", None)


def test_one_machine_is_machine_too(tmp_path: Path) -> None:
    assert Scene(tmp_path, "only-one").play("assert machine is only_one").outcome == "passed"
    assert "NameError" in Scene(tmp_path, "a", "b").play("machine").error


def test_units_of_another_name_are_found_where_systemd_knows_none(scene: Scene) -> None:
    scene.environment.machines["server"].units = {"sshd.service": "loaded", "redis.service": "loaded"}
    text = "for unit in ('sshd', 'httpd', 'postgresql.target', 'nginx'): server.wait_for_unit(unit)\n"
    scene.play(text + "server.systemctl('restart httpd nginx')\nserver.systemctl('stop httpd', 'alice')")
    units = [call[1] for call in scene.calls("server") if call[0] in ("wait_for_unit", "systemctl")]
    assert units == [
        "sshd",
        "apache2.service",
        "postgresql.service",
        "nginx",
        "restart apache2.service nginx",
        "stop httpd",
    ]


def test_files_go_to_the_output_folder_and_come_from_beside_the_script(scene: Scene) -> None:
    (scene.folder / "beside").write_text("")
    before = Path.cwd()
    outcome = scene.play(
        """
open("made", "w").close()
assert os.getcwd() == str(driver.out_dir) == str(server.out_dir)
server.copy_from_host("made", "/a")
server.copy_from_host("./beside", "/b")
server.screenshot("one")
server.screenshot("sub/two.png")
"""
    )
    assert outcome.outcome == "passed", outcome.error
    out = scene.folder / "run" / "artifacts"
    assert [call[1] for call in scene.calls("server")[:4]] == [
        out / "made",
        scene.folder / "beside",
        out / "one.png",
        out / "sub/two.png",
    ]
    assert Path.cwd() == before


def test_retry_gives_a_last_chance(scene: Scene) -> None:
    assert (
        scene.play("a = []\nretry(lambda last: a.append(last) or len(a) == 2)\nassert a == [False, False]").exit_code
        == 0
    )
    scene.play("a = []\ntry: retry(fn=lambda last: a.append(last), timeout_seconds=0)\nfinally: print(a)")
    assert [event.what for event in scene.environment.of(Failure)][-1].endswith("did not come within 0 s")


@pytest.mark.parametrize("word", ["switch_root", "shell_interact", "console_interact", "wait_for_qmp_event"])
def test_what_is_not_supported_says_so(scene: Scene, word: str) -> None:
    assert f"{word} is not supported here" in scene.play(f"server.{word}()").error


def test_limits_may_be_timedeltas(scene: Scene) -> None:
    scene.play("from datetime import timedelta\nserver.succeed('a', timeout=timedelta(minutes=1))")
    assert ("succeed", "a", timedelta(minutes=1)) in scene.calls("server")


# ---------------------------------------------------------------------- test cases


def test_subtests_are_cases_with_lines_and_times(scene: Scene) -> None:
    outcome = scene.play("with subtest('one'):\n    server.succeed('a')\n\nwith subtest('two'): pass\n")
    assert [(case.title, case.line, case.status) for case in outcome.cases] == [
        ("one", 1, "passed"),
        ("two", 4, "passed"),
    ]
    ended = scene.environment.of(TestEnded)
    assert [event.subject for event in scene.environment.of(TestBegan)] == ["one", "two"]
    assert [(event.phase, event.id, event.status) for event in ended] == [
        ("script", "script-1", "passed"),
        ("script", "script-2", "passed"),
    ]
    assert all(event.duration >= 0 for event in ended)
    last = scene.environment.of(SuiteStateChanged)[-1]
    assert (last.state, last.exit_code, last.passed, last.failed) == ("finished", 0, 2, 0)


def test_a_script_without_subtests_is_one_case(scene: Scene) -> None:
    assert [case.title for case in scene.play("pass").cases] == ["script"]


def test_a_failed_command_is_told_with_the_scripts_lines_only(scene: Scene) -> None:
    machine = scene.environment.machines["server"]
    machine.fails["bad"] = machine.failed("bad", 3, "no such thing")
    outcome = scene.play("def f():\n    server.succeed('bad')\n\nwith subtest('one'):\n    f()\nprint('not here')\n")
    assert (outcome.outcome, outcome.exit_code) == ("failed", 1)
    (failure,) = scene.environment.of(Failure)
    path = scene.folder / "script.py"
    assert failure.where == (f"{path}:5: f()", f"{path}:2 in f: server.succeed('bad')")
    assert failure.what.endswith("script.py: `bad` failed in server: exit code 3")
    assert "  no such thing" in failure.evidence
    (case,) = outcome.cases
    assert case.status == "failed"
    assert "no such thing" in case.error
    assert scene.environment.failed
    assert not scene.environment.of(SuiteError)


def test_an_error_outside_of_all_subtests_is_told_beside_them(scene: Scene) -> None:
    outcome = scene.play("with subtest('one'): pass\nassert 1 == 2\n")
    assert [case.status for case in outcome.cases] == ["passed"]
    assert "`assert 1 == 2` does not hold" in outcome.error
    (error,) = scene.environment.of(SuiteError)
    assert "does not hold" in error.error


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("t.assertEqual(1, 2)", "1 != 2"),
        ("assert False, 'because'", "because"),
        ("{}['key']", "KeyError: 'key'"),
        ("exit(3)", "ended itself with 3"),
        ("raise MachineError('own')", ""),
    ],
)
def test_other_failures(scene: Scene, text: str, words: str) -> None:
    outcome = scene.play(text)
    assert outcome.exit_code in (1, 3)
    assert words in outcome.error


def test_a_script_may_end_itself(scene: Scene) -> None:
    assert scene.play("exit(0)\nassert False").outcome == "passed"


def test_keep_going_goes_on_behind_a_failed_subtest(scene: Scene) -> None:
    machine = scene.environment.machines["server"]
    machine.fails["bad"] = machine.failed("bad")
    text = "with subtest('one'):\n    server.succeed('bad')\nwith subtest('two'):\n    server.succeed('good')\n"
    outcome = scene.play(text, keep_going=True)
    assert [case.status for case in outcome.cases] == ["failed", "passed"]
    assert (outcome.outcome, outcome.exit_code) == ("failed", 1)
    assert "1 of 2 subtests failed, first: `bad` failed" in outcome.error
    assert ("succeed", "good", None) in machine.calls


def test_a_failed_subtest_fails_the_script_even_if_its_error_is_caught(scene: Scene) -> None:
    outcome = scene.play("try:\n    with subtest('one'): assert False, 'because'\nexcept AssertionError: pass\n")
    assert (outcome.outcome, outcome.exit_code) == ("failed", 1)
    assert outcome.error.endswith("1 of 1 subtests failed, first: because")


def test_keep_going_ends_where_the_machines_do(scene: Scene) -> None:
    scene.environment.machines["server"].fails["bad"] = MachineError("machine server died")
    outcome = scene.play("with subtest('one'):\n    server.succeed('bad')\nassert False\n", keep_going=True)
    assert (outcome.outcome, outcome.exit_code) == ("error", 3)
    assert [error.what for error in scene.environment.explained] == ["machine server died"]


def test_a_condition_is_watched_before_and_during_calls(scene: Scene) -> None:
    outcome = scene.play(
        """
asked = []

@polling_condition(seconds_interval=0)
def fine():
    "all is fine"
    asked.append(1)
    return len(asked) < 4

with fine:
    server.succeed("a")
assert not fine.entered
with fine:
    server.succeed("hang")
"""
    )
    assert [(case.title, case.status) for case in outcome.cases] == [
        ("condition: all is fine", "passed"),
        ("condition: all is fine", "failed"),
    ]
    assert "'all is fine' does not hold any more" in outcome.error


def test_a_condition_may_be_waited_for(scene: Scene) -> None:
    text = "a = []\n@polling_condition\ndef there():\n    a.append(1)\n    return len(a) > 2\n"
    text += "there.wait(timeout=60)\nassert len(a) == 3"
    assert scene.play(text).outcome == "passed"


def test_lines_of_the_log(scene: Scene) -> None:
    scene.play("log('a')\nlog.info('b')\nserver.log('c\\nd')\nlog.warning('e')\nwith server.nested('f'): pass")
    lines = shown(scene)
    assert lines[:6] == ["a", "b", "server: c", "d", "warning: e", "server: f"]
    assert lines[6].startswith("(finished: server: f, in 0.0")


# ---------------------------------------------------------------------- ended from outside


@pytest.mark.parametrize("body", ["server.succeed('hang')", "server.succeed('a')\n    while True: x = 1"])
def test_a_stopped_script_ends_whatever_it_does(scene: Scene, body: str) -> None:
    text = f"try:\n    {body}\nexcept Exception: pass\nserver.succeed('afterwards')"
    run = scene.begin(text)
    ended = run.begin()
    assert scene.environment.machines["server"].called.wait(LIMIT)
    run.stop()
    ended.result(LIMIT)
    outcome = run.conclude(interruption(2))
    assert (outcome.outcome, outcome.exit_code) == ("interrupted", 130)
    assert not any(call[1] == "afterwards" for call in scene.calls("server"))
    assert scene.environment.error is not None and scene.environment.error.exit_code == 130
    assert scene.environment.explained == []


def test_the_limit_of_a_script_is_an_error_of_its_own(scene: Scene) -> None:
    run = scene.begin("with subtest('long'): server.succeed('hang')")
    ended = run.begin()
    assert scene.environment.machines["server"].called.wait(LIMIT)
    run.stop()
    ended.result(LIMIT)
    outcome = run.conclude(TimeLimit("time limit of 1 h reached"))
    assert (outcome.outcome, outcome.exit_code) == ("error", 124)
    assert [case.status for case in outcome.cases] == ["interrupted"]
    assert not scene.environment.of(SuiteError)


def test_it_runs_in_a_thread_of_its_own(scene: Scene) -> None:
    scene.play("import threading\nprint(threading.current_thread().name)")
    assert threading.current_thread().name != "script script"


def test_the_code_of_several_scripts() -> None:
    def outcomes(*codes: int) -> list[Outcome]:
        return [Outcome("x", "", code, 0.0) for code in codes]

    assert exit_code_of(outcomes(0, 0)) == 0
    assert exit_code_of(outcomes(0, 1, 0)) == 1
    assert exit_code_of(outcomes(1, 3, 124)) == 3
