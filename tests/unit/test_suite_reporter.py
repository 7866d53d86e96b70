"""event-reporter.cjs, driven with made-up results by the real node."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

REPORTER = Path(__file__).parents[2] / "debian-images/client-tools/event-reporter.cjs"
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
reporter.onBegin({ allTests: () => tests.map(([test]) => test) });
for (const [test, attempts] of tests) {
  attempts.forEach((attempt, retry) => {
    const result = { retry, duration: 1500, errors: [], attachments: [], ...attempt };
    reporter.onTestBegin(test, result);
    if (plan.noise) process.stdout.write(plan.noise);
    test.results.push(result);
    reporter.onTestEnd(test, result);
  });
}
for (const error of plan.errors ?? []) reporter.onError(error);
reporter.onEnd({ status: 'failed', duration: 4200 });
"""


def events(tmp_path: Path, tests: list[dict[str, Any]], **plan: Any) -> list[dict[str, Any]]:
    """What the reporter prints for these tests, and the count it writes down under ``executed`` of the last."""
    counts = tmp_path / "counts"
    done = subprocess.run(
        ["node", "-e", DRIVER, str(REPORTER)],
        input=json.dumps({"tests": tests, **plan}),
        env={"PATH": "/usr/local/bin:/usr/bin:/bin", "ARTIFACT_DIR": "/artifacts", "E2E_COUNTS_FILE": str(counts)},
        capture_output=True,
        text=True,
        timeout=30,
        check=True,
    )
    lines = [json.loads(line[6:]) for line in done.stdout.splitlines() if line.startswith("::e2e ")]
    lines[-1]["executed"] = int(counts.read_text())
    return lines


def ends(found: list[dict[str, Any]]) -> list[dict[str, Any]]:
    return [event for event in found if event["event"] == "test-end"]


def test_a_passed_test_is_told_with_its_place(tmp_path: Path) -> None:
    found = events(tmp_path, [{"title": "works", "attempts": [{"status": "passed"}]}])
    assert [event["event"] for event in found] == ["begin", "test-begin", "test-end", "end"]
    assert found[0]["total"] == 1
    end = found[2]
    assert end["title"] == "a.spec.ts › group › works"
    assert (end["file"], end["line"], end["index"], end["total"]) == ("a.spec.ts", 1, 1, 1)
    assert (end["status"], end["duration"], end["final"]) == ("passed", 1.5, True)
    assert "error" not in end


def test_only_the_final_retry_of_a_test_that_passes_late_is_flaky(tmp_path: Path) -> None:
    broken = {"status": "failed", "errors": [{"message": "no"}]}
    found = events(tmp_path, [{"title": "late", "retries": 1, "attempts": [broken, {"status": "passed"}]}])
    seen = [(end["status"], end["final"], end["retry"]) for end in ends(found)]
    assert seen == [("failed", False, 0), ("flaky", True, 1)]
    assert (found[-1]["flaky"], found[-1]["failed"], found[-1]["executed"]) == (1, 0, 1)


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


def test_the_error_is_bounded_and_free_of_escapes(tmp_path: Path) -> None:
    error = {"message": "\x1b[31mstart\x1b[39m " + "x" * 30_000 + " finish"}
    found = events(tmp_path, [{"title": "big", "attempts": [{"status": "timedOut", "errors": [error]}]}])
    text = ends(found)[0]["error"]
    assert text.startswith("start x")
    assert text.endswith(" finish")
    assert "\x1b" not in text
    assert len(text) < 9000
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


def test_an_event_starts_a_line_of_its_own_after_half_a_line_of_another_reporter(tmp_path: Path) -> None:
    found = events(tmp_path, [{"title": "dotted", "attempts": [{"status": "passed"}]}], noise="·")
    assert [event["event"] for event in found] == ["begin", "test-begin", "test-end", "end"]


def test_the_end_tells_skipped_from_not_run_and_counts_what_was_executed(tmp_path: Path) -> None:
    found = events(
        tmp_path,
        [
            {"title": "skipped", "attempts": [{"status": "skipped"}]},
            {"title": "stopped", "attempts": [{"status": "interrupted"}]},
            {"title": "never", "attempts": []},
        ],
        errors=[{"message": "a file does not load", "location": {"file": "b.ts", "line": 2, "column": 3}}],
    )
    end = found[-1]
    assert (end["total"], end["skipped"], end["did_not_run"], end["executed"]) == (3, 1, 2, 0)
    assert end["errors"] == ["a file does not load\n\nat b.ts:2:3"]


def test_a_project_is_part_of_the_title(tmp_path: Path) -> None:
    found = events(tmp_path, [{"title": "works", "attempts": [{"status": "passed"}]}], project="phone")
    assert ends(found)[0]["title"] == "[phone] › a.spec.ts › group › works"
