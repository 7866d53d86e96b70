"""What a suite's runner lists, as the parts that each get a world of their own; and what parts come to together."""

from __future__ import annotations

import asyncio
from pathlib import Path
from types import SimpleNamespace
from typing import Any, cast

import pytest

from orchestrator.deadline import Deadline
from orchestrator.environment.isolate import prepare, selectors
from orchestrator.environment.session import Session
from orchestrator.environment.suite import NO_TEST_RAN, Counts, Outcome
from orchestrator.errors import MachineError
from orchestrator.events import Event, EventBus
from orchestrator.guest.agent import GuestResult
from orchestrator.topology.model import Suite, SuitePhase

# Playwright 1.5x, and with projects; noise of a suite's own output among it.
LISTING = """\
Listing tests:
  conversations.spec.ts:4:5 › a created conversation is still there
  conversations.spec.ts:17:5 › a message is answered › in time
  deep/er/page.spec.ts:9:3 › on a phone › fits the screen
  [chromium] › data.test.mts:3:1 › one
  [firefox] › data.test.mts:3:1 › one
::e2e {"event":"begin","title":"x.spec.ts:1:1 › not a listed test"}
reading x.spec.ts:1:1
Total: 5 tests in 3 files
"""


def test_files_and_tests_each_once_in_their_order() -> None:
    lines = LISTING.splitlines()
    assert selectors(lines, "file") == ["conversations.spec.ts", "deep/er/page.spec.ts", "data.test.mts"]
    assert selectors(lines, "test") == [
        "conversations.spec.ts:4", "conversations.spec.ts:17", "deep/er/page.spec.ts:9", "data.test.mts:3",
    ]  # fmt: skip
    assert selectors(["Listing tests:", "Total: 0 tests in 0 files"], "file") == []


@pytest.mark.parametrize(
    ("codes", "code", "broken"),
    [([0, 0], 0, False), ([0, NO_TEST_RAN], 0, False), ([NO_TEST_RAN, NO_TEST_RAN], NO_TEST_RAN, False),
     ([0, 3, 0], 3, True), ([1, 0], 1, False), ([1, 130, 1], 130, True)],
)  # fmt: skip
def test_of_a_phases_parts_the_worst_counts(codes: list[int], code: int, broken: bool) -> None:
    outcome = Outcome()
    for one in codes:
        outcome.add("stack", one, Counts(passed=1, failed=int(one == 1), errors=("e",) if one == 3 else ()))
    assert outcome.phases["stack"][0] == code
    assert outcome.ran == len(codes) + codes.count(1)
    assert outcome.failed == codes.count(1)
    assert bool(outcome.broken) is broken


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
    session = SimpleNamespace(machines={"client": client}, bus=bus, factor=1.0)
    await prepare(cast(Session, session), suite, phase, deadline)
    return client, seen


def test_a_suite_is_prepared_as_it_will_be_run() -> None:
    client, seen = asyncio.run(prepared(GuestResult(0, b"", b""), Deadline.after(10)))
    (call,) = client.calls
    assert (call["command"], call["user"], call["cwd"]) == (("run", "-p"), "test", "/opt/e2e/suites/suite")
    assert call["environment"]["A"] == "1"
    assert call["environment"]["E2E_PHASE"] == "stack"
    assert [event.data["level"] for event in seen] == ["info"]


@pytest.mark.parametrize(
    ("end", "text"),
    [(GuestResult(3, b"", b"no browser here"), "no browser here"), (GuestResult(9, b"", b""), "it ended with 9")],
)
def test_a_suite_that_cannot_be_prepared_is_run_without(end: GuestResult, text: str) -> None:
    _, (event,) = asyncio.run(prepared(end, Deadline.after(10)))
    assert event.data["level"] == "warning"
    assert text in event.data["message"]


def test_preparing_for_too_long_is_given_up_and_a_lost_machine_is_not() -> None:
    _, (event,) = asyncio.run(prepared(MachineError("it took too long"), Deadline.after(0)))
    assert "it took too long" in event.data["message"]
    with pytest.raises(MachineError):
        asyncio.run(prepared(MachineError("the connection is lost"), Deadline.after(10)))
