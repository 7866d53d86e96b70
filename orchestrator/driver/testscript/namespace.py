"""The names that a script finds: machines, and what the NixOS test driver puts beside them."""

from __future__ import annotations

import os
import unittest
from collections.abc import Callable, Iterable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from orchestrator.driver.results import DriverFailed, Seconds
from orchestrator.driver.shell import python_name
from orchestrator.driver.testscript.calls import Calls
from orchestrator.driver.testscript.cases import Cases
from orchestrator.driver.testscript.conditions import PollingCondition, Retry
from orchestrator.driver.testscript.script_base import refuse
from orchestrator.driver.testscript.script_machine import ScriptMachine
from orchestrator.errors import MachineError, UsageError

TYPES = ("BaseMachine", "Machine", "QemuMachine")
# Every symbol besides machines and networks; the check knows a script's names by them.
SYMBOLS = frozenset(
    {
        *TYPES,
        "MachineError",
        "RequestedAssertionFailed",
        "create_machine",
        "debug",
        "driver",
        "join_all",
        "log",
        "machines",
        "machines_nspawn",
        "machines_qemu",
        "os",
        "polling_condition",
        "retry",
        "run_tests",
        "serial_stdout_off",
        "serial_stdout_on",
        "start_all",
        "subtest",
        "t",
        "test_script",
        "vlans",
    }
)


class Assertions(unittest.TestCase):
    """``t``: the assertions of unittest."""

    failureException = DriverFailed
    maxDiff = None

    def runTest(self) -> None:
        """Nothing; a TestCase needs one."""


@dataclass(frozen=True, slots=True)
class Vlan:
    """A network of the topology, for scripts that print its number."""

    nr: int
    name: str


class ScriptLog:
    """``log``: lines for the user."""

    def __init__(self, cases: Cases) -> None:
        self._cases = cases

    def __call__(self, message: str) -> None:
        self._cases.say(str(message))

    def log(self, message: str, attributes: object = None) -> None:
        """Print a line."""
        del attributes
        self(message)

    info = debug = log

    def warning(self, message: str, attributes: object = None) -> None:
        """Print a warning."""
        del attributes
        self(f"warning: {message}")

    def error(self, message: str, attributes: object = None) -> None:
        """Print an error; the script goes on."""
        del attributes
        self(f"error: {message}")

    def nested(self, message: str, attributes: object = None) -> AbstractContextManager[None]:
        """Print that something begins, and how long it took."""
        del attributes
        return self._cases.nested(message)

    def subtest(self, name: str, attributes: object = None) -> AbstractContextManager[None]:
        """A block as a test case."""
        del attributes
        return self._cases.case(name)


class Debug:
    """``debug``: a breakpoint needs somebody to sit there."""

    def __init__(self, cases: Cases) -> None:
        self._cases = cases

    def breakpoint(self, host: str = "127.0.0.1", port: int = 4444) -> None:
        """Go on, and say so."""
        del host, port
        self._cases.say("debug.breakpoint(): passed; `orchestrator repl` stops where you want")


class ScriptDriver:
    """``driver``: the set of machines."""

    def __init__(self, machines: list[ScriptMachine], vlans: list[Vlan], calls: Calls, cases: Cases, out: Path) -> None:
        self.machines = self.machines_qemu = machines
        self.machines_nspawn: list[ScriptMachine] = []
        self.vlans = vlans
        self.out_dir = out
        self.logger = ScriptLog(cases)
        self.polling_conditions = calls.conditions
        self._cases = cases

    def subtest(self, name: str) -> AbstractContextManager[None]:
        """A block as a test case."""
        return self._cases.case(name)

    def start_all(self) -> None:
        """Start all machines that are off; they boot at the same time."""
        with self._cases.nested("start all VMs"):
            for machine in self.machines:
                machine.start()

    def join_all(self) -> None:
        """Wait until all machines are off."""
        with self._cases.nested("wait for all VMs to finish"):
            for machine in self.machines:
                machine.wait_for_shutdown()

    def create_machine(self, *arguments: object, **keywords: object) -> None:
        """Not supported."""
        del arguments, keywords
        refuse("create_machine")

    def serial_stdout_on(self) -> None:
        """Nothing: consoles are in the run folder."""

    def serial_stdout_off(self) -> None:
        """Nothing: consoles are in the run folder."""

    def run_script_again(self) -> None:
        """Not supported: a script that calls itself never ends.

        Raises:
            UsageError: always.
        """
        raise UsageError("the script runs already", why="test_script() and run_tests() would begin it once more")


def namespace(
    machines: Mapping[str, ScriptMachine], networks: Iterable[str], calls: Calls, cases: Cases, retry: Retry
) -> dict[str, Any]:
    """The symbols of a script.

    Args:
        machines: by their names in the topology.
    """
    ordered = [machines[name] for name in sorted(machines)]
    vlans = [Vlan(number, name) for number, name in enumerate(networks, 1)]
    out = ordered[0].out_dir if ordered else Path()
    driver = ScriptDriver(ordered, vlans, calls, cases, out)

    def polling_condition(
        fun_: Callable[[], object] | None = None,
        *,
        seconds_interval: Seconds = 2.0,
        description: str | None = None,
    ) -> Any:
        def made(condition: Callable[[], object]) -> PollingCondition:
            return PollingCondition(condition, calls, cases, retry, seconds_interval, description)

        return made if fun_ is None else made(fun_)

    symbols: dict[str, Any] = {
        "MachineError": MachineError,
        # What a script catches under this name: every call whose outcome is not the wanted one.
        "RequestedAssertionFailed": DriverFailed,
        "create_machine": driver.create_machine,
        "debug": Debug(cases),
        "driver": driver,
        "join_all": driver.join_all,
        "log": driver.logger,
        "machines": ordered,
        "machines_nspawn": [],
        "machines_qemu": ordered,
        "os": os,
        "polling_condition": polling_condition,
        "retry": retry,
        "run_tests": driver.run_script_again,
        "serial_stdout_off": driver.serial_stdout_off,
        "serial_stdout_on": driver.serial_stdout_on,
        "start_all": driver.start_all,
        "subtest": cases.case,
        "t": Assertions(),
        "test_script": driver.run_script_again,
        "vlans": vlans,
        **dict.fromkeys(TYPES, ScriptMachine),
        **{f"vlan{vlan.nr}": vlan for vlan in vlans},
    }
    if len(ordered) == 1:
        symbols["machine"] = ordered[0]
    # A machine of such a name is what the script means.
    return {**symbols, **{python_name(name): machine for name, machine in machines.items()}}
