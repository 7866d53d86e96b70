"""The pytest plugin on real machines: a run of its own, in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from importlib.metadata import entry_points
from pathlib import Path
from xml.etree import ElementTree

from conftest import MEASURES
from host import HERE, Done, Host

from orchestrator.deadline import monotonic

# The plugin is loaded by its entry point, where it is installed.
INSTALLED = any(point.name == "orchestrator" for point in entry_points(group="pytest11"))
PLUGIN = () if INSTALLED else ("-p", "orchestrator.pytest_plugin")
TESTS = """
import asyncio

def test_passes(environment, server):
    server.succeed("logger --tag before a line of the first test")
    assert server.succeed("systemctl is-active nginx") == "active\\n"
    assert server.testinfra.service("nginx").is_running
    server.succeed("touch /root/of-a-test")

def test_fails(server, client):
    server.succeed("test -e /root/of-a-test", "logger --tag during a line of the second test")
    client.succeed("exit 3")

def test_finds_the_machines_reset(async_environment, server):
    server.fail("test -e /root/of-a-test")
    assert asyncio.run(async_environment.client.succeed("hostname")) == "client\\n"
"""


def run_pytest(host: Host, folder: Path, *words: str) -> Done:
    """pytest as a user calls it, in a folder with these tests."""
    argv = (sys.executable, "-m", "pytest", *PLUGIN, "-p", "no:cacheprovider", "-p", "no:asyncio", *words)
    began = monotonic()
    done = subprocess.run(argv, cwd=folder, env=host.environment(), capture_output=True, timeout=600, check=False)
    return Done(argv, done.returncode, done.stdout, done.stderr.decode("utf-8", "replace"), monotonic() - began)


def test_a_run_with_a_failed_test(bare: Host, tmp_path: Path) -> None:
    (tmp_path / "test_machines.py").write_text(TESTS)
    done = run_pytest(
        bare, tmp_path, f"--orch-file={HERE / 'orchestrator.toml'}", "--junit-xml=out.xml", "--durations=0"
    )
    MEASURES.append(f"pytest with three tests and a reset: {done.seconds:.1f} s")
    done.expect(1)
    assert "1 failed, 2 passed" in done.stdout, done.shown()
    assert "`exit 3` failed in client: exit code 3" in done.stdout, done.shown()

    folder = bare.latest
    kept = folder / "tests" / "test_machines.py-test_fails"
    names = {"server.png", "client.png", "server-journal.txt", "events.jsonl"}
    assert names <= {path.name for path in kept.iterdir()}
    assert (kept / "client.png").read_bytes().startswith(b"\x89PNG")
    journal = (kept / "server-journal.txt").read_text()
    assert ": a line of the second test" in journal

    cases = {case.get("name"): case for case in ElementTree.parse(tmp_path / "out.xml").getroot().iter("testcase")}
    properties = {one.get("value") for one in cases["test_fails"].iter("property")}
    assert str(kept / "server.png") in properties
    assert not list(cases["test_passes"].iter("property"))

    summary = json.loads((folder / "summary.json").read_text())
    assert (summary["outcome"], summary["tests"]["passed"], summary["tests"]["failed"]) == ("failed", 2, 1)
    assert [case["status"] for case in summary["tests"]["cases"]] == ["passed", "failed", "passed"]
    assert all(case["seconds"] > 0 for case in summary["tests"]["cases"])
    bare.assert_nothing_left(within=10)
