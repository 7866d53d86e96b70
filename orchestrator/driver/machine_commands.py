"""Commands in a machine."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Mapping, Sequence
from contextlib import suppress
from typing import Any

from orchestrator.deadline import Deadline, completes_before, monotonic
from orchestrator.driver.machine_base import MachineBase
from orchestrator.driver.process import Process
from orchestrator.driver.results import CommandFailed, JournalEntry, Result, Seconds, ended_text
from orchestrator.driver.shell import CONSOLE, LOGIN, as_text, command_text, login_exports, stderr_file, to_file
from orchestrator.errors import MachineError
from orchestrator.guest.agent import GuestResult
from orchestrator.guest.command import Sink
from orchestrator.guest.ssh import Ssh

Command = str | Sequence[str]
TIMEOUT = 300.0  # seconds of a command, before scaling
TOO_LATE = 124
LOG_LAG = 0.5  # seconds until what a command wrote is in the files of console and journal: journald waits 0.25
LOGIN_LIMIT = 30.0  # seconds, before scaling
STDERR_LIMIT = 1 << 20  # bytes


class Commands(MachineBase):
    """Commands in a machine.

    A command is a text for bash, or a list of words. A text runs as in the NixOS test driver: ``bash`` with
    ``set -euo pipefail``, as root, in ``/tmp``, with the environment of root's login, in a new shell each time.
    """

    async def succeed(self, *commands: Command, timeout: Seconds | None = TIMEOUT, user: str = "root") -> str:
        """Run commands that must exit with 0, one after the other.

        It returns when all that write to stdout have closed it. A process that is left running has its output sent
        elsewhere, as in ``daemon >&2 &``.

        Args:
            commands: texts for bash, or lists of words.
            timeout: seconds for each on a host with KVM; a slower host has more. None: no limit.
            user: who runs them.

        Returns:
            stdout of all of them, not stripped; bytes that are no UTF-8 are replaced.

        Raises:
            CommandFailed: one exits with another code, or its time is over (124). An `AssertionError`.
            MachineError: the machine is lost.
        """
        output = ""
        for command in commands:
            result, journal = await self._shell(command, timeout, user, explain=lambda code: code != 0)
            if result.rc != 0:
                raise self._failed(f"`{result.command}` failed in {self.name}: {ended_text(result)}", result, journal)
            output += result.out
        return output

    async def fail(self, *commands: Command, timeout: Seconds | None = TIMEOUT, user: str = "root") -> str:
        """Run commands that must not exit with 0, one after the other; see `succeed`.

        Returns:
            stdout of all of them.

        Raises:
            CommandFailed: one exits with 0. An `AssertionError`.
        """
        output = ""
        for command in commands:
            result, journal = await self._shell(command, timeout, user, explain=lambda code: code == 0)
            if result.rc == 0:
                raise self._failed(f"`{result.command}` succeeded in {self.name}, and must fail", result, journal)
            output += result.out
        return output

    async def execute(self, command: Command, timeout: Seconds | None = TIMEOUT, user: str = "root") -> tuple[int, str]:
        """Run a command, whatever it exits with; see `succeed`.

        Returns:
            The exit code (124 when its time is over) and stdout.
        """
        result, _ = await self._shell(command, timeout, user)
        return result.rc, result.out

    async def run(  # noqa: PLR0913 - the keywords of subprocess.run
        self,
        command: Command,
        *,
        timeout: Seconds | None = TIMEOUT,
        user: str = "root",
        stdin: bytes | str | None = None,
        environment: Mapping[str, str] | None = None,
        cwd: str | None = None,
        check: bool = False,
        on_stdout: Callable[[bytes], object] | None = None,
        on_stderr: Callable[[bytes], object] | None = None,
    ) -> Result:
        """Run a command as `subprocess.run` does: both outputs are captured, a background child that holds one is
        waited for.

        Args:
            command: a text for bash (``set -euo pipefail``), or a list of words for no shell.
            timeout: seconds on a host with KVM; a slower host has more. Then the command is killed, and rc is 124.
            user: who runs it, in its home.
            stdin: its input; None: empty.
            environment: more variables.
            cwd: the folder it runs in; None: the user's home.
            check: raise if rc is not 0.
            on_stdout, on_stderr: take the output piece by piece as it comes, and nothing is collected then. They are
                called in a thread of the driver, and cannot call the environment.

        Raises:
            CommandFailed: with ``check``.
            MachineError: the machine is lost.
        """
        words = ["bash", "-euo", "pipefail", "-c", command] if isinstance(command, str) else list(command)
        out, err = bytearray(), bytearray()
        live = await self._up()
        journal = self._journal_size()
        deadline, began = self._deadline(timeout), monotonic()
        data = stdin.encode() if isinstance(stdin, str) else stdin
        async with self._slot():
            ssh = await live.ssh()
            work = ssh.exec(
                words,
                deadline=deadline,
                user=user,
                environment=environment,
                cwd=cwd,
                stdin=data,
                on_stdout=on_stdout or out.extend,
                on_stderr=on_stderr or err.extend,
            )
            code = await self._code(work, deadline)
        result = Result(
            as_text(list(words) if not isinstance(command, str) else command),
            code,
            bytes(out),
            bytes(err),
            monotonic() - began,
        )
        if check and code != 0:
            raise self._failed(
                f"`{result.command}` failed in {self.name}: {ended_text(result)}", result, self._journal_since(journal)
            )
        return result

    async def spawn(
        self,
        command: Command,
        *,
        user: str = "root",
        environment: Mapping[str, str] | None = None,
        cwd: str | None = None,
    ) -> Process:
        """Start a command and go on; the handle has its output so far, waits for it, and ends it.

        It ends with the environment's driver at the latest.

        Args:
            command: a text for bash, or a list of words.
        """
        words = ["bash", "-euo", "pipefail", "-c", command] if isinstance(command, str) else list(command)
        live = await self._up()
        slot = await self._slots.get()
        ssh = await live.ssh()
        text = command if isinstance(command, str) else as_text(words)

        def work(out: Sink, err: Sink) -> Coroutine[Any, Any, GuestResult]:
            forever = self._deadline(None)
            return ssh.exec(
                words, deadline=forever, user=user, environment=environment, cwd=cwd, on_stdout=out, on_stderr=err
            )

        return Process(text, work, self._call, self._fleet.begin, self._deadline, lambda: self._slots.put_nowait(slot))

    # ------------------------------------------------------------------ inside

    async def _shell(
        self,
        command: Command,
        timeout: Seconds | None,
        user: str = "root",
        *,
        explain: Callable[[int], bool] = lambda _: False,
    ) -> tuple[Result, list[JournalEntry]]:
        """Run a command with the driver's contract.

        Args:
            explain: whether an exit code is to be explained, by stderr and what the journal got. That takes a moment.
        """
        console = self._stderr_to_console
        text = as_text(list(command)) if not isinstance(command, str) else command
        if user != "root":
            result = await self.run(["bash", "-euo", "pipefail", "-c", text], timeout=timeout, user=user)
            return Result(text, result.rc, result.stdout, result.stderr, result.seconds), []
        live = await self._up()
        journal, printed = self._journal_size(), self._console_size()
        deadline, began, out = self._deadline(timeout), monotonic(), bytearray()
        async with self._slot() as slot:
            ssh = await live.ssh()
            script = command_text(text, await self._login(ssh), CONSOLE if console else to_file(slot))
            code = await self._code(ssh.shell(script, deadline=deadline, on_stdout=out.extend), deadline)
            seconds = monotonic() - began
            if not explain(code):
                return Result(text, code, bytes(out), b"", seconds), []
            await asyncio.sleep(LOG_LAG)
            stderr = self._console_since(printed).encode() if console else await self._stderr(slot)
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
            result = await self._call(ssh.shell(LOGIN, deadline=self._deadline(LOGIN_LIMIT)))
            self._login_of = (ssh, login_exports(result.stdout))
        return self._login_of[1]

    async def _stderr(self, slot: int) -> bytes:
        found = b""

        async def read() -> None:
            nonlocal found
            ssh = await self._live.ssh()
            limit = self._deadline(10)
            found = (await ssh.exec(["tail", "-c", str(STDERR_LIMIT), stderr_file(slot)], deadline=limit)).stdout

        with suppress(MachineError):
            await completes_before(lambda: self._call(read()), self._deadline(10))
        return found

    def _failed(self, what: str, result: Result, journal: Sequence[JournalEntry]) -> CommandFailed:
        name = self._fleet.session.paths.name
        hint = f"orchestrator -n {name} shell {self.name}"
        return CommandFailed(what, result, journal, machine=self.name, hint=hint)
