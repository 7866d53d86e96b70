"""What cells left becomes one summary, one JUnit file, one page; the failures first."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest
from test_report_clones import JUNIT, planned

from orchestrator.report.matrix import CellPart, worst, write_again, write_matrix

ABOUT = {"run_id": "r", "environment": "t", "command": "orchestrator matrix", "seconds": {"total": 9.0}, "left": []}


def part(
    root: Path, name: str, outcome: str, code: int, *, group: str = "", host: str = "one", **tests: int
) -> CellPart:
    """A cell that left a run folder."""
    folder = f"cells/{name}/1/20260102T030405Z-abc123"
    (root / folder / "report").mkdir(parents=True)
    (root / folder / "summary.json").write_text(json.dumps({"outcome": outcome, "exit_code": code, "tests": tests}))
    (root / folder / "junit.xml").write_text(JUNIT)
    return CellPart(name, group or name, outcome, code, f"{name} <did>", host, 1, 4.0, folder, began=100.0)


def test_numbers_add_up_and_failures_come_first(tmp_path: Path) -> None:
    cells = [part(tmp_path, "a", "passed", 0, passed=4), part(tmp_path, "b", "failed", 1, passed=1, failed=2)]
    cells.append(CellPart("c", "c", "error", 3, "no host began it", began=0.0))
    summary = write_matrix(tmp_path, cells, ABOUT)
    assert (summary["outcome"], summary["exit_code"]) == ("error", 3)
    assert summary["cause"] == "2 of 3 cells: b: b <did>"
    assert summary["tests"] == {"passed": 5, "failed": 2, "flaky": 0, "skipped": 0, "did_not_run": 0}
    root = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert {suite.get("name") for suite in root} == {"a services", "a stack", "b services", "b stack", "c cell"}
    assert (root.get("tests"), root.get("failures"), root.get("errors")) == ("11", "2", "1")
    page = (tmp_path / "report/index.html").read_text()
    assert page.index(">c<") < page.index(">b<") < page.index(">a<")
    assert 'href="../cells/a/1/20260102T030405Z-abc123/report/index.html"' in page and "<did>" not in page
    assert write_again(tmp_path) == summary, "written again, it is the same"


@pytest.mark.parametrize(
    ("cells", "expected"),
    [
        ([("passed", 0), ("nothing-ran", 4)], ("passed", 0)),
        ([("suspicious", 0), ("passed", 0)], ("suspicious", 0)),
        ([("failed", 1), ("error", 124)], ("error", 124)),
        ([("interrupted", 130), ("failed", 1)], ("interrupted", 130)),
        ([("odd", None)], ("error", 3)),
        ([], ("error", 3)),
    ],
)
def test_one_exit_code_of_all(cells: list[tuple[str, int | None]], expected: tuple[str, int]) -> None:
    assert worst([CellPart(str(n), "", outcome, code) for n, (outcome, code) in enumerate(cells)]) == expected


def test_a_test_that_no_shard_ran_is_a_failure(tmp_path: Path) -> None:
    one, two = part(tmp_path, "1of2", "passed", 0, group="g"), part(tmp_path, "2of2", "passed", 0, group="g")
    planned(tmp_path / one.folder, here="a", elsewhere="bc")
    planned(tmp_path / two.folder, here="b", elsewhere="ac")
    summary = write_matrix(tmp_path, [one, two], ABOUT)
    assert (summary["outcome"], summary["exit_code"]) == ("failed", 1)
    assert summary["missing"] == ["a.spec.ts › c"]
    assert "1 browser tests ran in no cell" in (tmp_path / "report/index.html").read_text()
    planned(tmp_path / two.folder, here="bc", elsewhere="a")
    assert write_matrix(tmp_path, [one, two], ABOUT)["outcome"] == "passed"


def test_what_was_left_running_is_an_error(tmp_path: Path) -> None:
    cells = [part(tmp_path, "a", "passed", 0, passed=1)]
    summary = write_matrix(tmp_path, cells, {**ABOUT, "left": ["one: environment t-1 still runs"]})
    assert (summary["outcome"], summary["exit_code"]) == ("error", 3)
    assert "environment t-1 still runs" in (tmp_path / "report/index.html").read_text()


def test_the_timeline_has_a_lane_for_each_cell_at_a_time(tmp_path: Path) -> None:
    cells = [part(tmp_path, name, "passed", 0, host=host) for name, host in (("a", "one"), ("b", "one"), ("c", "two"))]
    write_matrix(tmp_path, cells, ABOUT)
    page = (tmp_path / "report/index.html").read_text()
    assert page.count('<div class="bar">') == 3 and "<p>one</p>" in page and "<p>two</p>" in page
