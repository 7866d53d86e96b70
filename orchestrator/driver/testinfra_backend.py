"""testinfra over the driver's own channel: its limits hold, and nothing has to connect again after a reset."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from orchestrator.driver.facade import wait
from orchestrator.errors import HostError

if TYPE_CHECKING:
    from orchestrator.driver.machine import Machine

try:
    from testinfra.backend.base import BaseBackend, CommandResult
    from testinfra.host import Host
except ImportError as error:
    raise HostError(
        "testinfra is not installed", why=str(error), hint="pip install 'orchestrator[testinfra]'"
    ) from error


class DriverBackend(BaseBackend):  # type: ignore[misc]
    """Runs testinfra's commands with `Machine.run`."""

    NAME = "orchestrator"

    def __init__(self, machine: Machine) -> None:
        super().__init__(machine.name)
        self._machine = machine

    def run(self, command: str, *args: str, **_: Any) -> CommandResult:
        """Run a command of testinfra in the machine's ``sh``; what it captures are bytes."""
        line = self.get_command(command, *args)
        result = wait(self._machine.run(["sh", "-c", line]))
        return self.result(result.rc, self.encode(line), result.stdout, result.stderr)


def host_of(machine: Machine) -> Host:
    """The machine as testinfra has it."""
    known = machine.__dict__.get("_testinfra")
    if known is None:
        known = machine.__dict__["_testinfra"] = Host(DriverBackend(machine))
    return known
