"""event-reporter.cjs, driven with made-up results by the real node."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from orchestrator.environment.suite_events import LINE_LIMIT, parse

REPORTER = Path(__file__).parents[2] / "orchestrator/images/bases/browser/event-reporter.cjs"
pytestmark = pytest.mark.skipif(shutil.which("node") is None, reason="node is not installed")

# Plays Playwright's part: tests and their attempts come as JSON on stdin.
DRIVER = """
const Reporter = require(process.argv[1]);
const plan = JSON.parse(require('node:fs').readFileSync(0, 'utf8'));
const reporter = new Reporter({});
const tests = plan.tests.map((one, index) => {
  const test = {
    id: String(index), retries: one.retries ?? 0, expectedStatus: one.expected ?? 'passed',
    location: { file: '/suite/tests/a.spec.ts', line: index + 1, column: 1 },
    titlePath: () => ['', plan.project ?? '', 'a.spec.ts', 'group', one.title], results: [],
    parent: { type: 'describe', parent: { type: 'file', location: { file: '/suite/tests/a.spec.ts' } } },
    outcome() {
      const seen = this.results.filter((r) => r.status !== 'skipped' && r.status !== 'interrupted');
      if (!seen.length) return 'skipped';
      const good = seen.filter((r) => r.status === this.expectedStatus).length;
      return good === seen.length ? 'expected' : good ? 'flaky' : 'unexpected';
    },
  };
  return [test, one.attempts];
});
reporter.onConfigure({ rootDir: '/suite/tests', version: '9.9.9' });
const all = tests.map(([test]) => test);
const projectSuite = { project: () => ({ name: plan.project ?? '' }), allTests: () => all };
reporter.onBegin({ allTests: () => all, suites: [projectSuite] });
for (const [test, attempts] of tests) {
  attempts.forEach((attempt, retry) => {
    const result = { retry, duration: 1500, errors: [], attachments: [], ...attempt };
    reporter.onTestBegin(test, result);
    test.results.push(result);
    reporter.onTestEnd(test, result);
  });
}
for (const error of plan.errors ?? []) reporter.onError(error);
reporter.onEnd({ status: 'failed', duration: 4200 });
"""


def events(tmp_path: Path, tests: list[dict[str, Any]], **plan: Any) -> list[dict[str, Any]]:
    """What the reporter tells of these tests, and the count it writes down under ``executed`` of the last."""
    counts, channel = tmp_path / "counts", tmp_path / "events"
    done = subprocess.run(
        ["node", "-e", DRIVER, str(REPORTER)],
        input=json.dumps({"tests": tests, **plan}),
        env={
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "ARTIFACT_DIR": "/artifacts",
            "E2E_COUNTS_FILE": str(counts),
            "E2E_EVENTS": str(channel),
        },
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert (done.stdout, done.stderr) == ("", ""), "what it tells goes no other way"
    raw = channel.read_bytes().splitlines(keepends=True)
    assert max(map(len, raw)) < LINE_LIMIT
    assert not [line for line in raw if parse(line) is None], "the other end understands all of it"
    lines: list[dict[str, Any]] = [json.loads(line) for line in raw]
    lines[-1]["executed"] = int(counts.read_text())
    return lines


def ends(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in found if event["event"] == "test-end"]


def test_a_passed_test_is_told_with_its_place(tmp_path: Path) -> None:
    found = events(tmp_path, [{"title": "works", "attempts": [{"status": "passed"}]}])
    assert [event["event"] for event in found] == ["begin", "planned", "test-begin", "test-end", "end"]
    assert found[0]["total"] == 1
    assert (found[1]["path"], found[1]["index"]) == ("/suite/tests/a.spec.ts", 1)
    end = found[3]
    assert end["id"] == found[1]["id"]
    assert end["title"] == "a.spec.ts › group › works"
    assert (end["file"], end["line"], end["index"], end["total"]) == ("a.spec.ts", 1, 1, 1)
    assert (end["status"], end["duration"], end["final"]) == ("passed", 1.5, True)
    assert "error" not in end


def test_only_the_final_retry_of_a_test_that_passes_late_is_flaky(tmp_path: Path) -> None:
    broken = {"status": "failed", "errors": [{"message": "no"}]}
    found = events(tmp_path, [{"title": "late", "retries": 1, "attempts": [broken, {"status": "passed"}]}])
    seen = [(end["status"], end["final"], end["retry"]) for end in ends(found)]
    assert seen == [("failed", False, 0), ("flaky", True, 1)]
    assert found[-1]["executed"] == 1


def test_an_expected_failure_passes_and_an_unexpected_success_fails(tmp_path: Path) -> None:
    broken = {"status": "failed", "errors": [{"message": "known"}]}
    found = events(
        tmp_path,
        [
            {"title": "known", "expected": "failed", "attempts": [broken]},
            {"title": "surprise", "expected": "failed", "attempts": [{"status": "passed"}]},
        ],
    )
    assert [end["status"] for end in ends(found)] == ["passed", "failed"]
    assert "expected to fail" in ends(found)[1]["error"]


@pytest.mark.parametrize("character", ["x", "\x01", "é", "\U0001f600", "\\"])
def test_the_error_is_bounded_and_free_of_escapes(tmp_path: Path, character: str) -> None:
    error = {"message": "\x1b[31mstart\x1b[39m x" + character * 30_000 + "x finish"}
    found = events(tmp_path, [{"title": "big", "attempts": [{"status": "timedOut", "errors": [error]}]}])
    text = ends(found)[0]["error"]
    assert text.startswith("start x")
    assert text.endswith(" finish")
    assert "\x1b" not in text
    assert 1_500 < len(text) <= 16_000
    assert ends(found)[0]["status"] == "timedOut"


def test_attachments_are_relative_and_inside_the_artifacts(tmp_path: Path) -> None:
    attachments = [
        {"name": "trace", "path": "/artifacts/test-results/t/trace.zip", "contentType": "application/zip"},
        {"name": "elsewhere", "path": "/etc/passwd", "contentType": "text/plain"},
        {"name": "in memory", "contentType": "text/plain"},
    ]
    found = events(tmp_path, [{"title": "kept", "attempts": [{"status": "passed", "attachments": attachments}]}])
    assert ends(found)[0]["attachments"] == [
        {"name": "trace", "path": "test-results/t/trace.zip", "content_type": "application/zip"}
    ]


def test_everything_long_at_once_is_one_line_that_can_be_read(tmp_path: Path) -> None:
    path = "/artifacts/" + "\x07" * 600
    attachments = [{"name": "\x07" * 5_000, "path": path, "contentType": "\x07" * 5_000}] * 100
    errors = [{"message": "\x07" * 100_000}] * 20
    attempt = {"status": "failed", "errors": errors, "attachments": attachments}
    (end,) = ends(events(tmp_path, [{"title": "\x07" * 50_000, "attempts": [attempt]}], errors=errors))
    assert end["status"] == "failed"
    assert "characters left out" in end["title"] and "characters left out" in end["error"]
    assert end["attachments"]


def test_skipped_is_told_once_and_what_was_given_up_is_not_told_as_skipped(tmp_path: Path) -> None:
    found = events(
        tmp_path,
        [
            {"title": "skipped", "expected": "skipped", "attempts": [{"status": "skipped"}] * 3},
            {"title": "given up", "attempts": [{"status": "skipped"}] * 3},
            {"title": "stopped", "attempts": [{"status": "interrupted"}]},
            {"title": "never", "attempts": []},
        ],
        errors=[{"message": "a file does not load", "location": {"file": "b.ts", "line": 2, "column": 3}}],
    )
    assert [(end["title"][-7:], end["status"]) for end in ends(found)] == [
        ("skipped", "skipped"),
        ("stopped", "interrupted"),
    ]
    assert [event["title"][-7:] for event in found if event["event"] == "test-begin"] == ["skipped", "stopped"]
    assert (found[-1]["total"], found[-1]["executed"]) == (4, 0)
    assert [event["text"] for event in found if event["event"] == "error"] == ["a file does not load\n\nat b.ts:2:3"]


def test_where_nobody_listens_it_is_quiet(tmp_path: Path) -> None:
    done = subprocess.run(
        ["node", "-e", DRIVER, str(REPORTER)],
        input=json.dumps({"tests": [{"title": "works", "attempts": [{"status": "passed"}]}]}),
        env={"PATH": "/usr/local/bin:/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    assert done.stdout == ""


def test_both_ends_have_one_limit() -> None:
    assert f"const LINE_LIMIT = {LINE_LIMIT};" in REPORTER.read_text()


def test_a_project_is_part_of_the_title(tmp_path: Path) -> None:
    found = events(tmp_path, [{"title": "works", "attempts": [{"status": "passed"}]}], project="phone")
    assert ends(found)[0]["title"] == "[phone] › a.spec.ts › group › works"
