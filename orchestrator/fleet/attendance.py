"""One host in one run: it joins, is answered, is lost, joins again, or is given up."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any

from orchestrator.codec import encode
from orchestrator.deadline import Deadline, boot_clock, completes_before
from orchestrator.errors import HostError, OrchestratorError
from orchestrator.events.fleet import HostState, HostStateChanged
from orchestrator.fleet import tasks
from orchestrator.fleet.engine import Task
from orchestrator.fleet.hosts import Host, Joined
from orchestrator.fleet.offers import version
from orchestrator.fleet.orders import Contract
from orchestrator.tasks import finish_despite_cancel, run_with_watchdogs
from orchestrator.text import size_text

if TYPE_CHECKING:
    from orchestrator.fleet.control import FleetRun

MOST_JOINS = 3  # so often a host may join in one run
SILENT = 10.0  # seconds that a lost host has to answer that it ended its cells
AGAIN = 2.0  # seconds before a lost host is asked to join again


class _LostError(Exception):
    """The host is silent, or its worker has ended."""


class _UnfitError(Exception):
    """The host cannot take part in this run, however often it is asked."""


class Attendance:
    """Keeps a host in a run.

    Attributes:
        address: of its worker, while it takes part.
    """

    def __init__(self, run: FleetRun, host: Host) -> None:
        self._run = run
        self._host = host
        self.address = ""
        self._leaving = asyncio.Event()
        self._lost = asyncio.Event()
        self._why = ""
        self._ended = False
        self._opened: dict[str, Any] | None = None
        self._open = asyncio.Event()
        self._heard = boot_clock()
        self._answered = float("-inf")

    async def attend(self) -> None:
        """Take part until `leave`, or until the host is given up; then its cells may begin elsewhere."""
        why = ""
        for _ in range(MOST_JOINS):
            self._say("joining")
            try:
                await self._once()
                self._say("left")
                return
            except _UnfitError as error:
                self._give_up("refused", str(error))
                return
            except (OrchestratorError, _LostError) as error:
                why = error.brief if isinstance(error, OrchestratorError) else str(error)
                if self._answered == float("-inf"):  # it never took part: nothing of ours runs there
                    break
            self._say("lost", why)
            self._run.host_lost(self._host.name)
            if await self._leaves_within(AGAIN):
                return
        # What was promised to it is over then: it ends its cells by itself.
        if self._answered > float("-inf"):
            rest = self._answered + self._run.times.given_up - boot_clock()
            if await self._leaves_within(max(0.0, rest)):
                return
        self._give_up("gone", why)

    async def _once(self) -> None:
        """One time from joining to leaving."""
        run, name = self._run, self._host.name
        self._lost.clear()
        self._open.clear()
        self._opened = None
        self._ended = False
        async with self._host.join(run.invitation, run.times) as joined:
            if joined.offer.version != version():
                raise _UnfitError(f"{name} has version {joined.offer.version} of this program, here it is {version()}")
            self.address = joined.address
            try:
                await run_with_watchdogs(
                    self._take_part(joined), [self._raise_when_lost, lambda: self._raise_when_ended(joined)]
                )
            finally:
                await finish_despite_cancel(self._close())

    async def _take_part(self, joined: Joined) -> None:
        run, name = self._run, self._host.name
        contract = Contract(run.plan.run, name, run.times)
        key = f"hold-{run.plan.run}-{name}-{self.address.rpartition(':')[2]}"
        self._heard = boot_clock()
        hold = Task(tasks.hold, encode(contract), key, self.address, {})
        run.engine.submit(hold, lambda _, why: self.lose(why or "it ended its cells: no answer came"))
        await self._open.wait()
        assert self._opened is not None
        if self._opened["left"]:
            raise _UnfitError("; ".join(self._opened["left"]))
        await joined.prepare(lambda text: self._say("joining", text))
        offer = joined.offer
        run.board.host_up(offer)
        run.host_free(name, given_up=False)
        memory = size_text(offer.memory << 20)
        self._say("up", f"{memory} for guests, {offer.processors} virtual processors, {offer.accelerator or 'no QEMU'}")
        await self._leaving.wait()

    async def _raise_when_lost(self) -> None:
        """The host is lost when it was silent for the lease, or somebody says so."""
        while not self._lost.is_set():
            rest = self._heard + self._run.times.lease - boot_clock()
            if rest <= 0:
                self._lost.set()
                raise _LostError("no sign of life came from it")
            await _set_within(self._lost, rest)
        raise _LostError(self._why)

    async def _raise_when_ended(self, joined: Joined) -> None:
        why = await joined.gone()
        self._ended = True
        raise _LostError(why)

    async def _close(self) -> None:
        """Let the host end all its cells in order; what is left is told."""
        run = self._run
        if self._ended:
            return
        # A host that was silent hardly answers now, but it may.
        limit = Deadline.after(SILENT if self._lost.is_set() else 2 * run.times.ending)
        try:
            left = await run.engine.call(self.address, tasks.close, run.plan.run, limit=limit)
            run.host_closed(self._host.name, left)
        except HostError:
            if run.board.on(self._host.name):
                self._why = self._why or "it does not answer; its cells end by themselves"

    # ------------------------------------------------------------------ told by others

    def leave(self) -> None:
        """The run is over."""
        self._leaving.set()

    def lose(self, why: str) -> None:
        """The engine says that the host is lost."""
        if not self._leaving.is_set():
            self._why = self._why if self._lost.is_set() else why
            self._lost.set()

    def heard(self) -> None:
        self._heard = boot_clock()

    def opened(self, message: dict[str, Any]) -> None:
        """The host has ended what earlier attempts left, and is ready."""
        self._opened = message
        self._open.set()

    async def answer(self, number: int) -> None:
        """Answer a host's question; it need not hear it."""
        at = boot_clock()
        limit = Deadline.after(self._run.times.lease)
        try:
            # The host may count on us from now on, whether or not we learn that it heard.
            self._answered = max(self._answered, at)
            await self._run.engine.call(self.address, tasks.answer, self._run.plan.run, number, limit=limit)
        except HostError:
            return  # it will be lost if that goes on

    # ------------------------------------------------------------------ inside

    def _give_up(self, state: HostState, why: str) -> None:
        self._say(state, why)
        self._run.board.reasons[self._host.name] = why
        self._run.host_free(self._host.name, given_up=True)

    async def _leaves_within(self, seconds: float) -> bool:
        return await _set_within(self._leaving, seconds)

    def _say(self, state: HostState, detail: str = "") -> None:
        self._run.bus.emit(HostStateChanged(self._host.name, state=state, detail=detail))


async def _set_within(event: asyncio.Event, seconds: float) -> bool:
    """Wait for an event, at most so long; whether it came."""
    return await completes_before(event.wait, Deadline.after(seconds))
