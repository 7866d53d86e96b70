"""How a command runs in a machine, below the calls of `machine_commands`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from types import MappingProxyType
from typing import Any

from orchestrator.deadline import Deadline, monotonic
from orchestrator.driver.machine_base import MachineBase
from orchestrator.driver.results import CommandFailed, JournalEntry, Result, Seconds
from orchestrator.driver.shell import CONSOLE, as_text, command_text, login_exports, login_text, stderr_file, to_file
from orchestrator.errors import MachineError
from orchestrator.guest.agent import GuestResult
from orchestrator.guest.ssh import Ssh

Command = str | Sequence[str]
TOO_LATE = 124
LOG_LAG = 0.5  # seconds until what a command wrote is in the files of console and journal: journald waits 0.25
LOGIN_LIMIT = 30.0  # seconds, before scaling
STDERR_LIMIT = 1 << 20  # bytes
STDERR_TIME = 10.0  # seconds, before scaling


class Shell(MachineBase):
    """Runs commands."""

    async def _captured(
        self,
        command: Command,
        timeout: Seconds | Deadline | None,
        user: str,
        *,
        streams: Mapping[str, Any] = MappingProxyType({}),
    ) -> tuple[Result, int]:
        """Run a command with both outputs captured; with the place in the journal before it.

        Args:
            streams: more keywords of `orchestrator.guest.ssh.Ssh.exec`.
        """
        out, err = bytearray(), bytearray()
        live = await self._up()
        journal = self._journal_size()
        deadline, began = self._deadline(timeout), monotonic()
        sinks = {
            "on_stdout": out.extend,
            "on_stderr": err.extend,
            **{k: v for k, v in streams.items() if v is not None},
        }
        async with self._slot(deadline):
            ssh = await live.ssh()
            code = await self._code(ssh.exec(words_of(command), deadline=deadline, user=user, **sinks), deadline)
        return Result(as_text(command), code, bytes(out), bytes(err), monotonic() - began), journal

    async def _shell(
        self,
        command: Command,
        timeout: Seconds | Deadline | None,
        user: str = "root",
        *,
        explain: Callable[[int], bool] = lambda _: False,
    ) -> tuple[Result, list[JournalEntry]]:
        """Run a command with the driver's contract.

        Args:
            explain: whether an exit code is to be explained, by stderr and what the journal got. That takes a moment.
        """
        console = self._stderr_to_console
        text = as_text(command)
        if user != "root":
            result, _ = await self._captured(text, timeout, user)
            return result, []
        live = await self._up()
        journal, printed = self._journal_size(), self._console_size()
        deadline, began, out = self._deadline(timeout), monotonic(), bytearray()
        async with self._slot(deadline) as slot:
            ssh = await live.ssh()
            script = command_text(text, await self._login(ssh), CONSOLE if console else to_file(slot))
            code = await self._code(ssh.shell(script, deadline=deadline, on_stdout=out.extend), deadline)
            seconds = monotonic() - began
            if not explain(code):
                return Result(text, code, bytes(out), b"", seconds), []
            await asyncio.sleep(LOG_LAG)
            stderr = self._console_since(printed).encode() if console else await self._stderr(ssh, slot)
        return Result(text, code, bytes(out), stderr, seconds), self._journal_since(journal)

    async def _code(self, work: Coroutine[Any, Any, GuestResult], deadline: Deadline) -> int:
        """The exit code of a command that was given to SSH; 124 where its time was over."""
        try:
            return (await self._call(work)).code
        except MachineError:
            if deadline.expired and self._power.booted:
                return TOO_LATE
            raise

    async def _login(self, ssh: Ssh) -> str:
        """The environment of root's login, asked once in each boot."""
        if self._login_of is None or self._login_of[0] is not ssh:
            result = await self._call(ssh.shell(login_text(), deadline=self._deadline(LOGIN_LIMIT)))
            self._login_of = (ssh, login_exports(result.stdout))
        return self._login_of[1]

    async def _stderr(self, ssh: Ssh, slot: int) -> bytes:
        words = ["tail", "-c", str(STDERR_LIMIT), stderr_file(slot)]
        with suppress(MachineError):
            return (await self._call(ssh.exec(words, deadline=self._deadline(STDERR_TIME)))).stdout
        return b""

    def _failed(self, what: str, result: Result, journal: Sequence[JournalEntry]) -> CommandFailed:
        name = self._fleet.session.paths.name
        hint = f"orchestrator -n {name} shell {self.name}"
        return CommandFailed(what, result, journal, machine=self.name, hint=hint)


def words_of(command: Command) -> list[str]:
    """A command as words: a text is one for bash."""
    return ["bash", "-euo", "pipefail", "-c", command] if isinstance(command, str) else list(command)
