"""What a suite's runner lists, as the parts that each get a fresh state; and what parts come to together."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest
from event_records import notes

from orchestrator.deadline import Deadline
from orchestrator.environment.isolate import divided, prepare
from orchestrator.environment.session import Session
from orchestrator.environment.suite_events import Case, Finished, Planned
from orchestrator.environment.suite_run import SuiteRun
from orchestrator.environment.suite_tally import NO_TEST_RAN, Account, Outcome, judge
from orchestrator.errors import GuestCommandError, MachineError, SuiteFailed
from orchestrator.events import Event, EventBus
from orchestrator.guest.agent import GuestResult
from orchestrator.timescale import TimeScale
from orchestrator.topology.model import Suite, SuitePhase
from orchestrator.trace_context import TraceContext


def listed(*files: str, support: tuple[str, ...] = ()) -> dict[str, Case]:
    return {
        str(n): Case(str(n), f"t{n}", file, 1, f"/s/{file}", n, support=str(n) in support)
        for n, file in enumerate(files, 1)
    }


def test_files_and_tests_each_once_in_their_order() -> None:
    found = listed("b.ts", "a.ts", "b.ts", "a.ts")
    assert [list(part) for part in divided(found, "file")] == [["1", "3"], ["2", "4"]]
    assert [list(part) for part in divided(found, "test")] == [["1"], ["2"], ["3"], ["4"]]
    assert divided({}, "file") == []


def test_what_others_depend_on_has_no_world_of_its_own() -> None:
    found = listed("setup.ts", "a.ts", "b.ts", support=("1",))
    assert [list(part) for part in divided(found, "test")] == [["2"], ["3"]]
    alone = listed("setup.ts", support=("1",))
    assert [list(part) for part in divided(alone, "file")] == [["1"]]


def account(**results: str) -> Account:
    made = Account(begun=True, ended=True)
    for name, status in results.items():
        test = Case(name, f"title of {name}", "f", 1)
        made.planned[name] = test
        if status:
            made.apply(Finished(test, status, 0.0, 0, "", ()))
    return made


def outcome_of(*invocations: tuple[int, Account]) -> Outcome:
    outcome = Outcome()
    for code, one in invocations:
        outcome.phase("stack").add(one, code)
    return outcome


@pytest.mark.parametrize(
    ("codes", "code", "broken"),
    [
        ([0, 0], 0, False),
        ([0, NO_TEST_RAN], 0, False),
        ([NO_TEST_RAN, NO_TEST_RAN], NO_TEST_RAN, False),
        ([0, 3, 0], 3, True),
        ([1, 0], 1, False),
        ([1, 130, 1], 130, True),
    ],
)
def test_of_a_phases_parts_the_worst_counts(codes: list[int], code: int, broken: bool) -> None:
    parts = [account(**{f"n{n}": "failed" if one == 1 else "passed"}) for n, one in enumerate(codes)]
    tally = outcome_of(*zip(codes, parts, strict=True)).phase("stack")
    assert tally.code == code
    assert tally.count("failed") == codes.count(1)
    assert bool(tally.broken) is broken


def test_a_test_of_several_parts_counts_once_and_as_its_worst() -> None:
    outcome = outcome_of((0, account(a="passed")), (1, account(a="failed")), (0, account(a="passed", b="skipped")))
    assert outcome.phase("stack").counts == {"passed": 0, "failed": 1, "flaky": 0, "skipped": 1, "did_not_run": 0}
    assert outcome.total == 2


def test_what_was_listed_and_never_ran_is_named_whatever_the_exit_code() -> None:
    for code in (0, 1, NO_TEST_RAN):
        with pytest.raises(SuiteFailed, match="1 of 2 browser tests did not run") as caught:
            judge(outcome_of((code, account(a="passed", b=""))))
        assert caught.value.evidence == ("did not run: title of b",)


def test_what_was_asked_of_a_world_is_what_must_run_in_it() -> None:
    a, b = account(a="passed").planned, account(b="passed").planned
    outcome = Outcome()
    tally = outcome.phase("stack")
    tally.planned.update({**a, **b})
    tally.add(account(b="passed"), 0, a)  # the wrong one
    assert list(tally.missed) == ["a"]
    with pytest.raises(SuiteFailed, match="1 of 2 browser tests did not run"):
        judge(outcome)
    tally.add(account(a="passed"), 0, b)
    with pytest.raises(SuiteFailed, match="2 browser tests ran that were not to run"):
        judge(outcome)


def test_more_tests_than_can_be_compared_are_no_success(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("orchestrator.environment.suite_tally.TESTS_LIMIT", 3)
    made = Account(begun=True, ended=True)
    for number in range(4):
        test = Case(str(number), "t", "f", 1)
        made.apply(Planned(test, elsewhere=False))
        made.apply(Finished(test, "passed", 0.0, 0, "", ()))
    with pytest.raises(GuestCommandError, match="cannot be compared"):
        judge(outcome_of((0, made)))


class PreparingClient:
    """A machine whose `prepare` command ends as told."""

    def __init__(self, end: GuestResult | MachineError) -> None:
        self.end = end
        self.calls: list[dict[str, Any]] = []

    async def ssh(self) -> PreparingClient:
        return self

    async def exec(self, command: tuple[str, ...], **more: Any) -> GuestResult:
        self.calls.append({"command": command, **more})
        if isinstance(self.end, MachineError):
            raise self.end
        return self.end


async def prepared(end: GuestResult | MachineError, deadline: Deadline) -> tuple[PreparingClient, list[Event]]:
    client, bus, seen = PreparingClient(end), EventBus(), list[Event]()
    bus.subscribe(seen.append)
    phase = SuitePhase("stack")
    folder, command, ahead = Path("/here/suite"), ("run",), ("run", "-p")
    suite = Suite("client", folder, command, "test", {"A": "1"}, "/artifacts", 60.0, (phase,), ahead)
    session = SimpleNamespace(machines={"client": client}, bus=bus, scale=TimeScale(), run_folder=Path("/runs/r"))
    await prepare(SuiteRun(cast(Session, session), suite, deadline), phase)
    return client, seen


def test_a_suite_is_prepared_as_it_will_be_run() -> None:
    client, seen = asyncio.run(prepared(GuestResult(0, b"", b""), Deadline.after(10)))
    (call,) = client.calls
    assert (call["command"], call["user"], call["cwd"]) == (("run", "-p"), "test", "/opt/e2e/suites/suite")
    assert call["environment"]["A"] == "1"
    assert call["environment"]["E2E_PHASE"] == "stack"
    assert call["environment"]["TRACEPARENT"] == TraceContext.of("r").of_suite
    assert len(notes(seen, "info")) == len(seen) == 1


@pytest.mark.parametrize(
    ("end", "text"),
    [(GuestResult(3, b"", b"no browser here"), "no browser here"), (GuestResult(9, b"", b""), "it ended with 9")],
)
def test_a_suite_that_cannot_be_prepared_is_run_without(end: GuestResult, text: str) -> None:
    _, events = asyncio.run(prepared(end, Deadline.after(10)))
    (message,) = notes(events, "warning")
    assert text in message


def test_preparing_for_too_long_is_given_up_and_a_lost_machine_is_not() -> None:
    _, events = asyncio.run(prepared(MachineError("it took too long"), Deadline.after(0)))
    (message,) = notes(events)
    assert "it took too long" in message
    with pytest.raises(MachineError):
        asyncio.run(prepared(MachineError("the connection is lost"), Deadline.after(10)))
