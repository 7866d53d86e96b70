"""What all parts of a machine of a script rest on."""

from __future__ import annotations

from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NoReturn, TypeVar

from orchestrator.driver.machine import Machine
from orchestrator.driver.testscript.calls import Calls
from orchestrator.driver.testscript.cases import Cases
from orchestrator.errors import UsageError

T = TypeVar("T")
TIMEOUT = 900.0  # seconds of most waits, before scaling
NOT_SUPPORTED: dict[str, str] = {
    "switch_root": "machines are set up by the system behind the initial RAM disk",
    "shell_interact": "nobody sits at a script; `orchestrator shell MACHINE`, or the prompt of `orchestrator repl`",
    "console_interact": "nobody sits at a script; `orchestrator console MACHINE`",
    "wait_for_qmp_event": "QEMU's events are watched by the orchestrator",
    "qmp_client": "send_monitor_command takes any command of the monitor",
    "create_machine": "machines are described in the topology",
}


@dataclass(frozen=True, slots=True)
class Surroundings:
    """What a script's machines share.

    Attributes:
        out_dir: where screenshots and copies go; the script's working folder too.
        folder: that of the script, where its files may lie.
        before_command: called with a machine's name and each command before it is run.
    """

    calls: Calls
    cases: Cases
    out_dir: Path
    folder: Path
    before_command: Callable[[str, str], object]


class ScriptBase:
    """A machine as scripts see it."""

    def __init__(self, core: Machine, around: Surroundings) -> None:
        core._starts_itself = True
        core._stderr_to_console = True
        self._core = core
        self._around = around

    def __repr__(self) -> str:
        return f"<machine {self.name}>"

    def _wait(self, work: Coroutine[Any, Any, T]) -> T:
        return self._around.calls.wait(work)

    # ------------------------------------------------------------------ what it is

    @property
    def name(self) -> str:
        """Its name in the topology, which is its host name."""
        return self._core.name

    @property
    def booted(self) -> bool:
        """Whether it was started and is not off."""
        return self._core.booted

    @property
    def state_dir(self) -> Path:
        """A folder of this host for files of this machine."""
        return self._core.state_dir

    @property
    def out_dir(self) -> Path:
        """Where screenshots and copies go."""
        return self._around.out_dir

    def is_up(self) -> bool:
        """Whether it is set up, so that a command runs at once."""
        return self._core.state == "up"

    # ------------------------------------------------------------------ output

    def log(self, msg: str) -> None:
        """Print a line about this machine."""
        self._around.cases.say(f"{self.name}: {msg}")

    def nested(self, msg: str, attrs: object = None) -> AbstractContextManager[None]:
        """Print that something begins, and how long it took."""
        del attrs
        return self._around.cases.nested(f"{self.name}: {msg}")


def refuse(symbol: str) -> NoReturn:
    """Raise for what a script cannot have here.

    Raises:
        UsageError: always.
    """
    raise UsageError(f"{symbol} is not supported here", why=NOT_SUPPORTED[symbol])
