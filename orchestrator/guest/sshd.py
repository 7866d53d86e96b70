"""When a guest's sshd can be reached, and which key it will show; read through the agent, which starts no program."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass

from orchestrator.deadline import Deadline, completes_before, pause
from orchestrator.errors import MachineError
from orchestrator.guest.channel import GuestChannel
from orchestrator.guest.keys import PUBLIC_HOST_KEY
from orchestrator.guest.lacks import Lack, Lacks

LOOK_FACTOR = 5  # intervals between two looks at whether an sshd is to be expected at all
STATE_OF_SSHD = """
case $(systemctl is-system-running 2>/dev/null) in initializing | starting | "") echo booting; exit ;; esac
PATH=$PATH:/usr/local/sbin:/usr/sbin:/sbin
command -v sshd >/dev/null || [ -e /etc/systemd/system/sshd.service ] || { echo absent; exit; }
echo stopped
systemctl list-units --all --plain --no-legend 'ssh*.service' 'ssh*.socket'
"""
QUESTION_LEAST = 5.0  # seconds an agent has for an answer, also where the wait is nearly over


@dataclass(frozen=True, slots=True)
class SshdWait:
    """How to wait for a guest's sshd.

    Attributes:
        listening: set when the journal said that sshd listens.
        port: the guest's port.
        interval: seconds between looks, where the journal is silent.
        listens_before: the end of the wait.
        lacks: makes the error.
    """

    listening: asyncio.Event
    port: int
    interval: float
    listens_before: Deadline
    lacks: Lacks


async def listening_host_key(agent: GuestChannel, wait: SshdWait, deadline: Deadline) -> str:
    """Wait until the guest's sshd listens; its public host key.

    The journal tells it, which costs a booting guest nothing. To knock before costs
    seconds: QEMU's user network takes the connection, and tries again in ever
    longer pauses to pass it on.

    Args:
        deadline: of each question to the agent.

    Raises:
        MachineError: sshd did not listen in time.
    """
    timeout = wait.listens_before
    looked = timeout.elapsed
    while True:
        await completes_before(wait.listening.wait, timeout.earlier(wait.interval))
        question = deadline.earlier(max(timeout.left, QUESTION_LEAST))
        line = await agent.read_file(PUBLIC_HOST_KEY, deadline=question) or b""
        if line.endswith(b"\n") and (wait.listening.is_set() or await _listens(agent, wait.port, question)):
            return line.decode("utf-8", "replace").strip()
        if timeout.expired:
            raise MachineError(
                f"sshd of machine {agent.machine} did not listen within {timeout}",
                subject=agent.machine,
                why="it is not running" if line else f"{PUBLIC_HOST_KEY} does not exist: the unit that makes it failed",
                hint=f"orchestrator console {agent.machine}",
                where=wait.lacks.where,
            )
        if timeout.elapsed >= looked + LOOK_FACTOR * wait.interval:
            await _require_sshd(agent, wait, question)
            looked = timeout.elapsed
        if wait.listening.is_set():  # it was told: nothing brings the next look forward
            await pause(wait.interval, timeout)


async def _require_sshd(agent: GuestChannel, wait: SshdWait, deadline: Deadline) -> None:
    """Give up waiting once the boot is over: what does not listen then will not.

    Raises:
        MachineError: there is no sshd, or it does not run.
    """
    state = (await agent.exec(["sh", "-c", STATE_OF_SSHD], deadline=deadline)).text.split()
    if not state or state[0] == "booting" or await _listens(agent, wait.port, deadline):
        return
    if state[0] == "absent":
        raise wait.lacks.error(Lack.SSHD, "its agent answers, its boot is over, and there is no program sshd")
    how = " ".join(state[1:]) or "no unit of it is loaded"
    raise wait.lacks.error(Lack.SSHD, f"its boot is over, and nothing listens on port {wait.port}: {how}")


async def _listens(agent: GuestChannel, port: int, deadline: Deadline) -> bool:
    tables = [await agent.read_file(f"/proc/net/{name}", deadline=deadline) for name in ("tcp", "tcp6")]
    return any(listens(table or b"", port) for table in tables)


def listens(table: bytes, port: int) -> bool:
    """Whether /proc/net/tcp shows a socket that listens on the port. Pure.

    >>> listens(b"   0: 00000000:0016 00000000:0000 0A 00000000:00000000 00:00000000 00000000", 22)
    True
    """
    rows = (line.split() for line in table.splitlines())
    return any(len(row) > 3 and row[3] == b"0A" and row[1].endswith(b":%04X" % port) for row in rows)
