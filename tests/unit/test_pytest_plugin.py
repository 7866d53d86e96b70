"""The pytest plugin: its fixtures, its resets and the order of tests. No machine runs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fake_environment import FakeEnvironment

from orchestrator.errors import ServiceError, SnapshotError

if TYPE_CHECKING:
    from pytest_scene import Scene

pytest_plugins = ("pytester", "pytest_scene")


def test_fixtures_of_the_topology(scene: Scene) -> None:
    scene.tests(
        a="""
def test_names(environment, server, client_2, fresh_environment):
    assert list(environment) == ["server", "client-2"]
    assert server is environment["server"] and client_2.name == "client-2"
    assert fresh_environment is environment
    note("test")
"""
    )
    scene.run("-q").assert_outcomes(passed=1)
    assert scene.notes == ["open shop variant mock", "test", "close shop"]


def test_nothing_is_opened_for_tests_that_do_not_use_it(scene: Scene) -> None:
    scene.tests(a="def test_other(tmp_path): note('test')")
    scene.run().assert_outcomes(passed=1)
    assert scene.notes == ["test"]


def test_a_skipped_test_opens_nothing(scene: Scene) -> None:
    scene.tests(a="@pytest.mark.skip\ndef test_other(server): note('test')")
    scene.run().assert_outcomes(skipped=1)
    assert scene.notes == []


def test_options_reach_the_environment(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[FakeEnvironment] = []
    monkeypatch.setattr(FakeEnvironment, "open", lambda self: seen.append(self) or open_(self))
    scene.tests(a="def test_one(server): pass")
    scene.write("pytest.ini", "[pytest]\norch_keep = failure\norch_file = sub/other.toml\n")
    (scene.pytester.path / "sub").mkdir()
    (scene.pytester.path / "orchestrator.toml").rename(scene.pytester.path / "sub" / "other.toml")
    scene.run("--orch-variant=full", "--orch-name=mine", "--orch-start=cold").assert_outcomes(passed=1)
    [made] = seen
    wanted = {"variant": "full", "name": "mine", "start": "cold", "keep": "failure", "images": "auto"}
    assert {key: made.options[key] for key in wanted} == wanted
    assert made.options["free_ports"] is False
    assert made.options["layers"] == {}
    scene.run("--orch-file=sub/other.toml", "--orch-layer=app=../a=b", "--orch-layer=data=/d").assert_outcomes(passed=1)
    assert seen[1].options["layers"] == {"app": scene.pytester.path / "../a=b", "data": Path("/d")}


@pytest.mark.parametrize(
    ("words", "why"),
    [
        (["--orch-layer=app"], "--orch-layer app: write NAME=DIR"),
        (["--orch-layer=app=a", "--orch-layer=app=b"], "--orch-layer app is given twice"),
        (["--orch-attach=mine", "--orch-layer=app=a"], "--orch-layer does not go with it"),
    ],
)
def test_layers_that_cannot_be_meant(words: list[str], why: str, scene: Scene) -> None:
    scene.tests(a="def test_one(server): pass")
    scene.run(*words).stderr.fnmatch_lines([f"*{why}*"])


open_ = FakeEnvironment.open
THREE = {
    "a": """
class TestOne:
    def test_a1(self, server): note("a1")
    def test_a2(self, server): note("a2")
class TestTwo:
    def test_a3(self, environment): note("a3")
""",
    "b": "def test_b1(client_2): note('b1')\ndef test_unit(): note('unit')\ndef test_b2(machine): note('b2')",
}
ORDER = {
    "none": "a1 a2 a3 b1 unit b2 b2",
    "session": "a1 a2 a3 b1 unit b2 b2",
    "module": "a1 a2 a3 reset b1 unit b2 b2",
    "class": "a1 a2 reset a3 reset b1 unit b2 b2",
    "function": "a1 reset a2 reset a3 reset b1 unit reset b2 reset b2",
}


@pytest.mark.parametrize("level", ORDER)
def test_resets_of_each_level(scene: Scene, level: str) -> None:
    scene.tests(**THREE)
    scene.run(f"--orch-reset={level}").assert_outcomes(passed=7)
    assert " ".join(line.removesuffix(" shop") for line in scene.notes[1:-1]) == ORDER[level]


def test_the_level_of_the_ini_file_and_of_a_marker(scene: Scene) -> None:
    scene.write("pytest.ini", "[pytest]\norch_reset = session\n")
    scene.tests(
        a="""
def test_a1(server): note("a1")
@pytest.mark.orchestrator(reset="function")
def test_a2(server): note("a2")
def test_a3(server): note("a3")
def test_a4(fresh_environment): note("a4")
"""
    )
    scene.run().assert_outcomes(passed=4)
    assert scene.notes[1:-1] == ["a1", "reset shop", "a2", "a3", "reset shop", "a4"]


@pytest.mark.parametrize("level", ["none", "module"])
def test_a_failed_test_leads_to_a_reset(scene: Scene, level: str) -> None:
    scene.tests(
        a="""
def test_a1(server): assert 0
def test_unit(): note("unit")
def test_a2(server): note("a2")
def test_a3(server): note("a3")
@pytest.fixture
def broken(server): raise ValueError
def test_a4(broken): pass
def test_a5(server): note("a5")
@pytest.mark.xfail
def test_a6(server): assert 0
def test_a7(server): note("a7")
"""
    )
    scene.run(f"--orch-reset={level}").assert_outcomes(passed=5, failed=1, errors=1, xfailed=1)
    assert scene.notes[1:-1] == ["fail shop", "unit", "reset shop", "a2", "a3", "fail shop", "reset shop", "a5", "a7"]


def test_a_reset_comes_before_the_fixtures_of_the_module(scene: Scene) -> None:
    module = """
@pytest.fixture(scope="module")
def filled(server):
    note("filled")
    yield
    note("emptied")
def test_one(filled): note("test")
def test_two(filled): note("test")
"""
    scene.tests(a=module, b=module)
    scene.run().assert_outcomes(passed=4)
    once = ["filled", "test", "test", "emptied"]
    assert scene.notes[1:-1] == [*once, "reset shop", *once]


def test_a_reset_that_fails_is_an_error_of_the_test_and_is_tried_again(
    scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeEnvironment, "fails_to_reset", SnapshotError("the state is gone", hint="up --fresh"))
    scene.tests(a="def test_1(server): pass\ndef test_2(server): pass\ndef test_3(server): pass")
    done = scene.run("--orch-reset=function")
    done.assert_outcomes(passed=1, errors=2)
    done.stdout.fnmatch_lines(["the state is gone", "  try: up --fresh"])
    done.stdout.no_fnmatch_line("*holder.py*")


def test_an_environment_that_does_not_come_up_is_tried_once(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    calls: list[int] = []

    def no(self: FakeEnvironment) -> None:
        calls.append(1)
        raise ServiceError("service web failed", why="exit code 1")

    monkeypatch.setattr(FakeEnvironment, "open", no)
    scene.tests(a="def test_1(server): pass\ndef test_2(server): pass\ndef test_unit(): pass")
    done = scene.run()
    done.assert_outcomes(passed=1, errors=2)
    done.stdout.fnmatch_lines(["service web failed", "  exit code 1"])
    assert len(calls) == 1


GROUPS = """
def test_1(server): note("1")
@pytest.mark.orchestrator(variant="full")
def test_2(server): note("2")
@pytest.mark.orchestrator(snapshot="filled")
def test_3(server): note("3")
def test_unit(): note("unit")
def test_4(server): note("4")
@pytest.mark.orchestrator(variant="mock")
def test_5(environment): note("5 " + environment.variant)
@pytest.mark.orchestrator(variant="full")
def test_6(environment): note("6 " + environment.variant)
"""


def test_tests_of_a_variant_and_of_a_snapshot_are_together(scene: Scene) -> None:
    scene.tests(a=GROUPS)
    done = scene.run("-v")
    done.assert_outcomes(passed=7)
    assert scene.notes == [
        *("open shop variant mock", "1", "unit", "4", "5 mock"),
        *("restore filled shop", "3", "close shop"),
        *("open shop variant full", "2", "6 full", "close shop"),
    ]


def test_fixtures_that_use_a_variant_end_before_it_is_closed(scene: Scene) -> None:
    scene.tests(
        a="""
@pytest.fixture(scope="session")
def filled(environment):
    yield
    note(f"emptied {environment.variant} in {environment.artifacts.name}")
def test_1(filled): pass
@pytest.mark.orchestrator(variant="full")
def test_2(filled): pass
"""
    )
    scene.run().assert_outcomes(passed=2)
    assert [line.split(" in ")[0] for line in scene.notes] == [
        *("open shop variant mock", "emptied mock", "close shop"),
        *("open shop variant full", "emptied full", "close shop"),
    ]


def test_fixtures_end_before_the_environment_where_the_first_failure_ends_the_run(scene: Scene) -> None:
    scene.tests(
        a="""
@pytest.fixture(scope="session")
def filled(environment):
    yield
    note(f"emptied {environment.artifacts.name.split('-')[0]}")
def test_1(filled): assert 0
def test_2(filled): pass
"""
    )
    scene.run("-x").assert_outcomes(failed=1)
    assert scene.notes == ["open shop variant mock", "emptied shop", "fail shop", "close shop"]


def test_all_begins_from_a_snapshot_of_the_options(scene: Scene) -> None:
    scene.tests(a="def test_1(server): note('1')", b="def test_2(server): note('2')")
    scene.run("--orch-start-from=filled").assert_outcomes(passed=2)
    assert scene.notes[1:-1] == ["restore filled shop", "1", "restore filled shop", "2"]


def test_a_snapshot_that_is_missing_fails_its_test_alone(scene: Scene) -> None:
    scene.tests(a="@pytest.mark.orchestrator(snapshot='missing')\ndef test_1(server): pass\ndef test_2(server): pass")
    done = scene.run()
    done.assert_outcomes(passed=1, errors=1)
    done.stdout.fnmatch_lines(["there is no snapshot of this name"])


def test_keep_of_a_marker(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[str] = []
    monkeypatch.setattr(FakeEnvironment, "open", lambda self: seen.append(self.options["keep"]) or open_(self))
    scene.tests(a="@pytest.mark.orchestrator(keep=True)\ndef test_1(server): pass")
    done = scene.run()
    assert seen == ["always"]
    done.stdout.fnmatch_lines(["orchestrator: shop stays up: orchestrator -n shop down ends it"])


def test_machine_is_each_that_the_marker_names(scene: Scene) -> None:
    scene.tests(
        a="""
@pytest.mark.machine("client-2", "server")
def test_1(machine): note(machine.name)
def test_2(machine): note(machine.name)
"""
    )
    done = scene.run("-v")
    done.stdout.fnmatch_lines(["*test_1?client-2? PASSED*", "*test_1?server? PASSED*", "*test_2?server? PASSED*"])
    assert scene.notes[1:-1] == ["client-2", "server", "server", "client-2"]


def test_needs_kvm(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.pytest_plugin.holder.host_factor", lambda: 10.0)
    scene.tests(a="@pytest.mark.needs_kvm\ndef test_1(server): note('1')")
    done = scene.run("-rs")
    done.assert_outcomes(skipped=1)
    done.stdout.fnmatch_lines(["*needs KVM: this host emulates machines (time factor 10)*"])
    assert scene.notes == []
    monkeypatch.setattr("orchestrator.pytest_plugin.holder.host_factor", lambda: 1.0)
    scene.run().assert_outcomes(passed=1)


def test_a_name_that_is_taken_is_reported(scene: Scene) -> None:
    text = (scene.pytester.path / "orchestrator.toml").read_text()
    other = 'machines.NAME = { image = "debian", networks.lan.address = "192.168.1.9" }'
    for name in ("request", "tmp-path", "monkeypatch", "environment", "class"):
        scene.write("orchestrator.toml", text.replace("services.web", f"{other.replace('NAME', name)}\nservices.web"))
        scene.tests(a=f"def test_1(environment, tmp_path, monkeypatch): assert environment['{name}'].name == '{name}'")
        done = scene.run("--orch-name=x")
        done.assert_outcomes(passed=1, warnings=1)
        done.stdout.fnmatch_lines([f'*machine {name} has no fixture of its own: *environment[[]"{name}"]'])


def test_a_fixture_of_a_conftest_replaces_ours(scene: Scene) -> None:
    scene.write("conftest.py", "import pytest\n@pytest.fixture\ndef server(): return 'mine'")
    scene.tests(a="def test_1(server): assert server == 'mine'")
    scene.run().assert_outcomes(passed=1)
    assert scene.notes == []
