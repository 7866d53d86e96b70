"""A fleet in one process: hosts that are sessions with state of their own, an engine without Dask, and faults."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any
from unittest import mock

from orchestrator.codec import decode, encode
from orchestrator.deadline import Deadline
from orchestrator.errors import HostError
from orchestrator.events import Event, EventBus
from orchestrator.events.fleet import CellStateChanged, HostStateChanged
from orchestrator.fleet import tasks
from orchestrator.fleet.board import CellBoard
from orchestrator.fleet.cells import Cell
from orchestrator.fleet.control import FleetRun
from orchestrator.fleet.engine import Data, Done, Task
from orchestrator.fleet.hosts import Joined
from orchestrator.fleet.journal import Journal, MatrixPlan
from orchestrator.fleet.lease import Held
from orchestrator.fleet.needs import Needs, Offer
from orchestrator.fleet.offers import version
from orchestrator.fleet.orders import Contract, Order, Times
from orchestrator.fleet.session import Session
from orchestrator.tasks import Later

Behaviour = Callable[[Order], Awaitable[int]]
RUN = "20260102T030405Z-abc123"


class SimulatedSession(Session):
    """A session whose cells are coroutines, with a folder of leases of its own."""

    def __init__(self, host: FakeHost, contract: Contract, tell: Callable[[dict[str, object]], None]) -> None:
        super().__init__(contract, tell, memory=lambda: host.memory_now)
        self._folder = host.root / "leases"
        self._host = host

    async def _process(self, order: Order, lease: Held) -> int:
        lease.started(None)
        self._report({"kind": "runs", "cell": order.cell, "attempt": order.attempt})
        self._host.began.append((order.cell, order.attempt))
        self._host.running.add(order.cell)
        try:
            return await self._host.behaviour(order)
        finally:
            self._host.running.discard(order.cell)


@dataclass
class FakeHost:
    """A host and what is wrong with it.

    Attributes:
        cut: nothing gets through to it or from it; it works on.
        began: cells and attempts that began here.
    """

    name: str
    root: Path
    behaviour: Behaviour
    memory: int = 8000
    memory_now: int = 8000
    processors: int = 8
    version: str = field(default_factory=version)
    cut: bool = False
    joins: int = 0
    refuses_to_join: bool = False
    began: list[tuple[str, int]] = field(default_factory=list)
    running: set[str] = field(default_factory=set)
    brought: list[tuple[str, bool]] = field(default_factory=list)
    discarded: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.dead = asyncio.Event()
        self.session: SimulatedSession | None = None
        self.tasks: set[asyncio.Task[None]] = set()

    @asynccontextmanager
    async def join(self, invitation: Later[Data], times: Times) -> AsyncIterator[Joined]:
        await invitation.wait()
        if self.refuses_to_join or self.cut:
            raise HostError(f"{self.name} cannot be reached")
        self.joins += 1
        self.dead = asyncio.Event()
        offer = Offer(self.name, self.memory, self.processors, 100_000, "tcg", self.version)

        async def gone() -> str:
            await self.dead.wait()
            return "its worker was ended by SIGKILL"

        yield Joined(self.name, offer, gone)

    def kill(self) -> None:
        """Its worker and all that it runs end at once."""
        for task in self.tasks:
            task.cancel()
        self.session = None
        self.dead.set()

    def there(self, path: Path) -> str:
        return str(path)

    def folder(self, run_folder: Path, attempt: str) -> Path:
        return run_folder / "cells" / attempt

    async def bring(self, folder: str, home: Path, *, whole: bool) -> None:
        if self.cut:
            raise HostError(f"{self.name} cannot be reached")
        self.brought.append((Path(folder).parent.name, whole))

    async def discard(self, folder: str) -> None:
        self.discarded.append(Path(folder).parent.name)


class FakeEngine:
    """Carries between the run and its hosts, at once and in order."""

    def __init__(self, hosts: Mapping[str, FakeHost]) -> None:
        self.hosts = hosts
        self.submitted: list[Task] = []
        self.closed = False

    async def start(self, told: Callable[[Data], None], topic: str) -> None:
        self._told = told

    @property
    def invitation(self) -> Data:
        return {"scheduler": "tls://127.0.0.1:1"}

    def submit(self, task: Task, done: Done) -> None:
        self.submitted.append(task)
        host = self.hosts[task.address]
        work = asyncio.get_running_loop().create_task(self._work(host, task, done))
        host.tasks.add(work)
        work.add_done_callback(host.tasks.discard)

    async def _work(self, host: FakeHost, task: Task, done: Done) -> None:
        result: Data | None = None
        try:
            if task.function is tasks.hold:
                result = await self._hold(host, task.data)
            elif host.session is not None:
                result = encode(await host.session.run(decode(task.data, Order, "order")))
        finally:
            if not host.cut:
                done(result, "" if result is not None else "KilledWorker")

    async def _hold(self, host: FakeHost, data: Data) -> Data:
        def tell(message: dict[str, object]) -> None:
            if not host.cut:
                self._told({**message, "host": host.name})

        session = host.session = SimulatedSession(host, decode(data, Contract, "contract"), tell)
        return {"closed": await session.hold()}

    async def call(self, address: str, function: Callable[..., Awaitable[Any]], *args: object, limit: Deadline) -> Any:
        host = self.hosts[address]
        if host.cut or host.session is None:
            async with limit.enforce(lambda: HostError(f"{address} gave no answer")):
                await asyncio.Event().wait()
        assert host.session is not None
        if function is tasks.answer:
            return host.session.answer(int(str(args[1])))
        assert function is tasks.close
        return await host.session.close()

    async def known(self) -> Mapping[str, str]:
        return {name: name for name in self.hosts}

    async def close(self) -> None:
        self.closed = True


@dataclass
class Fleet:
    """A run of cells on some hosts, and what was told of it."""

    run: FleetRun
    hosts: dict[str, FakeHost]
    engine: FakeEngine
    events: list[Event]

    def states(self, cell: str) -> list[str]:
        """What was told of a cell: the state, and where."""
        mine = (one for one in self.events if isinstance(one, CellStateChanged) and one.subject == cell)
        return [f"{one.state} {one.host}" for one in mine]

    def told(self, host: str) -> list[tuple[str, str]]:
        mine = (one for one in self.events if isinstance(one, HostStateChanged) and one.subject == host)
        return [(one.state, one.detail) for one in mine]

    @property
    def results(self) -> dict[str, str]:
        return {cell: one.outcome for cell, one in self.run.journal.finished.items()}

    @property
    def began(self) -> list[tuple[str, int]]:
        return [one for host in self.hosts.values() for one in host.began]


async def lasts(seconds: float, code: int = 0) -> int:
    await asyncio.sleep(seconds)
    return code


def fleet(folder: Path, cells: Mapping[str, Needs], hosts: Mapping[str, Mapping[str, Any]], **given: Any) -> Fleet:
    """A run of cells by name on hosts by name; a host's mapping has fields of `FakeHost`."""
    behaviour: Behaviour = given.pop("behaviour", lambda order: lasts(60))
    made = {name: FakeHost(name, folder / name, **{"behaviour": behaviour, **fields}) for name, fields in hosts.items()}
    (folder / "run").mkdir(exist_ok=True)
    listed = tuple(Cell(number, name) for number, name in enumerate(cells, 1))
    plan = MatrixPlan(RUN, "t-1234", folder / "orchestrator.toml", listed, command=("true",))
    bus, events = EventBus(), []
    bus.subscribe(events.append)
    engine = FakeEngine(made)
    journal = Journal(folder / "run")
    todo = [cell for cell in listed if not journal.is_over(cell.id)]
    board = CellBoard.of(todo, cells, given.pop("seconds", {}), journal.attempts)
    run = FleetRun(plan, folder / "run", board, journal, list(made.values()), engine, bus, Times(60, 30, 20), **given)
    return Fleet(run, made, engine, events)


SMALL = Needs(1000, 1, 0)


def small(*names: str, **changes: int) -> dict[str, Needs]:
    return {name: replace(SMALL, **changes) for name in names}


@contextmanager
def boot_clock() -> Iterator[None]:
    """The clock of leases follows the simulated one."""
    with mock.patch("time.clock_gettime", lambda _: time.monotonic()):
        yield
