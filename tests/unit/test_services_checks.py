"""Checks: what counts as an answer of a service, a command, a file or a unit."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pytest
from fake_channels import HANGS, FakeMachine, bad, ok
from fake_qemu import run_async
from httpx import Headers

from orchestrator.deadline import Deadline
from orchestrator.errors import MachineError
from orchestrator.guest.agent import GuestResult
from orchestrator.guest.tunnel import HttpAnswer
from orchestrator.patterns import TEXT_LIMIT
from orchestrator.services.channels import run_check
from orchestrator.services.checks.exec import ExecCheck
from orchestrator.services.checks.file import FileCheck
from orchestrator.services.checks.http import HttpCheck, json_difference, judge_response
from orchestrator.services.checks.unit import UnitCheck
from orchestrator.timescale import TimeScale
from orchestrator.topology.check_kind import ANSWER_LIMIT, CheckResult
from orchestrator.topology.model import Check

HEALTH = "http://server/health"


# ------------------------------------------------------------------ judging


@pytest.mark.parametrize(
    ("fields", "status", "headers", "body", "answer"),
    [
        ({}, 200, {}, "", "GET http://server/health: HTTP 200"),
        ({"status": 404}, 404, {}, "gone", "GET http://server/health: HTTP 404"),
        ({"contains": "<div"}, 200, {}, "x<div>", "GET http://server/health: HTTP 200"),
        ({"json": {"a": {"b": 1}}}, 200, {}, '{"a": {"b": 1, "c": 2}, "d": []}', "GET http://server/health: HTTP 200"),
        ({"headers": {"X-A": "1"}}, 200, {"X-A": "1"}, "", "GET http://server/health: HTTP 200"),
    ],
)
def test_good_answers(fields: dict[str, Any], status: int, headers: dict[str, str], body: str, answer: str) -> None:
    assert judge_response(HttpCheck(HEALTH, **fields), HttpAnswer(status, Headers(headers), body)) == CheckResult(
        True, answer
    )


@pytest.mark.parametrize(
    ("fields", "status", "body", "part"),
    [
        ({}, 502, "<h1>Bad\n  Gateway</h1>", "HTTP 502, expected 200; <h1>Bad Gateway</h1>"),
        ({"contains": "root"}, 200, "nginx", "HTTP 200, but the body lacks 'root'; nginx"),
        ({"headers": {"X-A": "1"}}, 200, "", "HTTP 200, but header X-A is None, expected '1'"),
        ({"json": {}}, 200, "<html>", "HTTP 200, but the body is not JSON; <html>"),
        ({"json": {}}, 200, "[" * 100_000, "HTTP 200, but the body is not JSON"),
        ({"json": {"a": 1}}, 200, '{"a": "\\ud800"}', '$.a is "?", expected 1'),
        ({"json": {"a": 1}}, 200, '{"a": ' + "[" * 900 + "]" * 900 + "}", "$.a is ["),
        ({"json": {"status": "ok"}}, 200, '{"status": "no"}', '$.status is "no", expected "ok"'),
        ({"json": {"status": "ok"}}, 200, "[]", "$ is [], expected a table"),
    ],
)
def test_bad_answers_say_why(fields: dict[str, Any], status: int, body: str, part: str) -> None:
    answer = judge_response(HttpCheck(HEALTH, **fields), HttpAnswer(status, Headers(), body))
    assert not answer.ok
    assert part in answer.text
    assert len(answer.text) <= ANSWER_LIMIT
    assert "\n" not in answer.text


@pytest.mark.parametrize(
    ("wanted", "found", "difference"),
    [
        ({}, {"a": 1}, ""),
        ({"a": {"b": [1, 2]}}, {"a": {"b": [1, 2], "c": 3}}, ""),
        ({"a": None}, {"a": None}, ""),
        ({"a": 1}, {}, "$.a is missing"),
        ({"a": None}, {}, "$.a is missing"),
        ({"a": {"b": 1}}, {"a": {"b": 2}}, "$.a.b is 2, expected 1"),
        ({"a": 1}, {"a": True}, "$.a is true, expected 1"),  # Python thinks they are equal
        ({"a": 0}, {"a": False}, "$.a is false, expected 0"),
        ({"a": "1"}, {"a": 1}, '$.a is 1, expected "1"'),
        ({"a": [1]}, {"a": [1, 2]}, "$.a is [1, 2], expected [1]"),
        ({"a": 1}, {"a": "x" * 100}, '$.a is "' + "x" * 56 + "..., expected 1"),
    ],
)
def test_json_difference(wanted: object, found: object, difference: str) -> None:
    assert json_difference(wanted, found) == difference


# ------------------------------------------------------------------ through the agent


def by_agent(
    tmp_path: Path, check: Check, result: GuestResult, limit: float = 5.0, *, lost: bool = False
) -> CheckResult:
    async def scenario() -> CheckResult:
        machine = FakeMachine("server", tmp_path / "journal")
        machine.answers = dict.fromkeys(("psql", "test", "systemctl"), lambda: result)
        machine.lost = lost
        return await run_check(check, machine.channels(), scale=TimeScale(), deadline=Deadline.after(limit))

    return run_async(scenario())


def psql(stdout: str | None = None) -> Check:
    return Check("c", "server", ExecCheck(("psql", "-c", "select 1"), stdout=stdout), timeout=1.0)


@pytest.mark.parametrize(
    ("stdout", "result", "answer"),
    [
        (None, ok("whatever"), CheckResult(True, "psql exited with 0")),
        ("^1$", ok("notice\n1\n"), CheckResult(True, "psql printed 'notice\\n1'")),
        ("^1$", ok("11\n"), CheckResult(False, "psql printed '11', expected /^1$/")),
        ("^b$", ok("a\nb\nc"), CheckResult(True, "psql printed 'a\\nb\\nc'")),
        (
            "^1$",
            bad("psql: error:\n  the database system is starting up\n", 2),
            CheckResult(False, "psql exited with 2: psql: error: the database system is starting up"),
        ),
    ],
)
def test_exec(tmp_path: Path, stdout: str | None, result: GuestResult, answer: CheckResult) -> None:
    assert by_agent(tmp_path, psql(stdout), result) == answer


def test_an_expression_that_would_explode_does_not(tmp_path: Path) -> None:
    """Python's own engine would try every way to divide the letters, for ever, and no Ctrl-C would end it."""
    began = time.monotonic()
    answer = by_agent(tmp_path, psql("(a+)+$b"), ok("a" * 100_000))
    assert time.monotonic() - began < 8
    assert not answer.ok
    assert answer.text.startswith("psql printed 'aaa")


def test_only_the_beginning_of_a_long_output_is_searched(tmp_path: Path) -> None:
    assert by_agent(tmp_path, psql("x$"), ok("a" * (TEXT_LIMIT - 1) + "x\n" + "b" * TEXT_LIMIT)).ok
    answer = by_agent(tmp_path, psql("x"), ok("é" * TEXT_LIMIT + "x"))
    assert not answer.ok


def test_file_and_unit(tmp_path: Path) -> None:
    there = Check("c", "server", FileCheck("/run/x"))
    assert by_agent(tmp_path, there, ok()) == CheckResult(True, "/run/x exists")
    assert by_agent(tmp_path, there, bad("")) == CheckResult(False, "/run/x does not exist")
    unit = Check("c", "server", UnitCheck("x.service"))
    assert by_agent(tmp_path, unit, ok("active\n")) == CheckResult(True, "x.service is active")
    activating = GuestResult(3, b"activating\n", b"")
    assert by_agent(tmp_path, unit, activating) == CheckResult(False, "x.service is activating")


CHECKS = [
    psql(),
    Check("c", "server", FileCheck("/run/x")),
    Check("c", "server", UnitCheck("x.service")),
]


@pytest.mark.parametrize("check", CHECKS, ids=lambda c: c.kind)
def test_a_command_that_hangs_is_an_answer_and_a_lost_machine_is_not(tmp_path: Path, check: Check) -> None:
    answer = by_agent(tmp_path, check, GuestResult(HANGS, b"", b""), 0.1)
    assert not answer.ok
    assert answer.text.endswith("no end within 0.1 s")
    with pytest.raises(MachineError, match="guest agent of machine server is lost"):
        by_agent(tmp_path, check, ok(), lost=True)
