"""Units of a guest, seen and moved through the guest agent."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass

from orchestrator.deadline import Deadline
from orchestrator.guest.agent import GuestResult
from orchestrator.guest.channel import GuestChannel

PROPERTIES = ("LoadState", "ActiveState", "SubState", "Result", "NRestarts", "ExecMainStatus", "InvocationID")
UNKNOWN = "unknown"


def full_name(unit: str) -> str:
    """A unit's name with its suffix, as systemctl completes it.

    >>> full_name("nginx"), full_name("multi-user.target")
    ('nginx.service', 'multi-user.target')
    """
    return unit if "." in unit else f"{unit}.service"


@dataclass(frozen=True, slots=True)
class UnitStatus:
    """What ``systemctl show`` says of a unit.

    Attributes:
        unit: its own name, also where it was asked for by another one (an alias).
        restarts: how often systemd itself started it again since somebody else did.
        invocation: the mark of this run of it; empty where it never ran, or was forgotten after its end.
    """

    unit: str
    load: str
    active: str
    sub: str
    result: str
    restarts: int
    main_status: int
    invocation: str = ""

    @property
    def running(self) -> bool:
        return self.active in ("active", "reloading", "refreshing")

    @property
    def at_rest(self) -> bool:
        """Whether nothing of it runs, so that a start begins again and counts from zero."""
        return self.active in ("inactive", "failed")

    @property
    def known(self) -> bool:
        return self.active != UNKNOWN

    def trouble(self, *, oneshot: bool, restarts: int = 0) -> str:
        """Why the unit will not come up by itself; empty while it may.

        A unit that systemd restarts again and again is in trouble too: it is
        ``activating`` for ever and never ``failed``.

        Args:
            restarts: how many of its restarts were before, and are nobody's concern.
        """
        if self.load not in ("loaded", ""):
            return f"{self.unit} is {self.load}"
        if self.active == "failed":
            return f"{self.unit} failed ({self._how()})"
        if self.sub.startswith("auto-restart") or self.restarts > restarts:
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
                active=values.get("ActiveState", UNKNOWN),
                sub=values.get("SubState", ""),
                result=values.get("Result", ""),
                restarts=_number(values.get("NRestarts", "0")),
                main_status=_number(values.get("ExecMainStatus", "0")),
                invocation=values.get("InvocationID", ""),
            )
        )
    return found


def _number(text: str) -> int:
    return int(text) if text.isdigit() else 0


async def show(agent: GuestChannel, units: Sequence[str], deadline: Deadline) -> list[UnitStatus]:
    """The state of each of the units, in their order, with one command; unknown where systemd does not answer."""
    command = ["systemctl", "show", "-p", ",".join(("Id", *PROPERTIES)), "--", *units]
    found = parse_show((await agent.exec(command, deadline=deadline)).text)
    if len(found) == len(units):
        return found
    named = {one.unit: one for one in found}
    return [named.get(unit, parse_show("")[0]) for unit in units]


async def start(
    agent: GuestChannel, unit: str, deadline: Deadline, wakeup: Callable[[], Awaitable[None]] | None = None
) -> GuestResult:
    """``systemctl start``: it returns when the start job is done, and its code says how.

    Where it is refused, earlier failures are forgotten and it is tried once more:
    systemd starts a unit that failed only so many times in a row.
    """
    command = ["systemctl", "start", "--", unit]
    result = await agent.exec(command, deadline=deadline, wakeup=wakeup)
    if result.code == 0:
        return result
    (status,) = await show(agent, [unit], deadline)
    if status.result != "start-limit-hit":
        return result
    await agent.exec(["systemctl", "reset-failed", "--", unit], deadline=deadline)
    return await agent.exec(command, deadline=deadline)


async def stop(agent: GuestChannel, units: list[str], deadline: Deadline) -> GuestResult:
    return await agent.exec(["systemctl", "stop", "--", *units], deadline=deadline)


async def last_lines(agent: GuestChannel, unit: str, count: int, deadline: Deadline) -> list[str]:
    """The unit's last journal lines of this boot, messages only."""
    command = ["journalctl", "-b", f"--unit={unit}", "-n", str(count), "-o", "cat", "--no-pager", "-q"]
    result = await agent.exec(command, deadline=deadline)
    return [line for line in result.text.splitlines() if line.strip()]
