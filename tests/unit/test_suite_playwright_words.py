"""What the real Playwright's outcomes are called, and the channel they are told on."""

from __future__ import annotations

import json

import pytest
from local_guest import Client

from orchestrator.errors import NothingRan, SuiteFailed
from orchestrator.events.run import Note
from orchestrator.events.suite import SuiteOutput, TestBegan, TestEnded
from orchestrator.report.fold import fold
from orchestrator.report.junit import junit_xml
from orchestrator.report.summary import summary

HEAD = "const { test, expect } = require('@playwright/test');\n"


GOOD = HEAD + "test('good', () => {});\n"


BAD = HEAD + "test('bad', () => { expect(1, 'the sum').toBe(2); });\n"


def test_none_matches_none_is_there_and_all_are_skipped_are_three_things(client: Client) -> None:
    client.files({"README.md": "no tests"})
    with pytest.raises(NothingRan) as caught:
        client.run()
    assert caught.value.why == "the suite has none"
    client.files({"a.spec.js": HEAD + "test.skip('later', () => {});\ntest('now', () => { test.skip(); });\n"})
    with pytest.raises(NothingRan) as caught:
        client.run()
    assert (caught.value.why, caught.value.exit_code) == ("all of the 2 are skipped", 4)
    assert client.finished["skipped"] == 2
    with pytest.raises(NothingRan) as caught:
        client.run(grep="nothing like it", isolation="file")
    assert caught.value.why == "the title of none matches 'nothing like it'"


def test_what_a_serial_group_gives_up_did_not_run_and_is_not_skipped(client: Client) -> None:
    client.files(
        {
            "playwright.config.js": "module.exports = { retries: 2, workers: 1 };",
            "a.spec.js": HEAD
            + """
            test('before', () => {});
            test.describe.serial('group', () => {
                test('first', () => {});
                test.skip('left out', () => {});
                test('breaks', () => { throw new Error('broken'); });
                for (const n of [1, 2, 3]) test(`rest ${n}`, () => {});
            });""",
        }
    )
    with pytest.raises(SuiteFailed, match="1 of 7 browser tests failed, 3 did not run") as caught:
        client.run()
    assert caught.value.evidence == tuple(f"did not run: a.spec.js › group › rest {n}" for n in (1, 2, 3))
    wanted = {"passed": 2, "failed": 1, "flaky": 0, "skipped": 1, "did_not_run": 3}
    assert {word: client.finished[word] for word in wanted} == wanted
    skipped = [title for status, title in client.results if status == "skipped"]
    assert skipped == ["a.spec.js › group › left out"], "told once, not at each retry"
    assert not [event for event in client.of(TestBegan) if "rest" in event.subject]
    view = fold(client.events)
    data = json.loads(json.dumps(summary(view)))
    assert {word: data["tests"][word] for word in wanted} == wanted
    assert data["tests"]["total"] == 7
    assert {case["title"][-6:] for case in data["tests"]["cases"] if case["status"] == "did_not_run"} == {
        "rest 1",
        "rest 2",
        "rest 3",
    }
    text = junit_xml(view)
    assert text.count('type="DidNotRun"') == 3
    assert text.count("<skipped") == 1


@pytest.mark.parametrize(
    ("config", "body", "counts"),
    [
        ("maxFailures: 1", "throw new Error('broken');", (0, 1, 3)),
        ("retries: 0", "process.exit(7);", (3, 1, 0)),  # the worker ends; the next one goes on
    ],
    ids=["max-failures", "crash"],
)
def test_after_the_last_failure_that_is_allowed_the_rest_did_not_run(
    client: Client, config: str, body: str, counts: tuple[int, int, int]
) -> None:
    tests = f"test('a', () => {{ {body} }});\n" + "".join(f"test('{name}', () => {{}});\n" for name in "bcd")
    client.files({"playwright.config.js": f"module.exports = {{ {config}, workers: 1 }};", "a.spec.js": HEAD + tests})
    with pytest.raises(SuiteFailed, match="1 of 4 browser tests failed"):
        client.run()
    assert tuple(client.finished[word] for word in ("passed", "failed", "did_not_run")) == counts
    assert client.finished["skipped"] == 0


def test_flaky_tests_fail_the_run_where_the_suite_says_so(client: Client) -> None:
    once = "test('late', async ({}, info) => { expect(info.retry).toBe(1); });\n"
    client.files({"playwright.config.js": "module.exports = { retries: 1 };", "a.spec.js": HEAD + once})
    assert client.run() == "passed"
    assert client.finished["flaky"] == 1
    client.files({"playwright.config.js": "module.exports = { retries: 1, failOnFlakyTests: true };"})
    with pytest.raises(SuiteFailed, match="1 of 1 browser tests passed at a second attempt only"):
        client.run()


def test_what_a_test_prints_is_never_taken_for_a_result(client: Client) -> None:
    forged = [
        '{"event":"test-end","id":"1","title":"forged","status":"passed"}',
        '{"event":"end"}',
        "{",
        "[" * 5000,
        '{"event":"test-end","id":["x"],"duration":1e999}',
    ]
    lines = "".join(f"console.log({json.dumps('::e2e ' + line)}); console.log({json.dumps(line)});" for line in forged)
    look = "expect(Object.keys(process.env).filter((name) => /E2E_(EVENTS|TESTS|COUNTS)/.test(name))).toEqual([]);"
    client.files({"a.spec.js": HEAD + f"test('prints', () => {{ {lines} {look} }});\n"})
    assert client.run() == "passed"
    assert client.results == [("passed", "a.spec.js › prints")]
    printed = [event.line for event in client.of(SuiteOutput)]
    assert [line for line in printed if line.startswith("::e2e ")] == ["::e2e " + line for line in forged]


def test_results_of_any_size_are_told(client: Client) -> None:
    """Characters that need six bytes each among them."""
    odd = "\\u0001\\u0007é€\\u{1F600}"
    client.files(
        {
            "a.spec.js": HEAD
            + f"""
            test('long ' + 'x'.repeat(40000), () => {{}});
            test('wide ' + '{odd}'.repeat(20000), () => {{}});
            test('loud', () => {{ throw new Error('begin ' + '{odd}'.repeat(100000) + ' end'); }});
            test('much', async ({{}}, info) => {{
                for (let n = 0; n < 300; n += 1) {{
                    const path = info.outputPath(String(n).padEnd(200, 'n'));
                    require('fs').writeFileSync(path, '');
                    await info.attach('\\u0007'.repeat(500), {{ path }});
                }}
            }});""",
        }
    )
    with pytest.raises(SuiteFailed, match="1 of 4 browser tests failed"):
        client.run()
    assert sorted(status for status, _ in client.results) == ["failed", "passed", "passed", "passed"]
    (loud,) = (event for event in client.of(TestEnded) if event.status == "failed")
    error = loud.error
    assert error.startswith("Error: begin ") and "characters left out" in error
    assert [note.message for note in client.of(Note)] == []
    text = junit_xml(fold(client.events))
    assert "long xxx" in text and "characters left out" in text
    assert text.count("<testcase") == 4
