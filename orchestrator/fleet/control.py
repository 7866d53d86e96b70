"""Runs the cells of a matrix: hosts join, cells begin, results come home. One event loop, no Dask."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from orchestrator.codec import decode, encode
from orchestrator.deadline import Deadline, pause
from orchestrator.events import EventBus, wall_clock
from orchestrator.events.run import Note
from orchestrator.fleet import tasks
from orchestrator.fleet.attendance import Attendance
from orchestrator.fleet.board import CellBoard, CellState
from orchestrator.fleet.cell_events import CellEvents
from orchestrator.fleet.engine import Data, Engine, Task
from orchestrator.fleet.evidence import brought_home
from orchestrator.fleet.hosts import Host
from orchestrator.fleet.journal import Attempt, Finished, Journal, MatrixPlan
from orchestrator.fleet.ordering import order_of
from orchestrator.fleet.orders import Ended, Order, Times
from orchestrator.tasks import Later, root_cause
from orchestrator.text import about


@dataclass
class FleetRun:
    """One run of a matrix, from its first cell to its last.

    Attributes:
        folder: its run folder.
        whole: bring all evidence home, of cells that passed too.
        left: what could not be ended, a line each.
    """

    plan: MatrixPlan
    folder: Path
    board: CellBoard
    journal: Journal
    hosts: Sequence[Host]
    engine: Engine
    bus: EventBus
    times: Times = field(default_factory=Times)
    whole: bool = False
    left: list[str] = field(default_factory=list)

    def __post_init__(self) -> None:
        self._by_name: Mapping[str, Host] = {host.name: host for host in self.hosts}
        self._changed = asyncio.Event()
        self._events = CellEvents(self.bus, self.folder)
        self.invitation: Later[Data] = Later()
        self._orders: dict[str, tuple[Order, float]] = {}  # the latest of a cell, and when, since the epoch
        self._attendance: dict[str, Attendance] = {}
        self._group: asyncio.TaskGroup | None = None
        self.board.gone = set(self._by_name)  # each of them may still come
        self._leaving = False

    async def run(self) -> None:
        """Run every cell that is not over. Afterwards nothing runs on any host, or `left` says what."""
        try:
            async with asyncio.TaskGroup() as group:
                self._group = group
                self._withhold(group)
                self._attendance = {host.name: Attendance(self, host) for host in self.hosts}
                attending = [group.create_task(one.attend()) for one in self._attendance.values()]
                try:
                    await self.engine.start(self._told, tasks.topic_of(self.plan.run))
                    self.invitation.set(self.engine.invitation)
                    await self._place()
                finally:
                    self._leaving = True
                for one in self._attendance.values():
                    one.leave()
                await asyncio.gather(*attending)
        except BaseExceptionGroup as error:
            raise root_cause(error) from None
        finally:
            await self.engine.close()

    # ------------------------------------------------------------------ cells begin

    async def _place(self) -> None:
        while not self.board.over:
            while (state := self.board.begin_next()) is not None:
                self._begin(state)
            for state, reason in self.board.hopeless():
                self._over(self.board.give_up(state.cell.id, reason))
            if not self.board.over:
                await self._changed.wait()
                self._changed.clear()

    def changed(self) -> None:
        """Something may begin that could not before."""
        self._changed.set()

    def _begin(self, state: CellState) -> None:
        cell, host = state.cell, self._by_name[state.host]
        self.journal.began(cell.id, state.attempt, host.name)
        attendance = self._attendance[host.name]
        order = order_of(self.plan, state, host, self.folder)
        self._orders[cell.id] = (order, wall_clock())
        offer = self.board.hosts[host.name]
        task = Task(
            tasks.run_cell,
            encode(order),
            key=order.key,
            address=attendance.address,
            resources={
                "memory": state.needs.memory,
                "processors": min(state.needs.processors, offer.processors),
            },
        )
        self._events.say(state, "starting")
        self.engine.submit(task, lambda result, why: self._done(cell.id, state.attempt, result, why))

    # ------------------------------------------------------------------ cells end

    def _done(self, cell: str, attempt: int, result: Data | None, why: str) -> None:
        """The engine's answer about an attempt."""
        if not self.board.is_current(cell, attempt):
            return  # of a host that was given up: too late
        state = self.board.cells[cell]
        if result is None:
            self._attendance[state.host].lose(why)
            return
        ended = decode(result, Ended, "result")
        if ended.left:
            self.left.append(about(state.host, ended.left))
        if ended.code is not None:
            assert self._group is not None
            self._group.create_task(self._bring_home(state, ended))
            return
        self.journal.over(cell, attempt)
        if self._leaving:
            return
        changed = self.board.refused(cell, ended.refused or "the host ended it: it had no sign of life from here")
        if changed.state == "ended":
            self._over(changed)
        else:
            self._events.say(changed, "waiting", detail=ended.refused)
        self.changed()

    async def _bring_home(self, state: CellState, ended: Ended) -> None:
        cell = state.cell.id
        order, began = self._orders[cell]
        result = await brought_home(order, self._by_name[state.host], ended, self.folder, began, whole=self.whole)
        if self.board.is_current(cell, state.attempt):
            self._finish(result)
            self.board.ended(cell)
            self.changed()

    def _over(self, state: CellState) -> None:
        """A cell that was given up."""
        result = Finished(state.cell.id, state.attempt, state.host, "error", 3, cause=state.cause, ran=False)
        self._finish(result)

    def _finish(self, result: Finished) -> None:
        self.journal.finish(result)
        self._events.finished(result)

    # ------------------------------------------------------------------ hosts

    def host_lost(self, host: str) -> None:
        """Its cells wait until it is known that nothing of them runs any more."""
        for state in self.board.host_lost(host):
            self._events.say(state, "lost", detail=f"host {host} was lost")
        self.changed()

    def host_closed(self, host: str, left: list[str]) -> None:
        """A host has ended all its cells in order, but for what is left."""
        self.left += [about(host, one) for one in left]
        for state in self.board.on(host) if not left else ():
            self.journal.over(state.cell.id, state.attempt)
            self._events.say(state, "interrupted")

    def host_free(self, host: str, *, given_up: bool) -> None:
        """Nothing of before runs on a host any more."""
        for state in self.board.released(host, given_up=given_up):
            if state.state == "ended":
                self._over(state)
            else:
                self.journal.over(state.cell.id, state.attempt)
                self._events.say(state, "waiting", detail="it begins again")
        self.changed()

    def _withhold(self, group: asyncio.TaskGroup) -> None:
        """Cells of an earlier command, of whose end nothing is known, wait like those of a lost host."""
        for attempt in self.journal.unfinished():
            state = self.board.cells[attempt.cell]
            self.board.cells[attempt.cell] = replace(state, state="lost", host=attempt.host, times_lost=-1)
            if attempt.host not in self._by_name:
                self.board.gone.add(attempt.host)
                group.create_task(self._outlive(attempt))

    async def _outlive(self, attempt: Attempt) -> None:
        """A host that does not take part this time ends its cells when nobody answers any more."""
        seconds = max(0.0, self.times.given_up - (wall_clock() - self.journal.last))
        note = f"cell {attempt.cell} may still run on {attempt.host}: it begins again in {seconds:.0f} s"
        self.bus.emit(Note(attempt.cell, level="warning", message=note))
        await pause(seconds, Deadline.after(seconds))
        self.host_free(attempt.host, given_up=True)

    def _told(self, message: Data) -> None:
        """News of a host."""
        attendance = self._attendance.get(str(message.get("host")))
        match message.get("kind"):
            case "asked" if attendance and self._group:
                attendance.heard()
                self.journal.beat(self.times.beat / 2)
                if not self._leaving:
                    self._group.create_task(attendance.answer(int(message["number"])))
            case "opened" if attendance:
                attendance.opened(message)
            case "runs" if (state := self._running(message)) is not None:
                self._events.say(state, "running")
            case "waits" if (state := self._running(message)) is not None:
                self._events.say(state, "waiting", detail=str(message["reason"]))
            case "line" if (state := self._running(message)) is not None:
                self._events.line(state, str(message["text"]))

    def _running(self, message: Mapping[str, Any]) -> CellState | None:
        state = self.board.cells.get(str(message.get("cell")))
        return state if state is not None and state.state == "running" and state.host == message["host"] else None
