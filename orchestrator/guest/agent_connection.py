"""The connection to a machine's guest agent: qemu.qmp's client, without greeting, with our limits and errors.

What is sent while the agent is just opening its port can be lost, so a sync is repeated until it is answered.
"""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from typing import Any

from qemu.qmp import QMPClient, Runstate
from qemu.qmp.qmp_client import ExecuteError

from orchestrator.deadline import Deadline, pause
from orchestrator.debug import shown_arguments, shown_command, timed
from orchestrator.errors import GuestCommandError, MachineError, TimeLimit
from orchestrator.vm.qmp import LOST, NOT_CONNECTED

SYNC_INTERVAL = 0.5
# Bytes of one reply. The agent keeps 16 MiB of each output of a command, and sends them as base64 in one line.
REPLY_LIMIT = 48 << 20


class AgentConnection:
    """An open connection to a machine's guest agent."""

    def __init__(self, machine: str, path: Path) -> None:
        self.machine = machine
        self._path = path
        self._client = _client(machine)
        self._endings: set[asyncio.Task[None]] = set()  # commands that the guest has still to end

    async def connect(self, deadline: Deadline) -> None:
        """Connect and synchronise.

        Raises:
            MachineError: no answer before the deadline.
        """

        def expired() -> MachineError:
            return MachineError(
                f"the guest agent of machine {self.machine} does not answer",
                why="qemu-guest-agent is not running in the guest, or the guest hangs",
                hint=f"orchestrator console {self.machine}",
            )

        async with deadline.enforce(expired):
            while True:
                try:
                    await self._client.connect(str(self._path))
                    async with Deadline.after(SYNC_INTERVAL).enforce():
                        token = secrets.randbits(31)
                        answer = await self._client.execute("guest-sync", {"id": token})
                    if answer == token:
                        return
                except (*NOT_CONNECTED, TimeLimit):
                    pass  # not there yet, or the sync was lost: again
                with suppress(*LOST):
                    await self._client.disconnect()
                self._client = _client(self.machine)
                await pause(0.05, deadline)

    async def call(self, command: str, arguments: Mapping[str, object] | None = None, *, deadline: Deadline) -> Any:
        """One agent command.

        Raises:
            GuestCommandError: the agent refused it.
            MachineError: no answer before the deadline, or the connection is lost.
        """

        async with deadline.enforce(lambda: self.silent(command, deadline)):
            return await self.answer(command, arguments)

    def silent(self, command: str, deadline: Deadline) -> MachineError:
        return MachineError(
            f"the guest agent of machine {self.machine} did not answer {command} within {deadline}",
            hint=f"orchestrator console {self.machine}",
        )

    async def answer(self, command: str, arguments: Mapping[str, object] | None = None) -> Any:
        """As `call`, without a limit of its own."""
        try:
            with timed("agent", self.machine, f"{command} {_shown(arguments)}".rstrip()) as outcome:
                answer = await self._client.execute(command, arguments)
                outcome.text = _shown_answer(answer)
                return answer
        except ExecuteError as error:
            raise GuestCommandError(
                f"the guest agent of machine {self.machine} refused {command}", why=str(error)
            ) from error
        except LOST as error:
            raise MachineError(
                f"the connection to the guest agent of machine {self.machine} is lost", why=str(error)
            ) from error

    @property
    def connected(self) -> bool:
        return self._client.runstate is Runstate.RUNNING

    def keep(self, ending: asyncio.Task[None]) -> None:
        """Hold a task that goes on after its caller, until the connection's end."""
        self._endings.add(ending)
        ending.add_done_callback(self._endings.discard)

    async def close(self) -> None:
        for ending in self._endings:
            ending.cancel()
        with suppress(*LOST):
            await self._client.disconnect()


def _client(machine: str) -> QMPClient:
    client = QMPClient(f"{machine}-agent", readbuflen=REPLY_LIMIT)
    client.await_greeting = False
    client.negotiate = False
    return client


def _shown(arguments: Mapping[str, object] | None) -> str:
    """For the debug log: a command to start as such, other arguments as far as they may be shown."""
    words = (arguments or {}).get("arg")
    if arguments is None or not isinstance(words, list):
        return shown_arguments(arguments)
    size = len(str(arguments.get("input-data", "")))
    return shown_command([str(arguments["path"]), *words]) + (f" < {size} characters" if size else "")


def _shown_answer(answer: object) -> str:
    return shown_arguments(answer) or "ok" if isinstance(answer, Mapping) else "ok"
