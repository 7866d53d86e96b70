"""What the program needs of a guest, whichever way it is reached: by its guest agent, or by SSH alone.

`orchestrator.guest.agent.Agent` is the usual way: it needs no network and no keys, and an answer takes milliseconds.
`SshChannel` does the same for a guest without an agent. Each call is a command then, of about 0.1 s.
"""

from __future__ import annotations

import shlex
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Protocol

from orchestrator.deadline import Deadline
from orchestrator.errors import GuestCommandError, MachineError
from orchestrator.guest.agent import READ_LIMIT, GuestResult
from orchestrator.guest.ssh import Ssh


class GuestChannel(Protocol):
    """A way to run commands in a guest, and to read and write its files, as root."""

    machine: str

    @property
    def connected(self) -> bool:
        """Whether it can be used without `connect`."""
        ...

    async def connect(self, deadline: Deadline) -> None:
        """Connect. Raises `MachineError` where nobody answers before the deadline."""
        ...

    async def exec(
        self,
        command: Sequence[str],
        *,
        deadline: Deadline,
        stdin: bytes | None = None,
        user: str = "root",
        wakeup: Callable[[], Awaitable[None]] | None = None,
    ) -> GuestResult:
        """Run a command and collect its output; at the deadline it is ended in the guest too.

        Args:
            wakeup: returns when the command may have ended; a channel that has to ask asks at once then.

        Raises:
            MachineError: it did not end before the deadline, or the guest is gone.
        """
        ...

    async def read_file(self, path: str, *, deadline: Deadline) -> bytes | None:
        """A small file (at most 64 KiB of it), None when it is not there."""
        ...

    async def write_file(self, path: str, content: bytes, *, deadline: Deadline) -> None:
        """Replace the content of a file; its owner and mode stay. Raises `GuestCommandError` where it cannot be."""
        ...

    async def time(self, *, deadline: Deadline) -> float:
        """The guest's clock, seconds since the epoch."""
        ...

    async def ping(self, *, deadline: Deadline) -> None:
        """Return when the guest answers. Raises `MachineError` where it does not."""
        ...

    async def begin(self, script: str, *, deadline: Deadline) -> None:
        """Start a shell script and do not ask what becomes of it: it may take the channel with it."""
        ...

    async def addresses(self, *, deadline: Deadline) -> tuple[str, ...] | None:
        """The IP addresses of all network cards; None where the guest cannot tell."""
        ...

    async def close(self) -> None:
        """Let go of it."""
        ...


class SshChannel:
    """The channel of a guest that has no agent.

    Args:
        connection: gives the machine's SSH connection, made again where it was lost. Raises `MachineError`.
    """

    def __init__(self, machine: str, connection: Callable[[], Awaitable[Ssh]]) -> None:
        self.machine = machine
        self._connection = connection

    @property
    def connected(self) -> bool:
        return True  # the connection is made, and made again, where it is used

    async def connect(self, deadline: Deadline) -> None:
        await self.ping(deadline=deadline)

    async def exec(
        self,
        command: Sequence[str],
        *,
        deadline: Deadline,
        stdin: bytes | None = None,
        user: str = "root",
        wakeup: Callable[[], Awaitable[None]] | None = None,
    ) -> GuestResult:
        del wakeup  # SSH tells the end by itself
        ssh = await self._ssh(deadline)
        return await ssh.exec(command, deadline=deadline, user=user, stdin=stdin or b"")

    async def read_file(self, path: str, *, deadline: Deadline) -> bytes | None:
        result = await self.exec(["head", "-c", str(READ_LIMIT), path], deadline=deadline)
        return result.stdout if result.code == 0 else None

    async def write_file(self, path: str, content: bytes, *, deadline: Deadline) -> None:
        result = await self.exec(["sh", "-c", f"cat > {shlex.quote(path)}"], stdin=content, deadline=deadline)
        if result.code != 0:
            raise GuestCommandError(f"{path} in machine {self.machine} cannot be written", why=result.complaint)

    async def time(self, *, deadline: Deadline) -> float:
        result = await self.exec(["date", "+%s.%N"], deadline=deadline)
        try:
            return float(result.text)
        except ValueError as error:
            raise GuestCommandError(f"machine {self.machine} does not tell its time", why=result.complaint) from error

    async def ping(self, *, deadline: Deadline) -> None:
        await self.exec(["true"], deadline=deadline)

    async def begin(self, script: str, *, deadline: Deadline) -> None:
        ssh = await self._ssh(deadline)
        with suppress(MachineError):  # it may end the connection before it answers
            await ssh.exec(["sh", "-c", script], deadline=deadline, stdin=b"")

    async def addresses(self, *, deadline: Deadline) -> tuple[str, ...] | None:
        del deadline  # who is reached by SSH has an address
        return None

    async def close(self) -> None:
        """The connection is its owner's to close."""

    async def _ssh(self, deadline: Deadline) -> Ssh:
        async with deadline.enforce(lambda: self._silent(deadline)):
            return await self._connection()

    def _silent(self, deadline: Deadline) -> MachineError:
        return MachineError(
            f"machine {self.machine} did not answer by SSH within {deadline}",
            subject=self.machine,
            hint=f"orchestrator console {self.machine}",
        )
