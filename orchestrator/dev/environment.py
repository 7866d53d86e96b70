"""The environment that `dev` works on: opened once, changed while it runs, opened again where that must be."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

from orchestrator.deadline import Deadline
from orchestrator.dev.changes import Changes, Selection, Sources
from orchestrator.dev.loop import Results
from orchestrator.dev.opened import OpenedEnvironment
from orchestrator.dev.suite_runs import Known
from orchestrator.environment.evidence import collect_all
from orchestrator.environment.plan import Request, plan
from orchestrator.environment.redeploy import (
    can_redeploy,
    changed_disks,
    other_inputs,
    redeploy,
    wanted_of,
)
from orchestrator.environment.up import Environment
from orchestrator.errors import OrchestratorError, TopologyError
from orchestrator.events import Event, EventBus
from orchestrator.events.dev import DevCycleEnded, DevStateChanged
from orchestrator.events.run import AcceleratorChosen, Note
from orchestrator.guest.exchange import DiskBusyError
from orchestrator.images.layer_parts import parts_of
from orchestrator.snapshots.key import differences
from orchestrator.topology.layer_files import layer_problems
from orchestrator.topology.model import Topology


class DevEnvironment(OpenedEnvironment):
    """What `dev` does with its environment in each round.

    Args:
        read: reads the topology file and the options again.
        limit: seconds of each round.
        grep: a pattern for titles of tests.
        known: tests that failed before.

    Attributes:
        moved: set when other sources are to be watched.
    """

    def __init__(
        self, read: Callable[[], Request], bus: EventBus, limit: float, *, grep: str | None = None, known: Known
    ) -> None:
        super().__init__(read(), bus, grep=grep, known=known)
        self._read = read
        self._limit = limit
        self._group: asyncio.TaskGroup | None = None
        self.moved = asyncio.Event()

    @property
    def any_failed(self) -> bool:
        return self._known.any_failed

    def work_in(self, group: asyncio.TaskGroup) -> None:
        """Where work that nobody waits for belongs."""
        self._group = group

    # ------------------------------------------------------------------ bringing in

    async def deploy(self, changes: Changes, *, reset: bool) -> str:
        """Bring all of it up, with what changed; what was done, or nothing where there was nothing to do.

        Raises:
            OrchestratorError: it does not come up; the next call tries again.
        """
        deadline = Deadline.after(self._limit)
        if changes.suite and self._suite is not None:
            self._suite.changed()
        told = self._read_again(changes) if changes.topology else ""
        opened = self._opened
        if opened is None:
            return await self._open(deadline)
        try:
            if told or reset or not can_redeploy(opened.session):
                return await self._start_again(told or ("reset" if reset else "a machine is lost"), deadline)
            return await self._redeploy(opened, changes, deadline)
        except BaseException:
            self._doubtful = self._broken = True
            raise

    def _read_again(self, changes: Changes) -> str:
        """Read the topology file; what of it needs other machines.

        Raises:
            TopologyError: it is wrong, and there is nothing else to do. The old one stays.
        """
        try:
            request = self._read()
        except TopologyError as error:
            if not changes.layers:
                raise
            self._bus.emit(Note(level="warning", message=f"{error.brief}; the topology stays as it was"))
            return ""
        before, self._request = self._request.topology, replace(request, start="auto")
        if Sources.of(before, self._request.runs) != self.sources:
            self.moved.set()
        if _machines_only(before) != _machines_only(self._request.topology):
            return "the topology changed"
        if self._opened is not None:
            self._opened.session.record.change(topology=self._request.topology)
        return ""

    async def _redeploy(self, opened: Environment, changes: Changes, deadline: Deadline) -> str:
        session, topology = opened.session, self._request.topology
        problems = [text for name in sorted(changes.layers) for text in layer_problems(topology.layers[name])]
        if problems:
            raise TopologyError(
                "a layer cannot be used as it is", evidence=problems, hint="the next change tries again"
            )
        parts = {name: await parts_of(layer) for name, layer in topology.layers.items()}
        planned = await plan(self._request, session.record.state.provider, self._news_only(), deadline)
        others = other_inputs(topology, session.record.state.inputs, planned.inputs)
        if others:
            return await self._start_again(f"{', '.join(others)} changed", deadline)
        resets = [name for name, one in parts.items() if name in self._parts and self._parts[name].resets != one.resets]
        if resets and differences(session.record.state.inputs, planned.inputs):
            what = ", ".join(f"{' '.join(topology.layers[name].resets)} of layer {name}" for name in resets)
            return await self._start_again(f"{what} changed", deadline)
        same = [name for name, one in parts.items() if name in self._parts and self._parts[name].rest == one.rest]
        static = [] if self._broken else same
        wanted = wanted_of(session.record.state, planned, static)
        disks = changed_disks(session, wanted)
        if not disks and not self._doubtful:
            return ""
        self._folders.begin(session, self._request)
        names = sorted({disk.name for found in disks.values() for disk in found})
        try:
            again = await session.run_watched(redeploy(session, wanted, deadline, doubtful=self._doubtful))
        except DiskBusyError as error:
            return await self._start_again(error.brief, deadline)
        self._parts, self._doubtful, self._broken = parts, False, False
        what = f"layer {', '.join(names)} brought in" if names else "every service proven again"
        count = f"{len(again)} of {len(topology.services)} services" if again else "no service"
        return f"{what}, {count} started again"

    def _news_only(self) -> EventBus:
        """A bus for looking at all parts again: that host and images are as before is no news."""
        bus = EventBus()

        def hand_on(event: Event) -> None:
            if not isinstance(event, AcceleratorChosen):
                self._bus.emit(event)

        bus.subscribe(hand_on)
        return bus

    # ------------------------------------------------------------------ testing

    @property
    def has_tests(self) -> bool:
        return self._request.topology.suite is not None

    def described(self, selection: Selection) -> str:
        return selection.text if self._grep is None else f"{selection.text}, of those that match {self._grep!r}"

    async def test(self, selection: Selection) -> Results:
        """Run tests.

        Raises:
            OrchestratorError: they could not be run.
        """
        suite = self._request.topology.suite
        assert suite is not None and self._suite is not None and self._opened is not None
        deadline = Deadline.after(self._limit)
        if not self._folders.fresh:
            self._folders.begin(self._opened.session, self._request)
        self._doubtful = True
        if self._preparing is not None and not self._preparing.done():
            detail = f"{self.described(selection)}, when the browser is up"
            self._bus.emit(DevStateChanged(self.name, state="testing", detail=detail))
            await asyncio.wait([self._preparing])
        async with deadline.enforce():
            tested = await self._opened.session.run_watched(self._suite.run(suite, selection, deadline))
        self._doubtful = False
        return tested

    async def after_round(self, ended: DevCycleEnded) -> None:
        """What can be done while nobody waits: evidence, reports, a browser for the next tests."""
        opened = self._opened
        if opened is None:
            return
        idle = self._preparing is None or self._preparing.done()
        if self._group is not None and idle and ended.outcome in ("passed", "failed"):
            self._preparing = self._group.create_task(self._prepare())
        if ended.outcome in ("failed", "error"):
            await collect_all(opened.session, "failure")
        await self._folders.end(opened.session, ended)

    async def _prepare(self) -> None:
        suite = self._request.topology.suite
        if suite is None or self._suite is None:
            return
        try:
            complaint = await self._suite.prepare(suite, Deadline.after(self._limit))
        except OrchestratorError as error:
            complaint = error.brief
        if complaint:
            self._bus.emit(Note(level="info", message=f"no browser is kept for the next tests: {complaint}"))


def _machines_only(topology: Topology) -> Topology:
    """What machines that run were given of a topology; the suite and waivers may be others. Pure."""
    return replace(topology, suite=None, waivers=(), path=Path())
