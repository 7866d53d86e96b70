"""What clones left becomes one summary, one JUnit file, one page."""

from __future__ import annotations

import json
import xml.etree.ElementTree as ElementTree
from pathlib import Path

import pytest

from orchestrator.report.clones import read_parts, worst, write_clones

JUNIT = (
    '<testsuites><testsuite name="services" tests="3" failures="0" errors="0" skipped="0">'
    '<testcase name="a"/><testcase name="b"/><testcase name="c"/></testsuite>'
    '<testsuite name="stack" tests="2" failures="1" errors="0" skipped="0">'
    '<testcase name="x"><failure message="no"/></testcase><testcase name="y"/></testsuite></testsuites>'
)


def left(folder: Path, clone: str, outcome: str, code: int, *, cause: str = "", **tests: int) -> Path:
    """A clone's run folder, as its own command leaves it."""
    run = folder / "clones" / clone / "20260102T030405Z-abc123"
    (run / "report").mkdir(parents=True)
    (run.parent / "latest").symlink_to(run.name)
    summary = {"outcome": outcome, "exit_code": code, "cause": cause, "tests": tests, "seconds": {"total": 4.5}}
    (run / "summary.json").write_text(json.dumps(summary))
    (run / "junit.xml").write_text(JUNIT)
    return run


def test_numbers_add_up_and_the_worst_outcome_counts(tmp_path: Path) -> None:
    left(tmp_path, "t-10", "passed", 0, passed=4, failed=0, flaky=1, skipped=0)
    left(tmp_path, "t-2", "failed", 1, cause="1 of 3 browser tests failed", passed=2, failed=1, skipped=2)
    left(tmp_path, "t-3", "nothing-ran", 4, passed=0)
    summary = write_clones(tmp_path, {"environment": "t"})
    assert (summary["outcome"], summary["exit_code"]) == ("failed", 1)
    assert summary["tests"] == {"passed": 6, "failed": 1, "flaky": 1, "skipped": 2, "did_not_run": 0}
    assert [clone["name"] for clone in summary["clones"]] == ["t-2", "t-3", "t-10"], "in the order of their numbers"
    assert json.loads((tmp_path / "summary.json").read_text()) == summary
    root = ElementTree.parse(tmp_path / "junit.xml").getroot()
    assert root.get("tests") == "15" and root.get("failures") == "3"
    assert {suite.get("name") for suite in root} >= {"t-2 services", "t-10 stack"}
    assert write_clones(tmp_path)["environment"] == "t", "written again, it knows what it was"
    page = (tmp_path / "report/index.html").read_text()
    assert 'href="../clones/t-2/20260102T030405Z-abc123/report/index.html"' in page
    assert "1 of 3 browser tests failed" in page


@pytest.mark.parametrize(
    ("outcomes", "expected"),
    [
        ([("passed", 0), ("nothing-ran", 4)], ("passed", 0)),
        ([("nothing-ran", 4), ("nothing-ran", 4)], ("nothing-ran", 4)),
        ([("failed", 1), ("error", 3)], ("error", 3)),
        ([("interrupted", 130), ("failed", 1)], ("interrupted", 130)),
        ([("something else", 0), ("passed", 0)], ("error", 3)),
        ([], ("error", 3)),
    ],
)
def test_the_worst(tmp_path: Path, outcomes: list[tuple[str, int]], expected: tuple[str, int]) -> None:
    for number, (outcome, code) in enumerate(outcomes, 1):
        left(tmp_path, f"t-{number}", outcome, code)
    assert worst(read_parts(tmp_path)) == expected


def test_clones_that_left_nothing_or_rubbish_are_errors_and_no_traceback(tmp_path: Path) -> None:
    (tmp_path / "clones/t-1").mkdir(parents=True)
    run = left(tmp_path, "t-2", "passed", 0, passed=1)
    (run / "summary.json").write_text("[")
    (run / "junit.xml").write_text("<testsuites><")
    left(tmp_path, "t-3", "<b>passed", 0, cause="<script>")
    summary = write_clones(tmp_path, {})
    assert (summary["outcome"], summary["exit_code"]) == ("error", 3)
    assert [clone["outcome"] for clone in summary["clones"]] == ["error", "error", "error"]
    assert "<script>" not in (tmp_path / "report/index.html").read_text()


def planned(run: Path, *, here: str, elsewhere: str) -> None:
    """What a clone's runner told of its shard, and of the others'."""
    lines = [
        {
            "kind": "test.planned",
            "subject": f"a.spec.ts › {name}",
            "phase": "stack",
            "id": name,
            "time": "2026-01-02",
            **({"elsewhere": True} if name in elsewhere else {}),
        }
        for name in here + elsewhere
    ]
    (run / "events.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))


def test_a_test_that_was_in_no_clones_shard_is_a_failure_that_names_it(tmp_path: Path) -> None:
    first = left(tmp_path, "t-1", "passed", 0, passed=1)
    second = left(tmp_path, "t-2", "nothing-ran", 0, cause="its shard is empty, other shards have all 3 tests")
    planned(first, here="a", elsewhere="bc")
    planned(second, here="", elsewhere="abc")
    summary = write_clones(tmp_path, {})
    assert (summary["outcome"], summary["exit_code"]) == ("failed", 1)
    assert summary["missing"] == ["a.spec.ts › b", "a.spec.ts › c"]
    assert summary["tests"]["did_not_run"] == 2
    assert "2 browser tests ran in no clone, first: a.spec.ts › b" in (tmp_path / "report/index.html").read_text()
    cases = ElementTree.parse(tmp_path / "junit.xml").getroot().findall("testsuite[@name='in no clone']/testcase")
    assert [case.get("name") for case in cases] == summary["missing"]
    assert all(case.find("error") is not None for case in cases)
    planned(second, here="bc", elsewhere="a")
    assert write_clones(tmp_path, {})["outcome"] == "passed"


def test_an_empty_shard_beside_a_full_one_is_no_failure(tmp_path: Path) -> None:
    left(tmp_path, "t-1", "passed", 0, passed=1)
    left(tmp_path, "t-2", "nothing-ran", 0, cause="its shard is empty, other shards have all 1 tests")
    summary = write_clones(tmp_path, {})
    assert (summary["outcome"], summary["exit_code"]) == ("passed", 0)
    assert "its shard is empty" in summary["clones"][1]["cause"]
