"""What all parts of a machine's object rest on."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Coroutine
from contextlib import asynccontextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from orchestrator.deadline import FOREVER, Deadline
from orchestrator.driver.power import Power, PowerState
from orchestrator.driver.results import JournalEntry, Seconds, seconds_of
from orchestrator.environment.machine import LiveMachine
from orchestrator.errors import MachineError
from orchestrator.services.journal import parse_entry
from orchestrator.services.systemd import full_name
from orchestrator.vm.qmp import Monitor

if TYPE_CHECKING:
    from orchestrator.driver.fleet import Fleet

T = TypeVar("T")
SESSIONS = 8  # commands of one machine at once; OpenSSH's server allows ten
JOURNAL_SHOWN = 20  # lines of the journal in an error
LOG_READ = 4 << 20  # bytes


class MachineBase:
    """A machine of an open environment, as far as all its parts need it."""

    def __init__(self, fleet: Fleet, name: str) -> None:
        self._fleet = fleet
        self._name = name
        self._slots: asyncio.LifoQueue[int] = asyncio.LifoQueue()
        for slot in reversed(range(SESSIONS)):
            self._slots.put_nowait(slot)
        # The driver of testScripts starts a machine at its first command.
        self._starts_itself = False
        # There, stderr of commands goes to the machine's console.
        self._stderr_to_console = False
        self._login_of: tuple[object, str] | None = None  # of which connection, and its text
        self._console_read = 0  # bytes of the console's log that wait_for_console_text has consumed

    @property
    def name(self) -> str:
        """Its name in the topology, which is its host name too."""
        return self._name

    @property
    def state(self) -> str:
        """``off``, ``starting``, ``up`` or ``lost`` (it died, or panicked)."""
        return self._power.state.value

    @property
    def booted(self) -> bool:
        """Whether it was started and is not off."""
        return self._power.booted

    @property
    def state_dir(self) -> Path:
        """A folder of this host for files that belong to this machine's run."""
        return self._live.paths.logs

    @property
    def _power(self) -> Power:
        return self._fleet.powers[self._name]

    @property
    def _live(self) -> LiveMachine:
        return self._fleet.session.machines[self._name]

    def _deadline(self, timeout: Seconds | Deadline | None) -> Deadline:
        """The limit of a call: seconds on a host with KVM, scaled; what is one already stays."""
        if isinstance(timeout, Deadline):
            return timeout
        seconds = FOREVER if timeout is None else seconds_of(timeout)
        return Deadline.after(self._fleet.scale.limit(seconds))

    async def _start_if_meant(self) -> None:
        """Start a machine that is off, where its first call does that."""
        if self._starts_itself and self._power.state is PowerState.OFF:
            await self._fleet.start(self._name)

    async def _up(self) -> LiveMachine:
        """The machine, handed over."""
        await self._start_if_meant()
        return await self._power.wait_up()

    async def _monitor(self) -> Monitor:
        """The connection to QEMU of a machine that is on; its guest may still boot."""
        await self._start_if_meant()
        self._power.require_on()
        return await self._power.monitor()

    async def _call(self, work: Coroutine[Any, Any, T]) -> T:
        """Do work on the machine; its end ends the work, with the reason."""
        return await self._power.guard(work)

    async def _take_slot(self, deadline: Deadline) -> int:
        """One of the sessions that a machine's sshd allows.

        Raises:
            MachineError: none became free.
        """

        def taken() -> MachineError:
            return MachineError(
                f"{SESSIONS} commands run in {self._name} at once, and none ended within {deadline}",
                subject=self._name,
                hint="end what `spawn` started, or start it with systemd-run",
            )

        async with deadline.enforce(taken):
            return await self._slots.get()

    @asynccontextmanager
    async def _slot(self, deadline: Deadline) -> AsyncIterator[int]:
        """One of the sessions, for the block."""
        slot = await self._take_slot(deadline)
        try:
            yield slot
        finally:
            self._slots.put_nowait(slot)

    # ------------------------------------------------------------------ what it has said

    def _console_size(self) -> int:
        return _size(self._live.paths.serial_log)

    def _journal_size(self) -> int:
        return _size(self._live.paths.journal)

    def _console_since(self, start: int) -> str:
        return read_from(self._live.paths.serial_log, start)[1].decode("utf-8", "replace").replace("\r", "")

    def _journal_since(self, start: int, most: int | None = JOURNAL_SHOWN) -> list[JournalEntry]:
        """The last entries that came after a place of the journal's file; all of them without ``most``."""
        lines = read_from(self._live.paths.journal, start)[1].decode("utf-8", "replace").splitlines()
        found = entries(lines)
        return found if most is None else found[-most:]

    def journal(self, *, since: float | None = None, unit: str | None = None) -> list[JournalEntry]:
        """What the machine's journal has told so far, oldest first; of the last 4 MiB of its copy on this host.

        Args:
            since: seconds since the epoch, by the machine's clock.
            unit: only the lines of, and about, this unit; without a suffix a service.
        """
        name = None if unit is None else full_name(unit)
        found = self._journal_since(0, most=None)
        return [e for e in found if (since is None or e.at >= since) and (name is None or e.unit == name)]

    def console_text(self) -> str:
        """What the console has shown since the machine started, at most the last 4 MiB."""
        return self._console_since(0)


def entries(lines: list[str]) -> list[JournalEntry]:
    """Lines of ``journalctl -o json`` as entries; what is none is left out."""
    parsed = (parse_entry(line) for line in lines)
    return [JournalEntry(e.at, e.unit, e.identifier, e.message, e.priority) for e in parsed if e is not None]


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError:
        return 0


def read_from(path: Path, start: int) -> tuple[int, bytes]:
    """What follows a place of a file, at most its last 4 MiB: where that begins, and its bytes."""
    try:
        with path.open("rb") as file:
            end = file.seek(0, 2)
            begin = file.seek(max(min(start, end), end - LOG_READ))
            return begin, file.read()
    except OSError:
        return start, b""
