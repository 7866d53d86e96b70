"""The side of a host: runs cells, ends them, and ends them by itself when nobody answers any more.

It knows nothing of the engine that carries orders and answers.
"""

from __future__ import annotations

import asyncio
import os
import shutil
import sys
from collections.abc import Callable, Collection
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from orchestrator.codec import encode
from orchestrator.deadline import Deadline, boot_clock, completes_before, monotonic, pause
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.state import read_state
from orchestrator.errors import OrchestratorError, TimeLimit
from orchestrator.fleet.lease import AlreadyStarted, Held, all_leases, held, leases_folder
from orchestrator.fleet.offers import disk_now, memory_now
from orchestrator.fleet.orders import Contract, Ended, HostReady, Order
from orchestrator.folders import state_root
from orchestrator.process import run
from orchestrator.process_lines import stream_lines
from orchestrator.tasks import run_all, run_with_watchdogs

LOOK = 1.0  # seconds between two looks at the memory of this host
SELECTING = ("ORCH_NAME", "ORCH_FILE", "ORCH_VARIANT", "ORCH_IMAGES", "ORCH_RUNS", "ORCH_TIMEOUT", "ORCH_PROGRESS")

Tell = Callable[[dict[str, object]], None]


class _StoppedError(Exception):
    """The cell is to end."""


@dataclass
class _Running:
    order: Order
    stop: asyncio.Event = field(default_factory=asyncio.Event)
    over: asyncio.Event = field(default_factory=asyncio.Event)

    async def raise_when_stopped(self) -> None:
        await self.stop.wait()
        raise _StoppedError


class Session:
    """The cells of one run on this host.

    Args:
        tell: takes what is to be known elsewhere while a cell runs: JSON-ready objects with ``kind``.
        memory: MiB that are available now.
    """

    def __init__(self, contract: Contract, tell: Tell, memory: Callable[[], int] = memory_now) -> None:
        self._contract = contract
        self._report = tell
        self._memory = memory
        self._folder = leases_folder(contract.run)
        self._running: dict[str, _Running] = {}
        self._valid = float("-inf")  # until the first answer
        self._opened: HostReady | None = None
        self._asked: dict[int, float] = {}
        self._closed = asyncio.Event()

    # ------------------------------------------------------------------ beginning, answers, end

    async def hold(self) -> bool:
        """Be there for cells; True when closed, False when nobody answered any more.

        As soon as what earlier attempts left is ended and the first answer came, ``opened`` is told.
        """
        _, closed = await run_all(self._open(), self._watch())
        return bool(closed)

    async def _open(self) -> None:
        """End what earlier attempts of this run left here."""
        old = [lease for lease in all_leases(self._folder) if not lease.ended]
        alive = tuple(lease.cell for lease in old if lease.alive)
        grace = self._contract.times.ending
        await run_all(*(lease.process.end(grace) for lease in old if lease.process is not None))
        left = await run_all(*(remains(lease.name, grace) for lease in old))
        self._opened = HostReady(alive, tuple(text for text in left if text))
        if self._valid > boot_clock():
            self._report({"kind": "opened", **encode(self._opened)})

    async def _watch(self) -> bool:
        """Ask for a sign of life again and again; True when closed, False when no answer came for the lease."""
        number = 0
        until = boot_clock() + self._contract.times.lease
        while not self._closed.is_set():
            if boot_clock() >= max(self._valid, until):
                await self.end()
                return False
            number += 1
            self._asked[number] = boot_clock()
            self._report({"kind": "asked", "number": number})
            await _first(self._closed, self._contract.times.beat)
        return True

    def answer(self, number: int) -> None:
        """Somebody answered: the lease is valid from the question on, however long the answer took."""
        asked = self._asked.pop(number, None)
        if asked is not None:
            if self._valid < boot_clock() and self._opened is not None:
                self._report({"kind": "opened", **encode(self._opened)})
            self._valid = max(self._valid, asked + self._contract.times.lease)
            self._asked = {one: at for one, at in self._asked.items() if one > number}

    async def close(self) -> list[str]:
        """End all cells; nothing of the run is left here but evidence. What could not be ended."""
        await self.end()
        left = [lease for lease in all_leases(self._folder) if not lease.ended]
        if not left:
            shutil.rmtree(self._folder, ignore_errors=True)
            with suppress(OSError):
                self._folder.parent.rmdir()  # only when no evidence is there
        self._closed.set()
        return [f"cell {lease.cell} of environment {lease.name}" for lease in left]

    async def end(self, cells: Collection[str] | None = None) -> None:
        """End cells in order, all by default; returns when they have ended."""
        ending = [one for cell, one in self._running.items() if cells is None or cell in cells]
        for one in ending:
            one.stop.set()
        await run_all(*(one.over.wait() for one in ending))

    # ------------------------------------------------------------------ one cell

    async def run(self, order: Order) -> Ended:
        """Run a cell to its end; what the host refuses, and why, is no error."""
        if self._closed.is_set() or boot_clock() >= self._valid:
            return Ended(refused="the host waits for a sign of life")
        if order.cell in self._running:
            return Ended(refused="this host runs the cell already")
        running = self._running[order.cell] = _Running(order)
        grace = self._contract.times.ending
        try:
            async with held(self._folder, order.cell, order.attempt, order.name, grace=grace) as lease:
                ended = await self._attempt(running, lease)
                left = await remains(order.name, grace)
                if not left:
                    lease.ended()
                return replace(ended, left=left)
        except AlreadyStarted:
            return Ended(refused=f"attempt {order.attempt} was started here before")
        except OrchestratorError as error:
            return Ended(refused=error.brief)
        finally:
            del self._running[order.cell]
            running.over.set()

    async def _attempt(self, running: _Running, lease: Held) -> Ended:
        order, began = running.order, monotonic()
        folder = str(self.folder_of(order))
        try:
            return await run_with_watchdogs(self._begun(order, lease, began), [running.raise_when_stopped])
        except _StoppedError:
            return Ended(None, monotonic() - began, folder, stopped=True)
        except TimeLimit as error:
            return Ended(error.exit_code, monotonic() - began, folder)

    async def _begun(self, order: Order, lease: Held, began: float) -> Ended:
        if refused := await self._room(order):
            return Ended(refused=refused)
        code = await self._process(order, lease)
        return Ended(code, monotonic() - began, str(self.folder_of(order)))

    async def _room(self, order: Order) -> str:
        """Wait until this host has what the cell needs; why it has not, or nothing."""
        deadline = Deadline.after(self._contract.times.patience)
        told = False
        while reason := self._lacks(order):
            if deadline.expired:
                return reason
            if not told:
                self._report({"kind": "waits", "cell": order.cell, "reason": reason})
                told = True
            await pause(LOOK, deadline)
        return ""

    def _lacks(self, order: Order) -> str:
        host, needs = self._contract.host, order.needs
        memory, disk = self._memory(), disk_now()
        if memory < needs.memory:
            return f"{host} has {memory} MiB of memory available now, {needs.memory} MiB are needed"
        if disk < needs.disk:
            return f"{host} has {disk} MiB of disk free now, {needs.disk} MiB are needed"
        return ""

    async def _process(self, order: Order, lease: Held) -> int:
        folder = self.folder_of(order)
        folder.mkdir(parents=True, exist_ok=True)
        self._report({"kind": "runs", "cell": order.cell, "attempt": order.attempt})

        def line(text: str) -> None:
            self._report({"kind": "line", "cell": order.cell, "text": text[:500]})

        limit = Deadline.after(order.limit + self._contract.times.ending)  # it keeps the limit itself, and says so
        return await stream_lines(
            argv_of(order, folder),
            line,
            deadline=limit,
            env=environment_of(order, folder),
            cwd=Path(order.cwd) if order.cwd else None,
            grace=self._contract.times.ending,
            started=lease.started,
        )

    def folder_of(self, order: Order) -> Path:
        """Where the run folders of an attempt are on this host."""
        return state_root() / "fleet" / order.run / order.folder


def argv_of(order: Order, folder: Path) -> list[str]:
    """The command of an attempt; it gets SIGTERM when this process is killed, and ends in order."""
    end_with_us = ["setpriv", "--pdeathsig", "TERM"]
    if order.command:
        return [*end_with_us, *order.command]
    own = [sys.executable, "-m", "orchestrator", "--progress", "plain", "run", "--name", order.name, "--free-ports"]
    return [*end_with_us, *own, "--runs", str(folder), "--timeout", f"{order.limit:.0f}", *order.words]


def environment_of(order: Order, folder: Path) -> dict[str, str]:
    """The variables of an attempt: the host's, without those that choose another environment, and the cell's."""
    own = {name: value for name, value in os.environ.items() if name not in SELECTING}
    return {**own, **order.variables, "ORCH_NAME": order.name, "ORCH_RUNS": str(folder)}


async def remains(name: str, limit: float) -> str:
    """Take down what is left of a cell's environment; what could not be, or nothing."""
    try:
        state = read_state(EnvironmentPaths.of(name).state)
        if state is None:
            return ""
        argv = [sys.executable, "-m", "orchestrator", "down", "--name", name]
        await run(argv, deadline=Deadline.after(limit), check=False)
        state = read_state(EnvironmentPaths.of(name).state)
    except OrchestratorError as error:
        return f"environment {name}: {error.brief}"
    return "" if state is None or not state.live_processes else f"environment {name} still runs"


async def _first(event: asyncio.Event, seconds: float) -> None:
    """Wait for an event, at most so long."""
    await completes_before(event.wait, Deadline.after(seconds))
