"""Units of a guest, seen and moved through the guest agent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable
from dataclasses import dataclass

from orchestrator.deadline import Deadline
from orchestrator.guest.agent import Agent, GuestResult

PROPERTIES = ("ActiveState", "SubState", "Result", "NRestarts", "ExecMainStatus", "ExecMainCode", "LoadState", "Type")


@dataclass(frozen=True, slots=True)
class UnitStatus:
    """What ``systemctl show`` says of a unit."""

    unit: str
    load: str
    active: str
    sub: str
    result: str
    restarts: int
    main_status: int

    @property
    def running(self) -> bool:
        return self.active == "active"

    def trouble(self, *, oneshot: bool) -> str:
        """Why the unit will not come up by itself; empty while it may.

        A unit that systemd restarts again and again is in trouble too: it is
        ``activating`` for ever and never ``failed``.
        """
        if self.load not in ("loaded", ""):
            return f"{self.unit} is {self.load}"
        if self.active == "failed":
            return f"{self.unit} failed ({self._how()})"
        if self.sub == "auto-restart" or self.restarts > 0:
            return f"{self.unit} ended and is being restarted by systemd ({self._how()}, restart {self.restarts})"
        if self.active == "inactive" and not (oneshot and self.result == "success"):
            return f"{self.unit} ended ({self._how()})"
        return ""

    def _how(self) -> str:
        if self.result == "exit-code":
            return f"exit status {self.main_status}"
        return f"result {self.result}"


def parse_show(text: str) -> list[UnitStatus]:
    """The blocks of ``systemctl show -p Id,… UNIT…``, in their order."""
    found = []
    for block in text.strip().split("\n\n"):
        values = dict(line.split("=", 1) for line in block.splitlines() if "=" in line)
        found.append(
            UnitStatus(
                unit=values.get("Id", ""),
                load=values.get("LoadState", ""),
                active=values.get("ActiveState", "unknown"),
                sub=values.get("SubState", ""),
                result=values.get("Result", ""),
                restarts=_number(values.get("NRestarts", "0")),
                main_status=_number(values.get("ExecMainStatus", "0")),
            )
        )
    return found


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0


async def show(agent: Agent, units: list[str], deadline: Deadline) -> list[UnitStatus]:
    """The state of several units with one command."""
    command = ["systemctl", "show", "-p", ",".join(("Id", *PROPERTIES)), "--", *units]
    return parse_show((await agent.exec(command, deadline=deadline)).text)


async def start(
    agent: Agent, unit: str, deadline: Deadline, news: Callable[[], Awaitable[None]] | None = None
) -> GuestResult:
    """``systemctl start``: it returns when the start job is done, and its code says how.

    Where it is refused, earlier failures are forgotten and it is tried once more:
    systemd starts a unit that failed only so many times in a row.
    """
    command = ["systemctl", "start", "--", unit]
    result = await agent.exec(command, deadline=deadline, news=news)
    if result.code == 0:
        return result
    (status,) = await show(agent, [unit], deadline)
    if status.result != "start-limit-hit":
        return result
    await agent.exec(["systemctl", "reset-failed", "--", unit], deadline=deadline)
    return await agent.exec(command, deadline=deadline)


async def stop(agent: Agent, units: list[str], deadline: Deadline) -> GuestResult:
    return await agent.exec(["systemctl", "stop", "--", *units], deadline=deadline)


async def last_lines(agent: Agent, unit: str, count: int, deadline: Deadline) -> list[str]:
    """The unit's last journal lines of this boot, messages only."""
    command = ["journalctl", "-b", "-u", unit, "-n", str(count), "-o", "cat", "--no-pager", "-q"]
    result = await agent.exec(command, deadline=deadline)
    return [line for line in result.text.splitlines() if line.strip()]
