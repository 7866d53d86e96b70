"""QMP, through qemu.qmp, with our deadlines and our errors.

One `Monitor` is one connection. qemu.qmp's own client has no limits; every
call here is under a `Deadline`, and a QEMU that is gone, stopped or answering
nonsense ends in a `MachineError` that says which machine and which command.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any

from qemu.qmp import EventListener, QMPClient
from qemu.qmp.error import QMPError
from qemu.qmp.message import Message
from qemu.qmp.qmp_client import ExecuteError

from orchestrator.deadline import Deadline, monotonic, pause
from orchestrator.debug import shown_arguments, timed
from orchestrator.errors import MachineError, OrchestratorError

CONNECT_INTERVAL = 0.01
SILENCE = 0.2  # seconds without an answer after which an attempt tells more than the refusals before it
COMMAND_LIMIT = 10.0
# How qemu.qmp tells that a connection is of no use any more; ValueError: bytes that are no text, a line without end.
LOST = (QMPError, EOFError, OSError, ValueError)
# While connecting also this: qemu.qmp asserts that a connection it has just made still is one.
NOT_CONNECTED = (*LOST, AssertionError)


class Monitor:
    """An open QMP connection to one machine."""

    def __init__(self, machine: str, client: QMPClient) -> None:
        self.machine = machine
        self._client = client
        self._handing = asyncio.Lock()  # a file descriptor belongs to the add-fd that follows it

    async def execute(
        self, command: str, arguments: Mapping[str, object] | None = None, *, deadline: Deadline | None = None
    ) -> Any:
        """Run a QMP command and return its ``return`` value.

        Raises:
            MachineError: QEMU refused it, is gone, or did not answer in time.
        """
        limit = (deadline or Deadline.after(COMMAND_LIMIT)).earlier(COMMAND_LIMIT)

        def expired() -> MachineError:
            return MachineError(
                f"QEMU of machine {self.machine} did not answer {command} within {limit}",
                why="the process may be stopped, or the host is overloaded",
                hint="orchestrator status",
            )

        try:
            with timed("qmp", self.machine, f"{command} {shown_arguments(arguments)}".rstrip()):
                async with limit.enforce(expired):
                    return await self._client.execute(command, dict(arguments) if arguments else None)
        except ExecuteError as error:
            raise MachineError(f"QEMU of machine {self.machine} refused {command}", why=str(error)) from error
        except LOST as error:
            raise MachineError(f"the QMP connection to machine {self.machine} is lost", why=str(error)) from error

    async def hmp(self, line: str, *, deadline: Deadline | None = None) -> str:
        """Run a human monitor command and return what it prints."""
        return str(await self.execute("human-monitor-command", {"command-line": line}, deadline=deadline))

    async def run_state(self) -> str:
        """``running``, ``paused``, ``guest-panicked``, …"""
        return str((await self.execute("query-status"))["status"])

    async def screenshot(self, path: Path) -> None:
        """Write the machine's display as PNG."""
        try:
            async with self.passed_fd(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as name:
                await self.execute("screendump", {"filename": name, "format": "png"})
        except MachineError:
            path.unlink(missing_ok=True)
            raise

    @asynccontextmanager
    async def passed_fd(self, path: Path, flags: int) -> AsyncIterator[str]:
        """A file under a name QEMU can open, also where it runs as a user who may open nothing of ours.

        We open it and hand over the descriptor; a new file is its owner's only.

        Args:
            flags: of open(2); QEMU must ask for the same kind of access.

        Raises:
            OSError: it cannot be opened.
            MachineError: QEMU does not take it.
        """
        descriptor = os.open(path, flags | os.O_CLOEXEC, 0o600)
        try:
            given = await self._hand(descriptor, "add-fd")
        finally:
            os.close(descriptor)
        number = given["fdset-id"]
        try:
            yield f"/dev/fdset/{number}"
        finally:
            with suppress(OrchestratorError):
                await self.execute("remove-fd", {"fdset-id": number}, deadline=Deadline.after(1))

    @asynccontextmanager
    async def new_file(self, path: Path, owner: str) -> AsyncIterator[str]:
        """A new, empty file under a name that QEMU can open for writing, where it takes no file descriptors.

        A process may open its own descriptors by name, whoever it has become; only the file itself must be its own.

        Args:
            owner: ``uid:gid`` of QEMU; empty: it is who we are.

        Raises:
            OSError: it cannot be made.
            MachineError: QEMU does not take it.
        """
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        try:
            if owner:
                user, _, group = owner.partition(":")
                os.fchown(descriptor, int(user), int(group))
            given = await self._hand(descriptor, "add-fd")
        finally:
            os.close(descriptor)
        try:
            yield f"/proc/self/fd/{given['fd']}"
        finally:
            with suppress(OrchestratorError):
                await self.execute("remove-fd", {"fdset-id": given["fdset-id"]}, deadline=Deadline.after(1))

    async def give(self, name: str, descriptor: int) -> None:
        """Give QEMU an open file of its own, under a name that its next command uses (``fd:NAME``)."""
        await self._hand(descriptor, "getfd", {"fdname": name})

    async def _hand(self, descriptor: int, command: str, arguments: Mapping[str, object] | None = None) -> Any:
        async with self._handing:
            try:
                self._client.send_fd_scm(descriptor)
            except LOST as error:
                raise MachineError(f"the QMP connection to machine {self.machine} is lost", why=str(error)) from error
            return await self.execute(command, arguments)

    async def forwarded_ports(self) -> dict[int, int]:
        """Guest port → port of 127.0.0.1 on the host, as QEMU really bound them."""
        return parse_usernet(await self.hmp("info usernet"))

    @asynccontextmanager
    async def events(self) -> AsyncIterator[EventListener]:
        """A listener; it holds every event from the moment the block is entered."""
        with self._client.listener() as listener:
            yield listener

    async def close(self) -> None:
        with suppress(*LOST, OrchestratorError):
            async with Deadline.after(2).enforce():
                await self._client.disconnect()


async def connect(machine: str, path: Path, deadline: Deadline) -> Monitor:
    """Connect to the QMP socket, retrying until QEMU has made it.

    Raises:
        MachineError: no greeting before the deadline.
    """
    client = QMPClient(machine)
    reason, tried = "", monotonic()

    def expired() -> MachineError:
        return MachineError(
            f"QEMU of machine {machine} does not answer on its QMP socket",
            why=reason
            if reason and monotonic() - tried < SILENCE
            else "it accepts connections but sends no greeting: the process may be stopped",
            where=[str(path)],
        )

    async with deadline.enforce(expired):
        while True:
            try:
                tried = monotonic()
                await client.connect(str(path))
                return Monitor(machine, client)
            except NOT_CONNECTED as error:
                reason = str(error) or "it closed the connection at once"
                with suppress(*LOST):
                    await client.disconnect()
                client = QMPClient(machine)
                await pause(CONNECT_INTERVAL, deadline)


def parse_usernet(text: str) -> dict[int, int]:
    """Guest port → host port from the output of ``info usernet``.

    >>> parse_usernet("  TCP[HOST_FORWARD]   3       127.0.0.1 34529       10.0.2.15    22     0     0")
    {22: 34529}
    """
    found: dict[int, int] = {}
    for line in text.splitlines():
        fields = line.split()
        if len(fields) >= 6 and fields[0] == "TCP[HOST_FORWARD]":
            found[int(fields[5])] = int(fields[3])
    return found


def event_summary(message: Message) -> tuple[str, Mapping[str, Any]]:
    """An event's name and data."""
    return str(message["event"]), dict(message.get("data", {}))  # type: ignore[call-overload]
