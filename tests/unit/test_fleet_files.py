"""What travels to other hosts, what is known of earlier runs, recipes of the documentation, the settings of Dask."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from pathlib import Path

import pytest
from topology_samples import completed, write

from orchestrator.cli.progress_board import Board
from orchestrator.cli.progress_lines import LineWriter
from orchestrator.errors import UsageError
from orchestrator.events.fleet import CellOutput, CellStateChanged, HostStateChanged, MatrixStarted
from orchestrator.fleet.durations import DurationsFile, known_seconds
from orchestrator.fleet.evidence import outcome_of
from orchestrator.fleet.settings import SETTINGS
from orchestrator.fleet.travel import project_of
from orchestrator.topology.load import load_topology

ROOT = Path(__file__).parents[2]
PROJECT = """\
[layers.app]
source = "standin"
target = "/opt/app"
[services.web]
machine = "server"
unit = "web.service"
uses = ["app"]
[suite]
machine = "client"
path = "suite"
command = ["run"]
user = "test"
"""


def test_a_project_is_what_the_topology_names(tmp_path: Path) -> None:
    file = write(tmp_path, completed(PROJECT))
    (tmp_path / "server.toml").write_text('name = "server"\nsuite = "trixie"\npackages = []\nsize = "1GiB"\n')
    (tmp_path / "unrelated").mkdir()
    found = project_of([load_topology(file)])
    assert found.root == tmp_path and found.names == ["."], "the recipe is beside the topology: all of its folder"
    recipes = tmp_path / "recipes"
    recipes.mkdir()
    (tmp_path / "server.toml").rename(recipes / "server.toml")
    file.write_text(file.read_text().replace('"server.toml"', '"recipes/server.toml"'))
    found = project_of([load_topology(file)])
    assert found.names == ["orchestrator.toml", "recipes", "standin", "suite"]
    assert project_of([load_topology(file)]).key == found.key
    (tmp_path / "suite" / "b.spec.ts").touch()
    assert project_of([load_topology(file)]).key != found.key
    assert project_of([load_topology(file)], folders=True).names == ["."]


def test_durations_come_from_a_file_or_from_the_summary_of_a_matrix(tmp_path: Path) -> None:
    path = tmp_path / "d.json"
    path.write_text('{"a": 3, "b": 4.5}')
    assert known_seconds(DurationsFile(path), ["a", "c"]) == {"a": 3.0}
    path.write_text(json.dumps({"format": 2, "cells": [{"id": "a", "seconds": 7.5, "outcome": "passed"}]}))
    assert known_seconds(DurationsFile(path), ["a", "c"]) == {"a": 7.5}
    assert known_seconds(None, ["a"]) == {}
    for wrong in ("[]", '{"a": "x"}', "{", '{"cells": [1]}'):
        path.write_text(wrong)
        with pytest.raises(UsageError, match="has no durations"):
            DurationsFile(path)


def test_dask_never_starts_a_cell_again_or_judges_by_memory() -> None:
    from orchestrator.fleet.settings import configure_dask

    configure_dask()
    import dask

    for name, value in SETTINGS.items():
        assert dask.config.get(name) == value
    assert SETTINGS["distributed.scheduler.allowed-failures"] == 0
    assert SETTINGS["distributed.scheduler.work-stealing"] is False
    assert SETTINGS["distributed.worker.memory.terminate"] is False
    assert SETTINGS["distributed.scheduler.http.routes"] == []


def test_an_outcome_is_that_of_the_summary_only_where_the_exit_code_agrees() -> None:
    assert outcome_of(1, {"outcome": "failed", "exit_code": 1}) == "failed"
    assert outcome_of(137, {"outcome": "passed", "exit_code": 0}) == "error"
    assert outcome_of(4, {}) == "nothing-ran" and outcome_of(130, {}) == "interrupted"


def test_the_board_counts_cells_and_shows_where_they_are() -> None:
    board, lines = Board(), LineWriter(1)
    events = [
        MatrixStarted("t", run_id="r", run_folder="/r", cells=("a", "b"), hosts=("one",)),
        HostStateChanged("one", state="up", detail="8 GiB"),
        CellStateChanged("a", state="running", host="one", attempt=1),
        CellOutput("a", host="one", line="READY in 3 s"),
        CellStateChanged("b", state="failed", host="one", attempt=2, elapsed=3.0, detail="1 of 2 tests failed"),
    ]
    said = []
    for event in events:
        board.apply(event)
        said.append(lines.line(event))
    assert board.title == "t · 1 of 2 cells · 1 not passed"
    assert [(row.kind, row.name, row.mark) for row in board.rows] == [
        ("host", "one", "up"),
        ("cell", "a", "active"),
        ("cell", "b", "broken"),
    ]
    assert board.cells["a"].note == "READY in 3 s"
    assert said == [
        "matrix t: 2 cells on one",
        "host one: up: 8 GiB",
        "cell a: running on one",
        "[a] READY in 3 s",
        "cell b: failed on one, attempt 2 (3 s): 1 of 2 tests failed",
    ]


def test_the_recipe_for_slurm_runs_the_cell_of_its_task(tmp_path: Path) -> None:
    if subprocess.run(["sh", "-c", "command -v jq"], capture_output=True, check=False).returncode:
        pytest.skip("jq is not installed")
    text = (ROOT / "docs/fleet.md").read_text()
    (script,) = re.findall(r"```bash\n(#!/bin/bash\n# cell.sbatch.*?)```", text, re.DOTALL)
    (tmp_path / "cell.sbatch").write_text(script)
    cells = [{"words": ["--images=auto"]}, {"words": ["--images=debian", "--suite=/a folder", "--shard=1/2"]}]
    (tmp_path / "cells.json").write_text(json.dumps(cells))
    fake = tmp_path / "orchestrator"
    fake.write_text(f"#!{sys.executable}\nimport json, sys\nprint(json.dumps(sys.argv[1:]))\n")
    fake.chmod(0o755)
    done = subprocess.run(
        ["bash", "cell.sbatch"],
        cwd=tmp_path,
        env={"PATH": f"{tmp_path}:/usr/bin:/bin", "SLURM_ARRAY_TASK_ID": "2"},
        capture_output=True,
        text=True,
        check=True,
    )
    assert json.loads(done.stdout) == [
        *("run", "-n", "cell-2", "--free-ports", "--runs", "runs/2"),
        *("--images=debian", "--suite=/a folder", "--shard=1/2"),
    ]
