"""NixOS testScripts on real machines: those of `testscripts/`, each with an environment of its own."""

from __future__ import annotations

import signal
import xml.etree.ElementTree as ET
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from host import HERE, Host, Running, collected

SCRIPTS = HERE / "testscripts"
MACHINES = ("--file", str(SCRIPTS / "machines.toml"))
SHAPES = ("contract", "network", "login")
LIMIT = 600.0  # seconds for a script


@pytest.fixture(scope="module")
def host(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Host]:
    found = Host(tmp_path_factory.mktemp("scripts"), HERE / "orchestrator.toml")
    yield found
    found.close()


@pytest.fixture(scope="module")
def outcomes(host: Host) -> dict[str, Any]:
    """All scripts with one command."""
    files = [str(SCRIPTS / f"{name}.py") for name in SHAPES]
    done = host.run(*MACHINES, "test", "--json", "--keep-going", *files, limit=LIMIT * len(SHAPES))
    found = {Path(one["file"]).stem: one for one in done.json}
    found["stderr"] = done.stderr
    return found


@pytest.mark.parametrize("name", SHAPES)
def test_a_script_passes_with_all_its_subtests(outcomes: dict[str, Any], name: str) -> None:
    outcome = outcomes[name]
    failed = [(case["title"], case["error"]) for case in outcome["cases"] if case["status"] != "passed"]
    assert not failed, f"{failed}\n{outcomes['stderr'][-3000:]}"
    assert (outcome["outcome"], outcome["error"]) == ("passed", "")
    text = (SCRIPTS / f"{name}.py").read_text()
    assert len(outcome["cases"]) == text.count("\nwith subtest(") + text.count("\nwith file_is_there:")


@pytest.mark.parametrize("name", SHAPES)
def test_subtests_are_test_cases_with_times(outcomes: dict[str, Any], name: str) -> None:
    root = ET.parse(Path(outcomes[name]["run_folder"]) / "junit.xml").getroot()
    (suite,) = [one for one in root if one.get("name") == name]
    cases = {case.get("name"): case for case in suite}
    assert list(cases) == [case["title"] for case in outcomes[name]["cases"]]
    assert all(float(case.get("time", "0")) > 0 for case in cases.values())
    assert suite.get("failures") == suite.get("errors") == "0"


def test_a_script_that_fails_says_where_and_why(host: Host) -> None:
    script = host.root / "failing.py"
    script.write_text(
        "def ask():\n"
        "    keeper.succeed('logger said-to-the-journal; echo half; echo no such thing >&2; exit 7')\n\n"
        "with subtest('asks'):\n    ask()\nprint('gone on')\n"
    )
    done = host.run(*MACHINES, "test", str(script), limit=LIMIT)
    done.expect(1, rf"^{script}:5: ask\(\)$", rf"^{script}:2 in ask: keeper", "failed in keeper: exit code 7")
    done.expect(1, r"^ +half$", "no such thing", "said-to-the-journal", r"✘ asks", "!Traceback")
    assert done.stdout == ""
    host.assert_nothing_left(10)


def test_ctrl_c_ends_script_and_machines(host: Host) -> None:
    script = host.root / "endless.py"
    script.write_text("keeper.succeed('true')\nprint('begins', flush=True)\nkeeper.succeed('sleep 1000')\n")
    running: Running = host.start(*MACHINES, "test", str(script))
    with collected(running):
        running.until_says("begins", LIMIT)
        running.send(signal.SIGINT)
        running.wait(60).expect(130, "interrupted: shutting down")
    host.assert_nothing_left(10)


@pytest.mark.long  # three boots; test_75 does the same to the driver
def test_the_disk_stays_through_crash_shutdown_and_reboot(host: Host) -> None:
    host.run(*MACHINES, "test", str(SCRIPTS / "power.py"), limit=LIMIT).expect(
        0, "✔ crash, and start with the same disk"
    )


@pytest.mark.long  # all browser tests of the shipped environment
def test_the_script_of_the_specification(host: Host) -> None:
    """Word for word, with services and browser tests of the shipped environment; from its saved state and cold."""
    script = str(SCRIPTS / "spec.py")
    shipped = ("--file", str(HERE.parents[1] / "orchestrator.toml"))
    done = host.run(*shipped, "test", "--free-ports", script, limit=900)
    done.expect(0, "✔ spec", "service client: healthy")
    folder = host.latest
    assert list((folder / "playwright").rglob("*.json")), "no artifacts of the browser tests"
