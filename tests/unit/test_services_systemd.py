"""What systemctl show says, and what it means. The texts are those of systemd 257."""

from __future__ import annotations

from collections.abc import Sequence
from typing import cast

import pytest
from fake_qemu import run_async

from orchestrator.deadline import Deadline
from orchestrator.guest.agent import Agent, GuestResult
from orchestrator.services.systemd import PROPERTIES, UnitStatus, parse_show, show, start

RUNNING = """Type=notify
ExecMainCode=0
ExecMainStatus=0
Result=success
NRestarts=0
Id=postgresql@17-main.service
LoadState=loaded
ActiveState=active
SubState=running"""
FAILED = """Type=simple
ExecMainCode=1
ExecMainStatus=3
Result=exit-code
NRestarts=0
Id=alicia.service
LoadState=loaded
ActiveState=failed
SubState=failed"""
AUTO_RESTART = """Type=simple
ExecMainCode=1
ExecMainStatus=1
Result=exit-code
NRestarts=4
Id=alicia.service
LoadState=loaded
ActiveState=activating
SubState=auto-restart"""
RESTARTED = """Type=simple
ExecMainCode=0
ExecMainStatus=0
Result=success
NRestarts=2
Id=alicia.service
LoadState=loaded
ActiveState=active
SubState=running"""
OOM = FAILED.replace("ExecMainStatus=3", "ExecMainStatus=9").replace("exit-code", "oom-kill")
START_LIMIT = FAILED.replace("exit-code", "start-limit-hit")
ONESHOT_DONE = """Type=oneshot
ExecMainCode=1
ExecMainStatus=0
Result=success
NRestarts=0
Id=alicia-migrate.service
LoadState=loaded
ActiveState=inactive
SubState=dead"""
ONESHOT_KEPT = ONESHOT_DONE.replace("ActiveState=inactive", "ActiveState=active").replace("dead", "exited")
ONESHOT_FAILED = (
    ONESHOT_DONE.replace("ActiveState=inactive", "ActiveState=failed")
    .replace("Result=success", "Result=exit-code")
    .replace("ExecMainStatus=0", "ExecMainStatus=1")
    .replace("SubState=dead", "SubState=failed")
)
NOT_FOUND = """Type=
ExecMainCode=0
ExecMainStatus=0
Result=success
NRestarts=0
Id=no-such.service
LoadState=not-found
ActiveState=inactive
SubState=dead"""
MASKED = NOT_FOUND.replace("not-found", "masked").replace("no-such", "nginx")
STARTING = RUNNING.replace("ActiveState=active", "ActiveState=activating").replace("running", "start")
TARGET = "Id=postgresql.target\nLoadState=loaded\nActiveState=active\nSubState=active"


def trouble(text: str, *, oneshot: bool = False) -> str:
    (status,) = parse_show(text)
    return status.trouble(oneshot=oneshot)


@pytest.mark.parametrize(
    ("text", "oneshot"),
    [(RUNNING, False), (STARTING, False), (TARGET, False), (ONESHOT_DONE, True), (ONESHOT_KEPT, True)],
)
def test_no_trouble(text: str, oneshot: bool) -> None:
    assert trouble(text, oneshot=oneshot) == ""


@pytest.mark.parametrize(
    ("text", "oneshot", "expected"),
    [
        (FAILED, False, "alicia.service failed (exit status 3)"),
        (OOM, False, "alicia.service failed (result oom-kill)"),
        (START_LIMIT, False, "alicia.service failed (result start-limit-hit)"),
        (AUTO_RESTART, False, "alicia.service ended and is being restarted by systemd (exit status 1, restart 4)"),
        (RESTARTED, False, "alicia.service ended and is being restarted by systemd (result success, restart 2)"),
        (ONESHOT_FAILED, True, "alicia-migrate.service failed (exit status 1)"),
        (ONESHOT_DONE, False, "alicia-migrate.service ended (result success)"),  # a daemon that ends is no success
        (NOT_FOUND, False, "no-such.service is not-found"),
        (NOT_FOUND, True, "no-such.service is not-found"),
        (MASKED, False, "nginx.service is masked"),
    ],
)
def test_trouble_is_named(text: str, oneshot: bool, expected: str) -> None:
    assert trouble(text, oneshot=oneshot) == expected


def test_several_units_keep_their_order() -> None:
    found = parse_show("\n\n".join([RUNNING, FAILED, TARGET]) + "\n")
    assert [status.unit for status in found] == ["postgresql@17-main.service", "alicia.service", "postgresql.target"]
    assert [status.running for status in found] == [True, False, True]
    assert found[1] == UnitStatus("alicia.service", "loaded", "failed", "failed", "exit-code", 0, 3)


@pytest.mark.parametrize("text", ["", "\n\n", "Failed to connect to bus\n", "NRestarts=[not set]\nExecMainStatus="])
def test_hostile_or_empty_text_is_an_unknown_unit(text: str) -> None:
    (status,) = parse_show(text)
    assert (status.active, status.restarts, status.main_status) == ("unknown", 0, 0)
    assert not status.running


class Answers:
    """A guest whose systemctl prints this."""

    def __init__(self, text: str) -> None:
        self.text = text

    async def exec(self, command: Sequence[str], *, deadline: Deadline, wakeup: object = None) -> GuestResult:
        return GuestResult(1, self.text.encode(), b"")


@pytest.mark.parametrize(
    ("text", "active"),
    [
        ("", ["unknown", "unknown"]),
        (FAILED, ["failed", "unknown"]),  # systemctl gives up at a name it does not take
        ("\n\n".join([FAILED, TARGET]), ["failed", "active"]),
        ("\n\n".join([TARGET, FAILED, TARGET]), ["failed", "unknown"]),
    ],
)
def test_there_is_an_answer_for_each_unit_that_was_asked_for(text: str, active: list[str]) -> None:
    found = run_async(show(cast(Agent, Answers(text)), ["alicia.service", "sshd.service"], Deadline.after(5)))
    assert [status.active for status in found] == active
    assert [status.known for status in found] == [word != "unknown" for word in active]


def test_restarts_of_before_are_no_trouble() -> None:
    (status,) = parse_show(RESTARTED)
    assert status.trouble(oneshot=False, restarts=2) == ""
    assert status.trouble(oneshot=False, restarts=1).endswith("restart 2)")


def test_a_unit_that_reloads_runs() -> None:
    (status,) = parse_show(RUNNING.replace("ActiveState=active", "ActiveState=reloading"))
    assert status.running
    assert not status.at_rest


def test_every_property_that_is_read_is_asked_for() -> None:
    read = {"LoadState", "ActiveState", "SubState", "Result", "NRestarts", "ExecMainStatus", "InvocationID"}
    assert read <= set(PROPERTIES)


class Refusing:
    """A guest whose systemd refuses the first start, for a reason."""

    def __init__(self, state: str) -> None:
        self.state, self.told = state, []  # type: str, list[str]

    async def exec(self, command: Sequence[str], *, deadline: Deadline, wakeup: object = None) -> GuestResult:
        self.told.append(command[1])
        if command[1] == "show":
            return GuestResult(0, self.state.encode(), b"")
        refused = command[1] == "start" and "reset-failed" not in self.told
        return GuestResult(int(refused), b"", b"refused" if refused else b"")


@pytest.mark.parametrize(
    ("state", "told", "code"),
    [
        (START_LIMIT, ["start", "show", "reset-failed", "start"], 0),
        (FAILED, ["start", "show"], 1),
    ],
)
def test_only_a_unit_that_failed_too_often_is_started_again(state: str, told: list[str], code: int) -> None:
    guest = Refusing(state)
    result = run_async(start(cast(Agent, guest), "alicia.service", Deadline.after(5)))
    assert (guest.told, result.code) == (told, code)
