"""`dev` on real machines: files of the application are edited, broken and fixed, and the test tells of each."""

from __future__ import annotations

import json
import shutil
import signal
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from conftest import MEASURES
from host import HERE, ROOT, Host, Running, collected, edited_topology, second_phase

NAME = "vm-dev"


@dataclass
class Loop:
    """A running `dev`, the folders it watches, and what it printed."""

    host: Host
    app: Path
    suite: Path
    running: Running

    @property
    def rounds(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.running.stdout.splitlines() if line.endswith("}")]

    def round(self, number: int) -> dict[str, Any]:
        """The round of this number, when it is over."""
        self.running.until(lambda: len(self.rounds) >= number, 300, f"round {number}")
        found = self.rounds[number - 1]
        assert found["number"] == number
        return found

    def edit(self, name: str, old: str, new: str) -> None:
        path = self.app / name
        text = path.read_text()
        assert old in text
        path.write_text(text.replace(old, new))


@pytest.fixture
def loop(vm: Host, tmp_path: Path) -> Iterator[Loop]:
    """`dev` in an environment of its own, from the state that the shared one has saved."""
    app, suite = tmp_path / "app", tmp_path / "suite"
    shutil.copytree(ROOT / "standin", app, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(HERE / "suites/plain", suite)
    file = edited_topology(
        tmp_path,
        ('command = ["run-e2e-tests"]\nprepare = ["run-e2e-tests", "--prepare"]', 'command = ["sh", "run.sh"]'),
        (second_phase(), ""),
        ('unit = "alicia.service"\ntimeout = 2.5', 'unit = "alicia.service"\ntimeout = 30'),
        ('path = "../../suite"', f'path = "{suite}"'),
    )
    words = ("--file", str(file), "-n", NAME, "--progress", "plain", "dev", "--app", str(app), "--json")
    running = vm.start(*words)
    with collected(running):
        yield Loop(vm, app, suite, running)


def test_an_edit_is_brought_in_a_broken_application_is_told_and_a_mended_one_passes(loop: Loop) -> None:
    first = loop.round(1)
    assert (first["outcome"], first["passed"], first["deployed"]) == ("passed", 1, "started from stage healthy")

    loop.edit("lib/alicia_standin/extras.py", '{"status": "ok"', '{"status": "ok", "word": "edited"')
    edited = loop.round(2)
    assert (edited["outcome"], edited["passed"], edited["cause"]) == (
        "passed",
        1,
        "app/lib/alicia_standin/extras.py",
    )
    assert edited["deployed"] == "layer app brought in, 4 of 9 services started again"
    assert '"word":"edited"' in loop.host.guest("client", "curl -s http://server/health", name=NAME).replace(" ", "")

    (loop.suite / "answer.txt").write_text("edited\n")
    assert loop.round(3)["outcome"] == "passed", "the new answer is what the test wants now"

    loop.edit("lib/alicia_standin/extras.py", "def healthy", "def is broken")
    broken = loop.round(4)
    assert broken["outcome"] == "error"
    assert "service backend" in broken["error"]

    loop.edit("lib/alicia_standin/extras.py", "def is broken", "def healthy")
    fixed = loop.round(5)
    assert (fixed["outcome"], fixed["passed"]) == ("passed", 1)

    page = "share/alicia/frontend/index.html"
    loop.edit(page, "</body>", "<!-- a new page --></body>")
    static = loop.round(6)
    assert static["deployed"] == "layer app brought in, no service started again"
    assert "a new page" in loop.host.guest("client", "curl -s http://server/", name=NAME)
    for told in (first, edited, broken, fixed, static):
        MEASURES.append(f"dev, {told['cause']}: {told['outcome']} in {told['elapsed']:.1f} s")

    loop.running.send(signal.SIGINT)
    done = loop.running.wait(60).expect(130, "environment vm-dev is down")
    assert "Traceback" not in done.stderr
    assert NAME not in loop.host.run("status", "--all").stdout
