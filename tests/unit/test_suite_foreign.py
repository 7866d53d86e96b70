"""Suites that nobody here wrote: their phases, limits, environment and versions, run by the real Playwright."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import pytest
from cli_process import Cli
from local_guest import Client
from topology_samples import alicia

from orchestrator.cli.arguments import build_parser
from orchestrator.cli.clones import FORWARDED, options
from orchestrator.cli.run import with_suite_options
from orchestrator.environment.plan import Request
from orchestrator.errors import NothingRan, SuiteFailed
from orchestrator.events.run import Note
from orchestrator.topology.load import load_topology
from orchestrator.topology.model import SuitePhase

HEAD = "const { test, expect } = require('@playwright/test');\n"
UP, DOWN = SuitePhase("stack", ("--grep-invert", "@down")), SuitePhase("down", ("--grep", "@down"), ("backend",))


def notes(client: Client) -> str:
    return "\n".join(note.message for note in client.of(Note))


def test_services_are_stopped_for_a_phase_that_has_tests(client: Client) -> None:
    client.files({"a.spec.js": HEAD + "test('one', () => {});\ntest('two @down', () => {});\n"})
    assert client.run(UP, DOWN) == "passed"
    assert client.services.told == ["stop backend", "mark pending backend", "up"]
    assert [title for _, title in client.results] == ["a.spec.js › one", "a.spec.js › two @down"]


def test_the_first_test_begins_when_the_services_are_stopped(client: Client) -> None:
    """The test sees what stopping has done, though its runner was started before."""
    seen = client.root / "stopped"
    check = f"expect(require('fs').existsSync('{seen}')).toBe(true)"
    client.files({"a.spec.js": HEAD + f"test('it @down', () => {check});"})

    async def stop(names: object, limit: object) -> None:
        seen.touch()

    client.services.stop = stop  # type: ignore[method-assign, assignment]
    assert client.run(DOWN) == "passed"


def test_nothing_is_stopped_for_a_phase_without_tests(client: Client) -> None:
    client.files({"a.spec.js": HEAD + "test('one', () => {});\n"})
    assert client.run(UP, DOWN) == "passed"
    assert client.services.told == []
    with pytest.raises(NothingRan):
        client.run(DOWN)


def test_a_suite_that_does_not_load_stops_nothing_and_does_not_hang(client: Client) -> None:
    client.files({"a.spec.js": "syntax error here\n"})
    with pytest.raises(SuiteFailed, match="the browser suite itself fails"):
        client.run(DOWN)
    assert client.services.told == []


def test_limits_of_its_configuration_are_multiplied_and_that_is_said(client: Client) -> None:
    client.factor = 10.0
    slow = HEAD + "test('slow', async ({}, info) => { expect(info.timeout).toBe(20000); });\n"
    client.files({"a.spec.js": slow, "playwright.config.js": "module.exports = { timeout: 2000 };\n"})
    assert client.run() == "passed"
    assert (
        "this host is slow: the limits in the suite's configuration × 10 (--no-scale-timeouts turns this off)"
        in notes(client)
    )


def test_a_version_that_the_suite_does_not_allow_is_said(client: Client) -> None:
    files = {"a.spec.js": HEAD + "test('one', () => {});\n"}
    client.files({**files, "package.json": json.dumps({"devDependencies": {"@playwright/test": "~1.40.0"}})})
    assert client.run(UP, DOWN) == "passed"
    assert notes(client).count("the suite asks for Playwright ~1.40.0 and was run with 1.") == 1
    client.files({"package.json": json.dumps({"devDependencies": {"@playwright/test": "^1.40.0"}})})
    client.run()
    assert "asks for Playwright" not in notes(client)


@pytest.fixture
def request_(tmp_path: Path) -> Request:
    return Request(load_topology(alicia(tmp_path)), "alicia", "auto", tmp_path, "orchestrator run")


def test_variables_of_the_command_line_reach_the_suite(request_: Request, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TOKEN", "of this shell")
    arguments = build_parser().parse_args(["run", "--env", "A=b=c", "--env", "TOKEN", "--env=CI="])
    suite = with_suite_options(request_, arguments).topology.suite
    assert suite is not None
    assert {"A": "b=c", "TOKEN": "of this shell", "CI": ""}.items() <= suite.environment.items()
    words = options(arguments, FORWARDED)
    assert {"--env=A=b=c", "--env=TOKEN", "--env=CI="} <= set(words)
    assert "--no-scale-timeouts" not in words
    assert "--no-scale-timeouts" in options(build_parser().parse_args(["run", "--no-scale-timeouts"]), FORWARDED)


def test_who_scales_the_limits(request_: Request) -> None:
    topology = request_.topology
    assert topology.suite is not None

    def scales(*words: str, wanted: bool = True) -> bool:
        asked = replace(request_, topology=replace(topology, suite=replace(suite, scale_timeouts=wanted)))
        chosen = with_suite_options(asked, build_parser().parse_args(["run", *words])).topology.suite
        assert chosen is not None
        return chosen.scale_timeouts

    suite = topology.suite
    assert scales()
    assert not scales("--no-scale-timeouts")
    assert not scales(wanted=False)
    (suite.path / "limits.ts").write_text("process.env.E2E_TIME_FACTOR")
    assert not scales()


@pytest.mark.parametrize("word", ["1A=b", "=x", "NOT_SET_ANYWHERE"])
def test_a_variable_that_is_none_is_refused(word: str, tmp_path: Path) -> None:
    done = Cli(tmp_path)("run", "--env", word)
    assert done.returncode == 2
    assert done.stderr.startswith("error: --env: ")
