"""Whole runs of small suites by the real Playwright: which tests ran, against which were to run."""

from __future__ import annotations

import pytest
from local_guest import Client

from orchestrator.errors import GuestCommandError, SuiteFailed
from orchestrator.events.run import Note
from orchestrator.events.suite import SuiteError, SuiteStateChanged, TestBegan, TestEnded, TestPlanned
from orchestrator.report.clones import ClonePart, in_no_clone
from orchestrator.report.fold import fold
from orchestrator.report.junit import junit_xml
from orchestrator.topology.model import SuitePhase

HEAD = "const { test, expect } = require('@playwright/test');\n"
GOOD = HEAD + "test('good', () => {});\n"
BAD = HEAD + "test('bad', () => { expect(1, 'the sum').toBe(2); });\n"
# What a regular expression takes for something else, and what a name begins or ends with that another one is.
ODD = {
    "[id].spec.js": BAD,
    "with a blank.spec.js": GOOD,
    "c++.spec.js": GOOD,
    "login.spec.js": GOOD,
    "relogin.spec.js": GOOD,
    "admin/login.spec.js": GOOD,
    "(group)/$slug.spec.js": GOOD,
    "loop.spec.js": HEAD + "for (const n of [1, 2, 3]) test(`number ${n}`, () => {});\n",
}


def titles(client: Client) -> list[str]:
    return sorted(event.subject for event in client.of(TestEnded))


@pytest.mark.parametrize(("isolation", "fresh_states"), [("", 0), ("file", 8)])
def test_every_test_runs_once_whatever_it_and_its_file_are_called(
    client: Client, isolation: str, fresh_states: int
) -> None:
    client.files(ODD)
    with pytest.raises(SuiteFailed, match="1 of 10 browser tests failed") as caught:
        client.run(isolation=isolation)
    assert not caught.value.evidence, "none is missing"
    assert len(titles(client)) == len(set(titles(client))) == 10
    assert client.fresh_states == fresh_states, "one state is saved, and every part but the first begins again from it"
    files = {title.split(" › ")[0] for title in titles(client)}
    assert files == set(ODD)


def test_tests_made_in_a_loop_have_a_fresh_state_each_and_a_pattern_holds_in_all(client: Client) -> None:
    client.files({name: ODD[name] for name in ("[id].spec.js", "loop.spec.js", "c++.spec.js")})
    assert client.run(isolation="test", grep=r"number [12]|good") == "passed"
    assert client.fresh_states == 3
    assert titles(client) == ["c++.spec.js › good", "loop.spec.js › number 1", "loop.spec.js › number 2"]
    paths = {(event.index, event.total) for event in client.of(TestBegan)}
    assert paths == {(1, 3), (2, 3), (3, 3)}, "numbers of the whole, not of each part"


@pytest.mark.parametrize("isolation", ["suite", "file"])
def test_phases_divide_what_they_were_given(client: Client, isolation: str) -> None:
    client.files({name: ODD[name] for name in ("loop.spec.js", "c++.spec.js", "admin/login.spec.js")})
    phases = (SuitePhase("numbers", ("--grep", "number")), SuitePhase("others", ("--grep-invert", "number")))
    assert client.run(*phases, isolation=isolation) == "passed"
    counts = [event for event in client.of(SuiteStateChanged) if event.state == "finished"]
    expected = {"suite": [(3, 0), (2, 0)], "file": [(3, 0), (1, 0), (2, 0)]}
    assert [(one.passed, one.did_not_run) for one in counts] == expected[isolation]


def test_shards_together_are_the_whole(client: Client) -> None:
    client.files({name: ODD[name] for name in ("loop.spec.js", "c++.spec.js", "login.spec.js", "relogin.spec.js")})
    ran: list[str] = []
    for shard in ("1/2", "2/2"):
        assert client.run(shard=shard, isolation="file" if shard == "1/2" else "") == "passed"
        ran += titles(client)
        planned = client.of(TestPlanned)
        assert len({event.id for event in planned}) == 6, "each shard knows what the others have"
        assert sum(event.other_shard for event in planned) == 6 - len(titles(client))
    assert len(ran) == len(set(ran)) == 6


def test_a_shard_that_is_empty_is_no_failure(client: Client) -> None:
    client.files({"one.spec.js": GOOD})
    assert client.run(shard="2/2") == "nothing-ran"
    assert client.of(Note)[-1].message == "shard 2/2 is empty: the other shards have all 1 browser tests"
    assert fold(client.events).count("passed") == 0
    assert client.run(shard="2/2", isolation="test") == "nothing-ran"
    assert client.run(shard="1/2") == "passed"


def test_a_test_that_no_clone_got_is_missed(client: Client) -> None:
    """As if the shards of two clones had not been made of the same tests."""
    client.files({"one.spec.js": GOOD, "two.spec.js": GOOD})
    client.run(shard="1/2")
    part = ClonePart("c-1", client.run_folder, {})
    assert in_no_clone([part]) == ["two.spec.js › good"]
    client.run()
    assert in_no_clone([part, ClonePart("c-2", client.run_folder, {})]) == []


def test_where_only_some_tests_are_focused_the_others_are_not_missed(client: Client) -> None:
    client.files(
        {
            "a.spec.js": HEAD + "test.only('chosen', () => {});\ntest('other', () => {});\n",
            "b.spec.js": HEAD
            + "test('b', () => {});\ntest.describe.only('g', () => { test('in group', () => {}); });\n",
            "c.spec.js": GOOD,
        }
    )
    wanted = ["a.spec.js › chosen", "b.spec.js › g › in group"]
    for isolation in ("", "file", "test"):
        assert client.run(isolation=isolation) == "passed"
        assert titles(client) == wanted


@pytest.mark.parametrize("isolation", ["", "file"])
def test_a_focused_test_that_is_forbidden_is_a_failure_of_the_suite(client: Client, isolation: str) -> None:
    client.files(
        {
            "playwright.config.js": "module.exports = { forbidOnly: true };\n",
            "a.spec.js": HEAD + "test.only('chosen', () => {});\n",
        }
    )
    with pytest.raises(SuiteFailed, match="the browser suite itself fails") as caught:
        client.run(isolation=isolation)
    assert "focused with '.only' is not allowed" in caught.value.why


@pytest.mark.parametrize("isolation", ["", "file"])
@pytest.mark.parametrize(
    ("files", "said"),
    [
        ({"a.spec.js": GOOD, "b.spec.js": "this is no JavaScript"}, "SyntaxError"),
        ({"a.spec.js": GOOD, "b.spec.js": "require('./no-such-module')"}, "Cannot find module"),
        (
            {
                "a.spec.js": GOOD,
                "playwright.config.js": "module.exports = { globalSetup: './setup.js' };",
                "setup.js": "module.exports = () => { throw new Error('no database today'); };",
            },
            "no database today",
        ),
    ],
    ids=["syntax", "module", "setup"],
)
def test_the_suites_own_code_fails_as_tests_do(
    client: Client, files: dict[str, str], said: str, isolation: str
) -> None:
    client.files(files)
    with pytest.raises(SuiteFailed) as caught:
        client.run(isolation=isolation)
    assert caught.value.exit_code == 1
    assert said in caught.value.why
    assert said in client.of(SuiteError)[0].error
    view = fold(client.events)
    assert said in junit_xml(view)


def test_a_configuration_that_does_not_load_is_told_with_what_node_said(client: Client) -> None:
    client.files({"playwright.config.js": "throw new Error('no configuration');", "a.spec.js": GOOD})
    with pytest.raises(GuestCommandError, match="ended with 1") as caught:
        client.run()
    assert "no configuration" in caught.value.why


def test_a_runner_that_ends_early_with_success_has_not_passed(client: Client) -> None:
    leave = "module.exports = class { onTestEnd() { process.exit(0); } };"
    client.files(
        {
            "playwright.config.js": "module.exports = { reporter: './leave.js', workers: 1 };",
            "leave.js": leave,
            "a.spec.js": HEAD + "for (const n of [1, 2, 3]) test(`number ${n}`, () => {});\n",
        }
    )
    with pytest.raises(SuiteFailed, match="of 3 browser tests did not run") as caught:
        client.run()
    assert "did not run: a.spec.js › number 3" in caught.value.evidence


def test_a_runner_that_never_tells_has_not_passed(client: Client) -> None:
    client.files({"a.spec.js": GOOD})
    for command in (("true",), ("sh", "-c", "exit 4")):
        with pytest.raises(GuestCommandError, match="reported no tests"):
            client.run(command=command)


def test_ids_that_are_not_heeded_are_noticed(client: Client) -> None:
    """A runner that takes all tests for each part."""
    client.files({"a.spec.js": HEAD + "test('one', () => {});\ntest('two', () => {});\n"})
    command = ("env", "-u", "E2E_TESTS", str(client.home / "run-e2e-tests"))
    with pytest.raises(SuiteFailed, match="2 browser tests ran that were not to run") as caught:
        client.run(isolation="test", command=command)
    assert sorted(caught.value.evidence) == ["a.spec.js › one", "a.spec.js › two"]


def test_a_title_that_changes_between_listing_and_run_is_a_missing_test(client: Client) -> None:
    client.files({"a.spec.js": HEAD + "test(`at ${process.hrtime.bigint()}`, () => {});\n", "b.spec.js": GOOD})
    with pytest.raises(SuiteFailed, match="1 of 2 browser tests did not run") as caught:
        client.run(isolation="test")
    assert caught.value.evidence[0].startswith("did not run: a.spec.js › at ")


def test_what_others_depend_on_runs_in_each_of_their_fresh_states(client: Client) -> None:
    client.files(
        {
            "playwright.config.js": """module.exports = { projects: [
            { name: 'setup', testMatch: 'setup.js', teardown: 'clean' }, { name: 'clean', testMatch: 'clean.js' },
            { name: 'web', testMatch: '*.spec.js', dependencies: ['setup'] },
        ] };""",
            "setup.js": HEAD + "test('log in', () => {});\n",
            "clean.js": HEAD + "test('log out', () => {});\n",
            "a.spec.js": GOOD,
            "b.spec.js": GOOD,
        }
    )
    assert client.run(isolation="file") == "passed"
    assert client.fresh_states == 2
    assert titles(client) == sorted(
        2 * ["[setup] › setup.js › log in", "[clean] › clean.js › log out"]
        + ["[web] › a.spec.js › good", "[web] › b.spec.js › good"]
    )
    assert client.finished["passed"] == 4
