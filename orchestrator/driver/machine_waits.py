"""Waits for commands, ports, files and sockets."""

from __future__ import annotations

from collections.abc import Callable

from orchestrator.deadline import pause
from orchestrator.driver.machine_shell import TOO_LATE, Command
from orchestrator.driver.machine_units import WAIT, Units
from orchestrator.driver.results import CommandFailed, Seconds, WaitFailed, ended_text
from orchestrator.driver.shell import file_loop, port_loop, unix_socket_loop
from orchestrator.errors import MachineError, UsageError

AGAIN = 0.2  # seconds between tries of a command, before scaling
PROBE = 0.05  # seconds between looks of a loop in the guest


class Waits(Units):
    """Waits. All limits are seconds on a host with KVM; a slower host has more."""

    async def wait_until_succeeds(self, command: Command, timeout: Seconds | None = WAIT) -> str:
        """Run a command again and again until it exits with 0.

        Returns:
            stdout of the last try.

        Raises:
            WaitFailed: the limit passed; with the last try's outputs.
        """
        return await self._until(command, timeout, lambda code: code == 0, "fails")

    async def wait_until_fails(self, command: Command, timeout: Seconds | None = WAIT) -> str:
        """Run a command again and again until it does not exit with 0; see `wait_until_succeeds`."""
        return await self._until(command, timeout, lambda code: code != 0, "succeeds")

    async def _until(self, command: Command, timeout: Seconds | None, wanted: Callable[[int], bool], still: str) -> str:
        await self._up()
        deadline = self._deadline(timeout)
        tries = 0
        while True:
            try:
                result, journal = await self._shell(command, deadline, explain=lambda _: deadline.expired)
            except MachineError:
                # A guest that reboots takes its connections down before QEMU tells of it.
                if not self._power.booted or deadline.expired:
                    raise
                await pause(self._fleet.scale.reply(AGAIN), deadline)
                continue
            tries += 1
            if wanted(result.rc) and not (result.rc == TOO_LATE and deadline.expired):
                return result.out
            if deadline.expired:
                what = f"`{result.command}` still {still} in {self.name} after {deadline} ({tries} tries)"
                failed = CommandFailed(what, result, journal, machine=self.name, hint="")
                raise WaitFailed(what, why=f"the last: {ended_text(result)}", evidence=failed.evidence)
            await pause(self._fleet.scale.reply(AGAIN), deadline)

    async def wait_for_open_port(
        self, port: int | str, addr: str = "localhost", timeout: Seconds | None = WAIT
    ) -> None:
        """Wait until a TCP port takes connections, made from this machine.

        Args:
            addr: a name or an address, as the machine resolves it.

        Raises:
            WaitFailed: the limit passed.
        """
        number = _port(port)
        loop = port_loop(number, addr, opened=True, interval=PROBE)
        await self._loop(loop, timeout, f"port {number} of {addr} takes no connection")

    async def wait_for_closed_port(
        self, port: int | str, addr: str = "localhost", timeout: Seconds | None = WAIT
    ) -> None:
        """Wait until a TCP port takes no connection any more; see `wait_for_open_port`."""
        number = _port(port)
        loop = port_loop(number, addr, opened=False, interval=PROBE)
        await self._loop(loop, timeout, f"port {number} of {addr} still takes connections")

    async def wait_for_file(self, path: str, timeout: Seconds | None = WAIT) -> None:
        """Wait until a file or folder is there.

        Args:
            path: the shell expands it: patterns, ``~``; relative to /tmp.

        Raises:
            WaitFailed: the limit passed.
        """
        await self._loop(file_loop(path, interval=PROBE), timeout, f"{path} does not exist")

    async def wait_for_open_unix_socket(
        self, path: str, is_datagram: bool = False, timeout: Seconds | None = WAIT
    ) -> None:
        """Wait until somebody listens on a UNIX socket.

        Raises:
            WaitFailed: the limit passed.
        """
        loop = unix_socket_loop(path, datagram=is_datagram, interval=PROBE)
        await self._loop(loop, timeout, f"nobody listens on {path}")

    async def _loop(self, script: str, timeout: Seconds | None, what: str) -> None:
        """A loop in the guest, which sees what it waits for at once."""
        await self._up()
        deadline = self._deadline(timeout)
        result, _ = await self._shell(script, deadline, explain=lambda code: code not in (0, TOO_LATE))
        if result.rc != 0:
            why = result.err.strip() if result.rc != TOO_LATE else ""
            raise WaitFailed(f"{what} in {self.name} after {deadline}", why=why, subject=self.name)


def _port(port: int | str) -> int:
    try:
        number = int(port)
    except ValueError:
        number = 0
    if not 0 < number < 65536:
        raise UsageError(f"{port!r} is no port", why="a port is a number from 1 to 65535")
    return number
