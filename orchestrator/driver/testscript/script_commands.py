"""Commands and units of a machine, with the names, defaults and results of the NixOS test driver."""

from __future__ import annotations

import re
from contextlib import suppress

from orchestrator.driver.results import MachineOff, Seconds
from orchestrator.driver.testscript.script_base import TIMEOUT, ScriptBase
from orchestrator.driver.testscript.units import ALIASES
from orchestrator.errors import OrchestratorError
from orchestrator.services.systemd import full_name


class ScriptCommands(ScriptBase):
    """Commands and units. Limits are seconds on a host with KVM; a slower host has more."""

    # ------------------------------------------------------------------ commands

    def execute(
        self, command: str, check_return: bool = True, check_output: bool = True, timeout: Seconds | None = TIMEOUT
    ) -> tuple[int, str]:
        """Run a command.

        Args:
            check_return: without it the exit code is -1, and the machine may go down meanwhile.
            check_output: without it nothing is waited for, and the result is ``(-2, "")``.

        Returns:
            The exit code and stdout.
        """
        self._around.before_command(self.name, command)
        if not check_output:
            self._wait(self._in_background(command, timeout))
            return -2, ""
        if check_return:
            return self._wait(self._core.execute(command, timeout))
        try:
            return -1, self._wait(self._core.execute(command, timeout))[1]
        except MachineOff:
            return -1, ""

    async def _in_background(self, command: str, timeout: Seconds | None) -> None:
        await self._core._up()

        async def run() -> None:
            with suppress(OrchestratorError):
                await self._core.execute(command, timeout)

        self._core._fleet.begin(run())

    def succeed(self, *commands: str, timeout: Seconds | None = None) -> str:
        """Run commands that must exit with 0.

        Returns:
            stdout of all of them, as it is.
        """
        output = ""
        for command in commands:
            self._around.before_command(self.name, command)
            with self.nested(f"must succeed: {command}"):
                output += self._wait(self._core.succeed(command, timeout=timeout))
        return output

    def fail(self, *commands: str, timeout: Seconds | None = None) -> str:
        """Run commands that must not exit with 0.

        Returns:
            stdout of all of them, as it is.
        """
        output = ""
        for command in commands:
            self._around.before_command(self.name, command)
            with self.nested(f"must fail: {command}"):
                output += self._wait(self._core.fail(command, timeout=timeout))
        return output

    def wait_until_succeeds(self, command: str, timeout: Seconds = TIMEOUT) -> str:
        """Run a command again and again until it exits with 0; its stdout."""
        self._around.before_command(self.name, command)
        with self.nested(f"waiting for success: {command}"):
            return self._wait(self._core.wait_until_succeeds(command, timeout))

    def wait_until_fails(self, command: str, timeout: Seconds = TIMEOUT) -> str:
        """Run a command again and again until it does not exit with 0; its stdout."""
        self._around.before_command(self.name, command)
        with self.nested(f"waiting for failure: {command}"):
            return self._wait(self._core.wait_until_fails(command, timeout))

    def sleep(self, secs: float) -> None:
        """Wait in the guest's time."""
        self._wait(self._core.sleep(secs))

    # ------------------------------------------------------------------ units

    def wait_for_unit(self, unit: str, user: str | None = None, timeout: Seconds = TIMEOUT) -> None:
        """Wait until a unit is active; one that failed, or that nothing is about to start, ends the wait."""
        real = self._real(unit, user)
        about = "" if user is None else f" with user {user}"
        with self.nested(f"waiting for unit {real}{about}"):
            self._wait(self._core.wait_for_unit(real, user, timeout))

    def get_unit_info(self, unit: str, user: str | None = None) -> dict[str, str]:
        """All properties of a unit."""
        return self._wait(self._core.get_unit_info(self._real(unit, user), user))

    def get_unit_property(self, unit: str, property: str, user: str | None = None) -> str:
        """One property of a unit; empty where it has none."""
        return self.get_unit_info(unit, user).get(property, "")

    def require_unit_state(self, unit: str, require_state: str = "active") -> None:
        """Raise if a unit is in another state."""
        with self.nested(f"checking if unit {unit} has reached state {require_state!r}"):
            self._wait(self._core.require_unit_state(self._real(unit, None), require_state))

    def systemctl(self, q: str, user: str | None = None) -> tuple[int, str]:
        """``systemctl`` with these words; its exit code and stdout, unchecked."""
        words = re.sub(r"\S+", lambda word: self._real(word[0], user), q) if set(q.split()) & set(ALIASES) else q
        return self._wait(self._core.systemctl(words, user))

    def start_job(self, jobname: str, user: str | None = None) -> tuple[int, str]:
        """``systemctl start``; its exit code and stdout, unchecked."""
        return self.systemctl(f"start {jobname}", user)

    def stop_job(self, jobname: str, user: str | None = None) -> tuple[int, str]:
        """``systemctl stop``; its exit code and stdout, unchecked."""
        return self.systemctl(f"stop {jobname}", user)

    def _real(self, unit: str, user: str | None) -> str:
        """A unit's name on this machine: where systemd has none of this name, the one that Debian has."""
        other = ALIASES.get(unit)
        if other is None or user is not None:
            return unit
        if self._wait(self._core.get_unit_info(full_name(unit))).get("LoadState") != "not-found":
            return unit
        self.log(f"there is no unit {unit}; {other} is used")
        return other

    # ------------------------------------------------------------------ ports, files, sockets

    def wait_for_open_port(self, port: int | str, addr: str = "localhost", timeout: Seconds = TIMEOUT) -> None:
        """Wait until a TCP port takes connections, made from this machine."""
        with self.nested(f"waiting for TCP port {port} on {addr}"):
            self._wait(self._core.wait_for_open_port(port, addr, timeout))

    def wait_for_closed_port(self, port: int | str, addr: str = "localhost", timeout: Seconds = TIMEOUT) -> None:
        """Wait until a TCP port takes no connection any more."""
        with self.nested(f"waiting for TCP port {port} on {addr} to be closed"):
            self._wait(self._core.wait_for_closed_port(port, addr, timeout))

    def wait_for_open_unix_socket(self, addr: str, is_datagram: bool = False, timeout: Seconds = TIMEOUT) -> None:
        """Wait until somebody listens on a UNIX socket."""
        with self.nested(f"waiting for UNIX socket {addr}"):
            self._wait(self._core.wait_for_open_unix_socket(addr, is_datagram, timeout))

    def wait_for_file(self, filename: str, timeout: Seconds = TIMEOUT) -> None:
        """Wait until a file is there. The shell expands its name; relative to /tmp."""
        with self.nested(f"waiting for file {filename!r}"):
            self._wait(self._core.wait_for_file(filename, timeout))
