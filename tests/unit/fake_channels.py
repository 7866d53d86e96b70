"""A guest in memory: units that systemctl moves, commands answered by a table, TCP made on this host."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import cast

from orchestrator.deadline import Deadline
from orchestrator.errors import MachineError
from orchestrator.guest.agent import Agent, GuestResult
from orchestrator.guest.ssh import Ssh
from orchestrator.services.channels import Channels
from orchestrator.services.journal import ENDED


@dataclass
class Unit:
    """What ``systemctl show`` would say, and what starting it does.

    Attributes:
        start_takes: seconds; ``start_code`` is what systemctl start then exits with.
        then: called when it was started.
        run: the number of its run, as the mark systemd gives it.
        real: its own name, where the topology calls it by another.
    """

    active: str = "inactive"
    sub: str = "dead"
    result: str = "success"
    restarts: int = 0
    status: int = 0
    load: str = "loaded"
    oneshot: bool = False
    start_takes: float = 0.0
    start_code: int = 0
    words: list[str] = field(default_factory=list)
    then: Callable[[], None] = lambda: None
    run: int = 0
    real: str = ""

    def fail(self, status: int) -> None:
        self.active, self.sub, self.result, self.status = "failed", "failed", "exit-code", status

    @property
    def invocation(self) -> str:
        return f"{self.run:032x}" if self.run else ""

    def show(self, name: str) -> str:
        return (
            f"Id={self.real or name}\nInvocationID={self.invocation}\nLoadState={self.load}\n"
            f"ActiveState={self.active}\nSubState={self.sub}\n"
            f"Result={self.result}\nNRestarts={self.restarts}\nExecMainStatus={self.status}\n"
        )


class FakeMachine:
    """Both channels of one machine.

    Attributes:
        units: by name; ``answers`` maps a check's first word to what it gives (a function is called).
        log: (time, what was done), in order.
        looks: the units of every ``systemctl show``.
        lost: set it, and every command from then on raises as a dead machine's does.
    """

    def __init__(self, name: str, journal: Path) -> None:
        self.name = name
        self.units: dict[str, Unit] = {}
        self.answers: dict[str, Callable[[], GuestResult]] = {}
        self.log: list[tuple[float, str]] = []
        self.looks: list[list[str]] = []
        self.lost = False
        self.booted = asyncio.Event()
        self.booted.set()
        self.journal = journal
        journal.touch()

    def channels(self) -> Channels:
        async def agent() -> Agent:
            await self.booted.wait()
            return cast("Agent", self)

        async def ssh() -> Ssh:
            return cast("Ssh", LocalSsh(self.name))

        return Channels(agent, ssh)

    def done(self, prefix: str) -> list[str]:
        return [what for _, what in self.log if what.startswith(prefix)]

    def say(self, unit: str, message: str) -> None:
        """A line of the unit's journal, as the guest writes it."""
        with self.journal.open("a") as file:
            file.write(json.dumps({"MESSAGE": message, "_SYSTEMD_UNIT": unit}) + "\n")

    def say_started(self, unit: str) -> None:
        """systemd's line when it starts a unit."""
        real = self.units[unit].real or unit
        self.tell({"MESSAGE": f"Started {real}.", "UNIT": real, "INVOCATION_ID": self.units[unit].invocation})

    def tell(self, words: dict[str, str]) -> None:
        """A line of the journal."""
        with self.journal.open("a") as file:
            file.write(json.dumps(words) + "\n")

    def restart(self, unit: str, *, by_systemd: bool = False) -> None:
        """The unit runs again: somebody in the guest restarted it, or systemd did after its end."""
        one = self.units[unit]
        one.run += 1
        one.restarts = one.restarts + 1 if by_systemd else 0
        self.say_started(unit)

    def say_ended(self, unit: str) -> None:
        """systemd's line when the main process of a unit exited."""
        words = {"MESSAGE": f"{unit}: Main process exited", "UNIT": unit, "MESSAGE_ID": next(iter(ENDED))}
        with self.journal.open("a") as file:
            file.write(json.dumps(words) + "\n")

    async def exec(
        self,
        command: Sequence[str],
        *,
        deadline: Deadline,
        stdin: bytes | None = None,
        user: str = "root",
        wakeup: object = None,
    ) -> GuestResult:
        await asyncio.sleep(0)
        if self.lost:
            raise MachineError(f"the connection to the guest agent of machine {self.name} is lost")
        words = list(command)
        if words[:2] == ["systemctl", "start"]:
            return await self._start(words[-1], deadline)
        what = " ".join(words)
        if words[:2] != ["systemctl", "show"]:
            self.log.append((deadline.elapsed, what))
        if words[:2] == ["systemctl", "show"]:
            self.looks.append(words[5:])
            return GuestResult(0, "\n".join(self.units[name].show(name) for name in words[5:]).encode(), b"")
        if words[:2] == ["systemctl", "stop"]:
            for name in words[3:]:
                unit = self.units[name]
                unit.active, unit.sub = "inactive", "dead"
            return GuestResult(0, b"", b"")
        if words[0] == "journalctl":
            unit = self.units[self._named(words[2].removeprefix("--unit="))]
            return GuestResult(0, "\n".join(unit.words).encode(), b"")
        answer = self.answers[words[0]]()
        if answer.code == HANGS:
            await asyncio.sleep(deadline.left)
            raise MachineError(f"a command in machine {self.name} did not end within {deadline.timeout:.0f} s")
        return answer

    def _named(self, real: str) -> str:
        return next((name for name, unit in self.units.items() if unit.real == real), real)

    async def _start(self, name: str, deadline: Deadline) -> GuestResult:
        unit = self.units[name]
        self.log.append((deadline.elapsed, f"start {name}"))
        if unit.start_takes > deadline.left:
            await asyncio.sleep(deadline.left)
            raise MachineError(f"a command in machine {self.name} did not end within {deadline.timeout:.0f} s")
        await asyncio.sleep(unit.start_takes)
        if unit.active != "active":
            unit.run += 1
            self.say_started(name)
        if unit.start_code == 0 and unit.active == "inactive" and not unit.oneshot:
            unit.active, unit.sub = "active", "running"
        unit.then()
        complaint = f"Job for {name} failed" if unit.start_code else ""
        return GuestResult(unit.start_code, b"", complaint.encode())


HANGS = -1  # the code of an answer that never comes


def ok(text: str = "") -> GuestResult:
    return GuestResult(0, text.encode(), b"")


def bad(text: str, code: int = 1) -> GuestResult:
    return GuestResult(code, b"", text.encode())


class SocketChannel:
    """A socket with the methods of paramiko's channel that are used."""

    def __init__(self, connection: socket.socket) -> None:
        self._socket = connection
        self.settimeout = connection.settimeout
        self.recv = connection.recv
        self.sendall = connection.sendall
        self.shutdown = connection.shutdown
        self.close = connection.close


class LocalSsh:
    """An `Ssh` whose ``open_direct`` connects on this host."""

    def __init__(self, machine: str) -> None:
        self.machine = machine
        self.alive = True

    def open_direct(self, host: str, port: int, timeout: float) -> SocketChannel:
        try:
            return SocketChannel(socket.create_connection((host, port), timeout))
        except OSError as error:
            raise ConnectionError(f"Connect failed: {error}") from error

    def lost(self, error: BaseException) -> MachineError:
        return MachineError(f"the SSH connection to machine {self.machine} is lost", why=str(error))
