"""The QEMU guest agent: a command channel that needs neither network nor keys.

qemu.qmp's client speaks to it too (no greeting, no capabilities). What is sent
while the agent is just opening its port can be lost, so a sync is repeated until
it is answered. One agent port takes one client at a time; visitors hold
``agent.lock`` while they use it.
"""

from __future__ import annotations

import asyncio
import base64
import re
import shlex
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from orchestrator.deadline import Deadline, completes_before
from orchestrator.errors import GuestCommandError, MachineError
from orchestrator.guest.agent_connection import AgentConnection
from orchestrator.tasks import finish_despite_cancel

# NixOS keeps its programs elsewhere; both lists together serve every guest.
GUEST_PATH = "/run/wrappers/bin:/run/current-system/sw/bin:/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"
POLL_FIRST = 0.03
POLL_MOST = 0.25
READ_LIMIT = 1 << 16
END_GRACE = 2.0  # seconds the guest has to end a command before we stop waiting for that
NO_PROGRAM = "Failed to execute child process"  # GLib's words, in the agent's refusal


@dataclass(frozen=True, slots=True)
class GuestResult:
    """What a command in the guest gave. ``code`` is 128+n for a signal n; ``cut``: it printed more than is here."""

    code: int
    stdout: bytes
    stderr: bytes
    cut: bool = False

    @property
    def text(self) -> str:
        """stdout as text, without the last newline."""
        return self.stdout.decode("utf-8", "replace").rstrip("\n")

    @property
    def complaint(self) -> str:
        """stderr, or stdout where stderr is empty, as text."""
        return (self.stderr or self.stdout).decode("utf-8", "replace").strip()


class _Begun:
    """A command that the agent was asked to start. Its pid may come when nobody wants the command any more."""

    def __init__(self, agent: Agent, arguments: Mapping[str, object]) -> None:
        self._agent = agent
        self._arguments = arguments
        self._asking: asyncio.Task[int] | None = None
        self._over = False  # it has ended

    async def pid(self, deadline: Deadline) -> int:
        """Ask, and wait for the answer; cancelled, the question goes on, for `end` to know what there is to end."""
        async with deadline.enforce(lambda: self._agent.silent("guest-exec", deadline)):
            self._asking = asyncio.ensure_future(self._ask())  # noqa: TID251 - it outlives whoever asked
            return await asyncio.shield(self._asking)

    async def _ask(self) -> int:
        # No limit but the connection's own end: an answer that comes late is worth having.
        return int((await self._agent.answer("guest-exec", self._arguments))["pid"])

    def over(self) -> None:
        self._over = True

    async def end(self) -> None:
        """End it in the guest; a guest that does not answer is waited for only shortly, and ends it when it does."""
        if self._asking is None or self._over:
            return
        ending = asyncio.ensure_future(self._end(self._asking))  # noqa: TID251 - it outlives whoever was cancelled
        self._agent.keep(ending)

        async def ended() -> None:
            await completes_before(lambda: asyncio.shield(ending), Deadline.after(END_GRACE))

        await finish_despite_cancel(ended())

    async def _end(self, asking: asyncio.Task[int]) -> None:
        with suppress(Exception):  # it is gone with its connection, its agent, or its machine
            pid = await asking
            # The agent makes each command the leader of a process group; an old agent may not.
            kill = {"path": "/bin/sh", "arg": ["-c", f"kill -9 -- -{pid} || kill -9 {pid}"]}
            killer = int((await self._agent.answer("guest-exec", kill))["pid"])
            # The agent keeps what a command printed until it is asked for.
            for one in (killer, pid):
                delay = POLL_FIRST
                while not (await self._agent.answer("guest-exec-status", {"pid": one}))["exited"]:
                    await asyncio.sleep(delay)
                    delay = min(delay * 1.5, POLL_MOST)


class Agent(AgentConnection):
    """The guest agent of a machine, which runs commands, and reads and writes files."""

    async def exec(
        self,
        command: Sequence[str],
        *,
        deadline: Deadline,
        stdin: bytes | None = None,
        user: str = "root",
        wakeup: Callable[[], Awaitable[None]] | None = None,
    ) -> GuestResult:
        """Run a command in the guest and collect its output (at most 16 MiB, the agent's limit).

        At the deadline the command is ended in the guest too.

        Args:
            wakeup: returns when the command may have ended; it is asked for at once then, and more rarely else.

        Raises:
            MachineError: it did not end before the deadline, or the agent is gone.
        """
        words = as_user(command, user)
        if user != "root":
            # Only here a shell comes between: each program more costs an emulated guest tens of milliseconds.
            words = ["sh", "-c", f'{become(user)}; exec "$@"', "sh", *words]
        arguments: dict[str, object] = {
            "path": words[0],
            "arg": words[1:],
            "env": [f"PATH={GUEST_PATH}", "HOME=/root", "USER=root", "LOGNAME=root", "LANG=C.UTF-8"],
            "capture-output": True,
        }
        if stdin is not None:
            arguments["input-data"] = base64.b64encode(stdin).decode()
        begun = _Begun(self, arguments)
        try:
            return await self._follow(begun, command, deadline, wakeup)
        except GuestCommandError as error:
            if NO_PROGRAM not in error.why:
                raise
            return GuestResult(127, b"", error.why.encode())  # as a shell would put it
        except BaseException:
            # At the deadline, or when we are cancelled: nothing may go on in the guest.
            await begun.end()
            raise

    async def _follow(
        self, begun: _Begun, command: Sequence[str], deadline: Deadline, wakeup: Callable[[], Awaitable[None]] | None
    ) -> GuestResult:
        pid = await begun.pid(deadline)
        delay = POLL_FIRST
        while True:
            status = await self.call("guest-exec-status", {"pid": pid}, deadline=Deadline.after(max(deadline.left, 5)))
            if status["exited"]:
                begun.over()
                code = int(status.get("exitcode", 128 + int(status.get("signal", 0))))
                cut = bool(status.get("out-truncated") or status.get("err-truncated"))
                return GuestResult(code, _decode(status, "out-data"), _decode(status, "err-data"), cut)
            if deadline.expired:
                raise MachineError(
                    f"a command in machine {self.machine} did not end within {deadline}",
                    evidence=[" ".join(command)],
                    hint=f"orchestrator shell {self.machine}",
                )
            interval = min(delay, max(deadline.left, 0.005))
            if wakeup is None:
                await asyncio.sleep(interval)
            elif await completes_before(wakeup, Deadline.after(interval)):
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

    async def time(self, *, deadline: Deadline) -> float:
        """The guest's clock, seconds since the epoch."""
        return int(await self.call("guest-get-time", deadline=deadline)) / 1e9

    async def ping(self, *, deadline: Deadline) -> None:
        """Return when the agent answers."""
        await self.call("guest-ping", deadline=deadline)

    async def begin(self, script: str, *, deadline: Deadline) -> None:
        """Start a shell script and do not ask what becomes of it."""
        command = {"path": "/bin/sh", "arg": ["-c", script], "env": [f"PATH={GUEST_PATH}"]}
        await self.call("guest-exec", command, deadline=deadline)

    async def addresses(self, *, deadline: Deadline) -> tuple[str, ...] | None:
        """The IP addresses of all network cards; None where this agent cannot tell."""
        try:
            cards = await self.call("guest-network-get-interfaces", deadline=deadline)
            return tuple(str(one["ip-address"]) for card in cards for one in card.get("ip-addresses", ()))
        except (GuestCommandError, AttributeError, KeyError, TypeError):
            return None


def as_user(command: Sequence[str], user: str) -> list[str]:
    """The command run by another user of the guest, in all that user's groups.

    chroot(1) to the same root does just that: without PAM and its half second, and with the groups of the guest's
    own passwd. HOME and the like are the caller's to set (`become`).
    """
    if user == "root":
        return list(command)
    return ["chroot", f"--userspec={user}", "--skip-chdir", "/", *command]


def become(user: str) -> str:
    """Words for the guest's shell that set HOME, USER and LOGNAME as its passwd has them; no program is started."""
    if re.fullmatch(r"[0-9]+", user):  # the shell knows users by name only
        found = f'who=$(id -nu {user} 2>/dev/null) && eval "HOME=~$who USER=$who LOGNAME=$who" || HOME=/'
    elif re.fullmatch(r"[A-Za-z0-9_][A-Za-z0-9_.@-]*", user):
        found = f"HOME=~{user} USER={user} LOGNAME={user}"
    else:
        found = f"HOME=/ USER={shlex.quote(user)} LOGNAME={shlex.quote(user)}"
    return f"{found}; export HOME USER LOGNAME"


def _decode(status: dict[str, Any], key: str) -> bytes:
    return base64.b64decode(status.get(key, ""))
