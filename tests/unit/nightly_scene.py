"""Nights without machines: `orchestrator run` is a program that writes the run folder of an invented run."""

from __future__ import annotations

import json
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
from cli_process import Cli

from orchestrator.cli.main import main
from orchestrator.nightly import commands

Step = Mapping[str, Any] | None  # a run; None: it leaves no run folder

LIB = Path(__file__).parents[2] / "scripts/lib"
sys.path.insert(0, str(LIB))

FAKE = '''\
"""Writes the run folder that a plan says, and ends with its code. The plan: cell → runs of the night, in order."""
import json, os, sys, time
from pathlib import Path
sys.path.insert(0, {lib!r})
from night_runs import InventedRun
words = sys.argv[1:]
plan = Path({plan!r})
data = json.loads(plan.read_text())
if "build" in words:
    print("nothing to build" if not data.get("build") else "the build failed")
    sys.exit(data.get("build", 0))
runs = Path(words[words.index("--runs") + 1])
steps = data["cells"][runs.name]
step = steps.pop(0)
plan.write_text(json.dumps(data))
with Path({log!r}).open("a") as log:
    log.write(json.dumps(words) + "\\n")
if step is None:
    print("error: no image")
    sys.exit(3)
number = data["number"] = data.get("number", 0) + 1
plan.write_text(json.dumps(data))
command = "orchestrator " + " ".join(words[words.index("run"):])
InventedRun(number, step["tests"], step.get("revisions", {{}}), step.get("outcome", ""), started=time.time(),
            command=command, environment=words[words.index("--name") + 1]).write(runs)
failed = any(one.endswith("f") for one in step["tests"].values())
sys.exit(step.get("code", 1 if failed else 0))
'''

SUITE = """
[suite]
machine = "alpha"
path = "suite"
command = ["true"]
user = "test"
"""


@dataclass
class NightlyScene:
    """A topology with ``[nightly]`` in a folder of its own; commands run in this process.

    Attributes:
        said: what the last command printed on stderr.
    """

    folder: Path
    patch: pytest.MonkeyPatch
    capture: pytest.CaptureFixture[str]
    settings: str = ""
    said: str = ""

    def __post_init__(self) -> None:
        for name, value in Cli(self.folder).environment.items():
            self.patch.setenv(name, value)
        self.patch.chdir(self.folder)
        self.patch.setattr(commands, "PROGRAM", (sys.executable, str(self.folder / "fake.py")))
        (self.folder / "suite").mkdir()
        (self.folder / "suite/package.json").write_text("{}")
        topology = self.folder / "orchestrator.toml"
        topology.write_text(topology.read_text() + SUITE + self.settings)
        (self.folder / "fake.py").write_text(FAKE.format(lib=str(LIB), plan=str(self.plan), log=str(self.log)))

    @property
    def plan(self) -> Path:
        return self.folder / "plan.json"

    @property
    def log(self) -> Path:
        return self.folder / "called.jsonl"

    @property
    def calls(self) -> list[list[str]]:
        """The words of each `run` so far."""
        return [json.loads(line) for line in self.log.read_text().splitlines()] if self.log.exists() else []

    def command(self, *words: str) -> tuple[int, str]:
        """A command; its exit code and stdout."""
        self.capture.readouterr()
        code = main(words)
        found = self.capture.readouterr()
        self.said = found.err
        return code, found.out

    def prepare(self, cells: Mapping[str, Sequence[Step]], *, build: int = 0) -> None:
        """What the runs of the next night are."""
        number = json.loads(self.plan.read_text()).get("number", 0) if self.plan.exists() else 0
        self.plan.write_text(json.dumps({"cells": cells, "build": build, "number": number}))

    def night(self, *steps: Step, code: int, build: int = 0) -> dict[str, Any]:
        """One night whose only cell runs these steps; what its ``night.json`` says."""
        self.prepare({"run": steps}, build=build)
        found, _ = self.command("nightly")
        assert found == code, self.said
        return self.latest

    @property
    def latest(self) -> dict[str, Any]:
        found = json.loads((self.folder / "runs/latest-night/night.json").read_text())
        assert isinstance(found, dict)
        return found

    @property
    def cell(self) -> dict[str, Any]:
        """The first cell of the last night."""
        found = self.latest["cells"][0]
        assert isinstance(found, dict)
        return found
