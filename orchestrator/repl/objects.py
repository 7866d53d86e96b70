"""The objects at the prompt: those of `orchestrator.sync`, and what only a person at a terminal can do with them."""

from __future__ import annotations

import sys
from collections.abc import Mapping
from typing import Any

from orchestrator.driver.facade import wait
from orchestrator.driver.shell import python_name
from orchestrator.errors import UsageError
from orchestrator.guest.interact import console_on, shell_on
from orchestrator.sync import Environment, Machine


class ReplMachine(Machine):
    """A machine at the prompt."""

    def shell_interact(self, user: str = "root") -> int:
        """A terminal in the machine, as `orchestrator shell`; ``exit`` or Ctrl-D leaves it.

        Returns:
            The shell's exit code.

        Raises:
            UsageError: there is no terminal here.
            MachineError: the machine does not answer.
        """
        _need_terminal("shell_interact")
        ssh = wait(wait(self._core._up()).ssh())
        sys.stderr.write(f"{self.name}: `exit` or Ctrl-D leaves the shell, the machine keeps running\n")
        return shell_on(ssh, user)

    def console_interact(self) -> None:
        """The machine's serial console, as `orchestrator console`; Ctrl-] leaves it.

        Raises:
            UsageError: there is no terminal here.
            HostError: somebody else has opened it, or the machine is off.
        """
        _need_terminal("console_interact")
        console_on(self.name, self._core._live.paths, lambda line: print(line, file=sys.stderr))  # noqa: T201


class ReplEnvironment(Environment):
    """An environment at the prompt."""

    @property
    def machines(self) -> Mapping[str, Machine]:
        """All machines by their names in the topology."""
        return {name: ReplMachine._of(core) for name, core in self._core.machines.items()}

    def __getitem__(self, name: str) -> Machine:
        return ReplMachine._of(self._core[name])

    def __getattr__(self, name: str) -> Machine:
        if name.startswith("_"):
            raise AttributeError(name)
        return ReplMachine._of(self._core.__getattr__(name))

    def __dir__(self) -> list[str]:
        return [*super().__dir__(), *map(python_name, self._core)]

    @property
    def joined(self) -> bool:
        """Whether it ran already when it was opened, and so stays."""
        opened = self._core._opened
        return opened is not None and opened.resumed


def namespace_of(env: ReplEnvironment) -> dict[str, Any]:
    """The names at the prompt."""
    machines = {python_name(name): machine for name, machine in env.machines.items()}
    others = {"env": env, "services": env.services, "start_all": env.start_all}
    return {"__name__": "__console__", "__doc__": None, **machines, **others}


def _need_terminal(what: str) -> None:
    if not sys.stdin.isatty():
        raise UsageError(f"{what}() needs a terminal", hint="use succeed() or send_console() in a script")
