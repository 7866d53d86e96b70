"""The QEMU guest agent: a command channel that needs neither network nor keys.

qemu.qmp's client speaks to it too (no greeting, no capabilities). What is sent
while the agent is just opening its port can be lost, so a sync is repeated until
it is answered. One agent port takes one client at a time; visitors hold
``agent.lock`` while they use it.
"""

from __future__ import annotations

import asyncio
import base64
import secrets
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from qemu.qmp import QMPClient, Runstate
from qemu.qmp.qmp_client import ExecuteError

from orchestrator.deadline import Deadline, came, pause
from orchestrator.errors import GuestCommandError, MachineError, TimeLimit
from orchestrator.vm.qmp import LOST, NOT_CONNECTED

# NixOS keeps its programs elsewhere; both lists together serve every guest.
GUEST_PATH = "/run/wrappers/bin:/run/current-system/sw/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
SYNC_INTERVAL = 0.5
POLL_FIRST = 0.03
POLL_MOST = 0.25
READ_LIMIT = 1 << 16
NO_PROGRAM = "Failed to execute child process"  # GLib's words, in the agent's refusal


@dataclass(frozen=True, slots=True)
class GuestResult:
    """What a command in the guest gave. ``code`` is 128+n for a signal n."""

    code: int
    stdout: bytes
    stderr: bytes

    @property
    def text(self) -> str:
        """stdout as text, without the last newline."""
        return self.stdout.decode("utf-8", "replace").rstrip("\n")

    @property
    def complaint(self) -> str:
        """stderr, or stdout where stderr is empty, as text."""
        return (self.stderr or self.stdout).decode("utf-8", "replace").strip()


class Agent:
    """An open connection to a machine's guest agent."""

    def __init__(self, machine: str, path: Path) -> None:
        self.machine = machine
        self._path = path
        self._client = _client(machine)

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

        def expired() -> MachineError:
            return MachineError(
                f"the guest agent of machine {self.machine} did not answer {command} within {deadline.limit:.0f} s",
                hint=f"orchestrator console {self.machine}",
            )

        try:
            async with deadline.enforce(expired):
                return await self._client.execute(command, arguments)
        except ExecuteError as error:
            raise GuestCommandError(
                f"the guest agent of machine {self.machine} refused {command}", why=str(error)
            ) from error
        except LOST as error:
            raise MachineError(
                f"the connection to the guest agent of machine {self.machine} is lost", why=str(error)
            ) from error

    async def exec(
        self,
        command: Sequence[str],
        *,
        deadline: Deadline,
        stdin: bytes | None = None,
        user: str = "root",
        news: Callable[[], Awaitable[None]] | None = None,
    ) -> GuestResult:
        """Run a command in the guest and collect its output (at most 16 MiB, the agent's limit).

        At the deadline the command is ended in the guest too.

        Args:
            news: returns when the command may have ended; it is asked for at once then, and more rarely else.

        Raises:
            MachineError: it did not end before the deadline, or the agent is gone.
        """
        # No shell between: each program more costs an emulated guest tens of milliseconds.
        program, *words = as_user(command, user)
        arguments: dict[str, object] = {
            "path": program,
            "arg": words,
            "env": [f"PATH={GUEST_PATH}", f"HOME={'/root' if user == 'root' else '/'}", "LANG=C.UTF-8"],
            "capture-output": True,
        }
        if stdin is not None:
            arguments["input-data"] = base64.b64encode(stdin).decode()
        try:
            pid = int((await self.call("guest-exec", arguments, deadline=deadline))["pid"])
        except GuestCommandError as error:
            if NO_PROGRAM not in error.why:
                raise
            return GuestResult(127, b"", error.why.encode())  # as a shell would put it
        delay = POLL_FIRST
        while True:
            status = await self.call("guest-exec-status", {"pid": pid}, deadline=Deadline.after(max(deadline.left, 5)))
            if status["exited"]:
                code = int(status.get("exitcode", 128 + int(status.get("signal", 0))))
                return GuestResult(code, _decode(status, "out-data"), _decode(status, "err-data"))
            if deadline.expired:
                # The agent makes each command the leader of a process group; an old agent may not.
                kill = {"path": "/bin/sh", "arg": ["-c", f"kill -9 -- -{pid} || kill -9 {pid}"]}
                with suppress(MachineError, GuestCommandError):
                    await self.call("guest-exec", kill, deadline=Deadline.after(5))
                raise MachineError(
                    f"a command in machine {self.machine} did not end within {deadline.limit:.0f} s",
                    evidence=[" ".join(command)],
                    hint=f"orchestrator shell {self.machine}",
                )
            interval = min(delay, max(deadline.left, 0.005))
            if news is None:
                await asyncio.sleep(interval)
            elif await came(news, Deadline.after(interval)):
                delay = POLL_FIRST
                continue
            delay = min(delay * 1.5, POLL_MOST)

    async def read_file(self, path: str, *, deadline: Deadline) -> bytes | None:
        """A small file of the guest (at most 64 KiB of it), None when it is not there; it starts no program."""
        try:
            handle = await self.call("guest-file-open", {"path": path, "mode": "r"}, deadline=deadline)
        except GuestCommandError:
            return None
        try:
            arguments = {"handle": handle, "count": READ_LIMIT}
            read = await self.call("guest-file-read", arguments, deadline=deadline)
        finally:
            await self.call("guest-file-close", {"handle": handle}, deadline=deadline)
        return base64.b64decode(read["buf-b64"])

    async def write_file(self, path: str, content: bytes, *, deadline: Deadline) -> None:
        """Replace the content of a guest's file; its owner and mode stay. It starts no program.

        Raises:
            GuestCommandError: the file cannot be written.
        """
        handle = await self.call("guest-file-open", {"path": path, "mode": "w"}, deadline=deadline)
        try:
            arguments = {"handle": handle, "buf-b64": base64.b64encode(content).decode()}
            written = await self.call("guest-file-write", arguments, deadline=deadline)
        finally:
            await self.call("guest-file-close", {"handle": handle}, deadline=deadline)
        if written["count"] != len(content):
            raise GuestCommandError(f"only a part of {path} in machine {self.machine} could be written")

    @property
    def connected(self) -> bool:
        return self._client.runstate is Runstate.RUNNING

    async def close(self) -> None:
        with suppress(*LOST):
            await self._client.disconnect()


def as_user(command: Sequence[str], user: str) -> list[str]:
    """The command run by another user of the guest, without PAM and its half second. HOME is the caller's to set."""
    if user == "root":
        return list(command)
    return ["setpriv", f"--reuid={user}", f"--regid={user}", "--init-groups", "--", *command]


def _client(machine: str) -> QMPClient:
    client = QMPClient(f"{machine}-agent")
    client.await_greeting = False
    client.negotiate = False
    return client


def _decode(status: dict[str, Any], key: str) -> bytes:
    return base64.b64decode(status.get(key, ""))
