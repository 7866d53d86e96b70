"""The pytest plugin: wrong use, workers of xdist, asyncio, and what it costs who does not use it. No machine runs."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import pytest
from fake_environment import ROOM

from orchestrator.environment.paths import EnvironmentPaths

if TYPE_CHECKING:
    from pytest_scene import Scene

pytest_plugins = ("pytester", "pytest_scene")
MANUAL = Path(__file__).parents[2] / "docs" / "pytest.md"

# ------------------------------------------------------------------ wrong use: one clear error, exit code 4


def refused(scene: Scene, *words: str, says: str) -> None:
    done = scene.run(*words)
    assert done.ret == 4
    done.stderr.fnmatch_lines([f"*{says}*"])
    assert "Traceback" not in done.stderr.str() + done.stdout.str()
    assert scene.notes == []


MISTAKES = {
    '@pytest.mark.machine("srever")': "machine 'srever' is not in the topology; machines are server, client-2",
    '@pytest.mark.orchestrator(reset="often")': "reset level 'often' does not exist; levels are none, *",
    '@pytest.mark.orchestrator(variant="fool")': "variant 'fool' is not in the topology; it has mock, full",
    '@pytest.mark.orchestrator(snapshots="a")': "the marker orchestrator has no 'snapshots'; it has variant, reset, *",
    "@pytest.mark.orchestrator(keep=1)": "the marker orchestrator has keep=1, which is no bool",
    '@pytest.mark.orchestrator("full")': "the marker orchestrator takes keywords only, not 'full'",
    '@pytest.mark.accepts_sign("ooom")': "log pattern 'ooom' does not exist, or cannot be accepted; patterns are *",
    '@pytest.mark.accepts_sign("kernel-panic")': "log pattern 'kernel-panic' does not exist, or cannot be accepted*",
}


@pytest.mark.parametrize("marker", MISTAKES)
def test_a_wrong_marker(scene: Scene, marker: str) -> None:
    scene.tests(a=f"{marker}\ndef test_1(machine): pass")
    refused(scene, says=f"test_a.py::test_1*: {MISTAKES[marker]}")


def test_every_mistake_is_reported_at_once(scene: Scene) -> None:
    first, second = list(MISTAKES)[:2]
    scene.tests(a=f"{first}\ndef test_1(server): pass\n{second}\ndef test_2(): pass")
    done = scene.run()
    done.stderr.fnmatch_lines(["*test_1: machine 'srever'*", "*test_2: reset level 'often'*"])


def test_a_topology_file_that_is_missing_or_wrong(scene: Scene) -> None:
    scene.tests(a="def test_1(environment): pass")
    refused(scene, "--orch-file=no.toml", says="the topology file */no.toml cannot be read: No such file or directory")
    scene.write("bad.toml", "name = \n")
    refused(
        scene, "--orch-file=bad.toml", says="the topology file */bad.toml is wrong: Invalid value (at line 1, column 8)"
    )
    text = (scene.pytester.path / "orchestrator.toml").read_text()
    scene.write("typo.toml", text.replace('machine = "server"', 'machine = "srever"'))
    refused(scene, "--orch-file=typo.toml", says='typo.toml:8:28: machine "srever" in service "web" is not defined')
    (scene.pytester.path / "orchestrator.toml").unlink()
    refused(scene, says="test_1 uses an environment, and there is no topology file: --orch-file FILE")


def test_tests_without_machines_need_no_topology(scene: Scene) -> None:
    (scene.pytester.path / "orchestrator.toml").write_text("no = toml = at all")
    scene.tests(a="def test_1(): pass")
    assert scene.run().ret == 4, "a file that is there is read"
    (scene.pytester.path / "orchestrator.toml").unlink()
    scene.run().assert_outcomes(passed=1)


def test_a_value_of_the_ini_file(scene: Scene) -> None:
    scene.write("pytest.ini", "[pytest]\norch_reset = often\n")
    scene.tests(a="def test_1(server): pass")
    refused(scene, says="orch_reset = often: write one of none, session, module, class, function")
    refused(scene, "--orch-reset=often", says="argument --orch-reset: invalid choice: 'often'*")


def test_attach_to_what_does_not_run(scene: Scene, own_places: None) -> None:
    scene.tests(a="def test_1(server): pass")
    refused(scene, "--orch-attach=shop", says="--orch-attach: environment shop does not run; orchestrator -n shop up")
    refused(scene, "--orch-attach=", says="--orch-attach: which environment?: there is no environment*")
    refused(scene, "--orch-attach", "test_a.py", says="--orch-attach took test_a.py as the name of an environment*")
    refused(scene, "--orch-attach=shop", "-n2", says="--orch-attach is for one process*")
    refused(scene, "--orch-attach=shop", "--orch-start=cold", says="--orch-attach starts nothing*")


def test_attach_uses_what_runs(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    from orchestrator.pytest_plugin.settings import Sketch

    found = Sketch("shop", ("server", "client-2"), "mock", ("mock", "full"))
    monkeypatch.setattr("orchestrator.pytest_plugin.settings._of_running", lambda name: found)
    scene.tests(
        a="""
def test_1(server): note("1")
def test_2(client_2): note("2")
@pytest.mark.orchestrator(variant="full")
def test_3(server): note("3")
"""
    )
    done = scene.run("--orch-attach=shop", "-rs")
    done.assert_outcomes(passed=2, skipped=1)
    done.stdout.fnmatch_lines(["*needs variant full, and the environment has mock"])
    assert scene.notes == ["open shop variant mock", "reset shop", "1", "2", "close shop"]
    scene.run("--orch-attach=shop", "--orch-reset=none").assert_outcomes(passed=2, skipped=1)
    assert scene.notes == ["open shop variant mock", "1", "2", "close shop"]


def test_a_forked_process_does_not_get_the_environment(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    scene.tests(a="def test_1(server): note('1')")
    scene.write(
        "conftest.py",
        """
import pytest
from orchestrator.pytest_plugin.holder import HOLDER

@pytest.hookimpl(tryfirst=True)
def pytest_runtest_protocol(item, nextitem):
    item.config.stash[HOLDER]._process = -1  # as in a child that a plugin forked for the test
""",
    )
    done = scene.run()
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["an environment cannot be used in a forked process"])
    assert scene.notes == []


# ------------------------------------------------------------------ workers

MANY = "@pytest.mark.parametrize('number', range(6))\ndef test_1(environment, number): note(f'{environment.name}')"


@pytest.mark.slow
def test_each_worker_has_an_environment_of_its_own(scene: Scene) -> None:
    scene.tests(a=MANY)
    done = scene.run_apart("-n2", "--junit-xml=out.xml")
    done.assert_outcomes(passed=6)
    notes = scene.notes
    opened = [line for line in notes if line.startswith("open")]
    assert sorted(opened) == [f"open with free ports shop-gw{number} variant mock" for number in (0, 1)]
    assert {line for line in notes if line.startswith("shop")} == {"shop-gw0", "shop-gw1"}
    assert sorted(line for line in notes if line.startswith("close")) == ["close shop-gw0", "close shop-gw1"]
    done.stdout.fnmatch_lines_random([f"orchestrator: environment shop-gw{n}: *report/index.html" for n in (0, 1)])


@pytest.mark.slow
def test_evidence_of_a_worker_is_in_junit(scene: Scene) -> None:
    scene.tests(a="def test_1(server): assert 0\ndef test_2(server): assert 0")
    scene.run_apart("-n2", "--junit-xml=out.xml").assert_outcomes(failed=2)
    for properties in scene.properties("out.xml").values():
        assert [name for name, _ in properties] == [
            "orchestrator-server.png",
            "orchestrator-server-journal.txt",
            "orchestrator-events.jsonl",
        ]


@pytest.mark.slow
def test_a_worker_without_room_waits_for_another_ones_machines(
    scene: Scene, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    room = tmp_path_factory.mktemp("room")
    (room / "1.free").touch()
    monkeypatch.setenv(ROOM, str(room))
    scene.tests(a=MANY)
    done = scene.run_apart("-n2")
    done.assert_outcomes(passed=6)
    assert {line for line in scene.notes if line.startswith("shop")} == {"shop-gw0", "shop-gw1"}
    up = 0
    for line in scene.notes:
        up += line.startswith("open") - line.startswith("close")
        assert up in (0, 1), "never more than there is room for"
    done.stderr.fnmatch_lines(["orchestrator: gw? waits until another worker's machines have ended: *3000 MiB*"])


@pytest.mark.slow
def test_no_room_at_all_is_an_error(
    scene: Scene, tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv(ROOM, str(tmp_path_factory.mktemp("room")))
    scene.tests(a="def test_1(server): pass")
    done = scene.run_apart("-n1")
    done.assert_outcomes(errors=1)
    done.stdout.fnmatch_lines(["*the machines need 3000 MiB of memory*"])


@pytest.mark.slow
def test_a_killed_worker_gives_its_room_to_the_next(scene: Scene) -> None:
    scene.tests(
        a="""
import os, signal
def test_1(environment):
    note(f"killed in {environment.name}")
    os.kill(os.getpid(), signal.SIGKILL)
def test_2(environment): note(environment.name)
def test_3(environment): note(environment.name)
"""
    )
    done = scene.run_apart("-n1")
    done.assert_outcomes(passed=2, failed=1)
    assert "killed in shop-gw0" in scene.notes
    assert scene.notes[-4:] == ["open with free ports shop-gw1 variant mock", "shop-gw1", "shop-gw1", "close shop-gw1"]


@pytest.mark.slow
def test_what_a_killed_worker_left_is_removed(scene: Scene, own_places: None) -> None:
    scene.tests(
        a="""
import os, signal
from orchestrator.environment.paths import EnvironmentPaths
def test_1(environment):
    EnvironmentPaths.of(environment.name).make()
    os.kill(os.getpid(), signal.SIGKILL)
"""
    )
    done = scene.run_apart("-n1")
    done.assert_outcomes(failed=1)
    done.stdout.fnmatch_lines(["orchestrator: environment shop-gw0: its worker was killed; *what it left is removed"])
    assert not EnvironmentPaths.of("shop-gw0").folder.exists()


@pytest.mark.slow
def test_a_wrong_marker_ends_a_run_with_workers_too(scene: Scene) -> None:
    scene.tests(a="@pytest.mark.machine('srever')\ndef test_1(machine): pass")
    done = scene.run_apart("-n2")
    assert done.ret == 4
    done.stderr.fnmatch_lines(["ERROR: *machine 'srever' is not in the topology; machines are server, client-2"])
    assert scene.notes == []


# ------------------------------------------------------------------ asyncio

ASYNC = """
import asyncio
def test_plain(async_environment, environment):
    assert type(async_environment).__module__ == "orchestrator.api"
    assert async_environment._core is environment._core
    assert asyncio.run(name(async_environment)) == "shop"
async def name(environment): return environment._core.name
"""


def test_the_async_environment_without_pytest_asyncio(scene: Scene) -> None:
    scene.tests(a=ASYNC)
    scene.run().assert_outcomes(passed=1)


@pytest.mark.parametrize("scope", ["function", "session"])
def test_the_async_environment_with_pytest_asyncio(scene: Scene, scope: str) -> None:
    pytest.importorskip("pytest_asyncio")
    scene.write("pytest.ini", f"[pytest]\nasyncio_default_fixture_loop_scope = {scope}\n")
    scene.tests(
        a=ASYNC
        + f"""
@pytest.mark.asyncio(loop_scope="{scope}")
async def test_in_a_loop(async_environment, server):
    assert await name(async_environment) == "shop"
    note(server.name)
@pytest.mark.asyncio
async def test_in_another(async_environment): assert await name(async_environment) == "shop"
"""
    )
    scene.run(others=("-p", "no:cacheprovider", "-p", "no:html")).assert_outcomes(passed=3)
    assert scene.notes == ["open shop variant mock", "server", "close shop"]


# ------------------------------------------------------------------ cost


def test_a_project_without_machines_loads_next_to_nothing() -> None:
    code = "import sys, orchestrator.pytest_plugin; print(sorted(m for m in sys.modules if 'pytest' not in m))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    loaded = set(eval(done.stdout))
    heavy = {"paramiko", "cryptography", "re2", "httpx", "jinja2", "rich", "asyncio", "qemu", "xxhash"}
    rooms = {f"orchestrator.{room}" for room in ("environment", "topology", "guest", "services", "vm", "sync", "api")}
    assert not loaded & heavy
    assert not loaded & rooms


# ------------------------------------------------------------------ the manual


def test_the_code_of_the_manual_is_collected(scene: Scene) -> None:
    """Its fixtures and markers exist; tests/vm runs it."""
    pytest.importorskip("pytest_asyncio")
    blocks = re.findall(r"^```python\n(.*?)^```", MANUAL.read_text(encoding="utf-8"), re.MULTILINE | re.DOTALL)
    assert len(blocks) >= 5
    text = (scene.pytester.path / "orchestrator.toml").read_text()
    scene.write("orchestrator.toml", text.replace("client-2", "client"))
    for number, block in enumerate(blocks):
        scene.write(f"test_{number}.py", block)
    done = scene.run("--setup-plan", others=("-p", "no:cacheprovider", "-p", "no:html"))
    assert done.ret == 0
    done.stdout.no_fnmatch_line("*fixture '*' not found*")
