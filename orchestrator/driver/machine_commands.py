"""Commands in a machine."""

from __future__ import annotations

from collections.abc import Callable, Coroutine, Mapping
from typing import Any

from orchestrator.driver.machine_shell import Command, Shell, words_of
from orchestrator.driver.process import Process
from orchestrator.driver.results import Result, Seconds, ended_text
from orchestrator.driver.shell import as_text
from orchestrator.guest.agent import GuestResult
from orchestrator.guest.command import Sink

TIMEOUT = 300.0  # seconds of a command, before scaling
SPAWN = 60.0  # seconds to begin a command, before scaling


class Commands(Shell):
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
        streams = {
            "stdin": stdin.encode() if isinstance(stdin, str) else stdin,
            "environment": environment,
            "cwd": cwd,
            "on_stdout": on_stdout,
            "on_stderr": on_stderr,
        }
        result, journal = await self._captured(command, timeout, user, streams=streams)
        if check and result.rc != 0:
            what = f"`{result.command}` failed in {self.name}: {ended_text(result)}"
            raise self._failed(what, result, self._journal_since(journal))
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
        words = words_of(command)
        live = await self._up()
        slot = await self._take_slot(self._deadline(SPAWN))
        try:
            ssh = await self._call(live.ssh())
        except BaseException:
            self._slots.put_nowait(slot)
            raise

        def work(out: Sink, err: Sink) -> Coroutine[Any, Any, GuestResult]:
            forever = self._deadline(None)
            return ssh.exec(
                words, deadline=forever, user=user, environment=environment, cwd=cwd, on_stdout=out, on_stderr=err
            )

        return Process(
            as_text(command), work, self._call, self._fleet.begin, self._deadline, lambda: self._slots.put_nowait(slot)
        )
