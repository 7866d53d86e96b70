"""Faults on the machines that a session drives: begun on what is healthy, ended, and what they were on proven again."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import TYPE_CHECKING

from orchestrator.deadline import FOREVER, Deadline, pause
from orchestrator.errors import FaultError, OrchestratorError
from orchestrator.events.faults import EndReason, FaultRecovered
from orchestrator.events.run import Note
from orchestrator.faults.book import FaultBook
from orchestrator.faults.control import FaultControl
from orchestrator.faults.place import Ground, Ways
from orchestrator.guest.channel import GuestChannel
from orchestrator.process_id import ProcessId
from orchestrator.services.graph import State
from orchestrator.topology.fault_kind import Fault, Scope
from orchestrator.topology.read_faults import services_hit
from orchestrator.vm.qmp import Monitor

if TYPE_CHECKING:
    from orchestrator.environment.session import Session

CONNECT_LIMIT = 15.0  # seconds, before scaling
LINGER = 5.0  # seconds after a fault in which its traces still count as its own, before scaling


class LiveFaults:
    """The faults of a session.

    Attributes:
        come_back: hands a machine over again that QEMU has reset; a driver has its own way.
    """

    def __init__(self, session: Session) -> None:
        self._session = session
        self.come_back: Callable[[str, Deadline], Awaitable[None]] = self._boot_again
        ground = Ground(session.topology, self._ways, session.bus, session.scale, session.run_folder)
        self.control = FaultControl(ground, FaultBook(session.paths.faults), self._hush)

    def _ways(self, machine: str) -> Ways:
        async def monitor() -> Monitor:
            return self._session.machines[machine].monitor

        async def channel() -> GuestChannel:
            live = self._session.machines[machine]
            if not live.agent.connected:
                await live.agent.connect(Deadline.after(self._session.scale.limit(CONNECT_LIMIT)))
            return live.agent

        return Ways(monitor, channel, self._session.record.state.machines[machine].process)

    def _hush(self, fault: Fault, machines: tuple[str, ...], begins: bool) -> None:
        for name in machines:
            watcher = self._session.machines[name].qemu.watcher
            if begins:
                watcher.was_reset.clear()
                watcher.silences.begin(fault)
            else:
                watcher.silences.end(fault, self._session.scale.limit(LINGER))

    # ------------------------------------------------------------------ begin and end

    async def begin(self, fault: Fault, deadline: Deadline) -> None:
        """Begin a fault once everything that it is on is healthy. One that does not last ends at once.

        Raises:
            FaultError: something is not healthy, or it does not come into effect.
            ServiceError: something that was proven is not healthy any more.
        """
        graph = self._session.services.graph
        proven = graph.proven()
        ill = [name for name in services_hit(fault, self._session.topology) if name not in proven]
        if ill:
            raise FaultError(
                f"fault {fault.name} cannot begin",
                why=f"not healthy: {', '.join(f'{name} is {graph.states[name]}' for name in ill)}",
            )
        await self._session.verify_still_healthy(deadline)
        await self.control.begin(fault, owner=ProcessId.own())
        if not fault.spec.stays:
            await self.end(fault, "over", deadline)

    async def end(self, fault: Fault, reason: EndReason, deadline: Deadline) -> None:
        """End a fault, and wait until everything that it was on is healthy; one that is not on has nothing to end.

        Raises:
            FaultError, ServiceError: it does not recover.
        """
        if fault.name not in self.control.book.active:
            return
        await self.control.end(fault.name, reason)
        if not fault.spec.harmless:
            await self.recover(fault, deadline)

    async def interrupt(self) -> None:
        """End everything that this program has begun, and prove nothing: the work was cut short."""
        own = ProcessId.own()
        for name, one in reversed(list(self.control.book.active.items())):
            if one.owner == own:
                try:
                    await self.control.end(name, "interrupted")
                except OrchestratorError as error:
                    self._session.bus.emit(Note(level="warning", message=f"fault {name} was not ended: {error.brief}"))

    async def end_all(self) -> None:
        """End everything that is on, whoever began it: before the machines are saved."""
        for name in await self.control.end_all("asked"):
            self._session.bus.emit(Note(level="warning", message=f"fault {name} was on, and is ended before the save"))

    # ------------------------------------------------------------------ recovery

    async def recover(self, fault: Fault, deadline: Deadline) -> None:
        """Wait until everything that a fault was on is healthy; start again what it ended.

        Raises:
            FaultError, ServiceError: it does not recover.
        """
        session, clock = self._session, Deadline.after(FOREVER)
        within = session.scale.limit(fault.recovers_within) if fault.recovers_within else None
        limit = deadline if within is None else deadline.earlier(within)
        names = self._concerned(fault)

        def late() -> FaultError:
            states = session.services.graph.states
            ill = [f"{name} is {states[name]}" for name in names if name not in session.services.graph.proven()]
            return FaultError(
                f"{fault.on} did not recover within {limit} after the end of fault {fault.name}",
                why=", ".join(ill) or "a check did not pass",
                hint=f"orchestrator -n {session.paths.name} status --checks",
            )

        async with limit.enforce(late):
            if fault.spec.reboots:
                await self.come_back(fault.on, limit)
            if fault.spec.reboots or fault.spec.scope is Scope.SERVICE:
                session.services.mark_pending(names)
                await session.start_services(limit, names)
            else:
                await session.services.verify_again(names, limit)
        seconds = round(clock.elapsed, 3)
        session.bus.emit(FaultRecovered(fault.name, seconds=seconds, within=within))

    def _concerned(self, fault: Fault) -> tuple[str, ...]:
        """What must be healthy again: not what is stopped on purpose, nor what another fault is still on."""
        graph, topology = self._session.services.graph, self._session.topology
        others = [one.fault for one in self.control.book.active.values() if not one.fault.spec.harmless]
        ill = {name for other in others for name in graph.with_dependants(services_hit(other, topology))}
        away = (State.STOPPED, State.SKIPPED)
        names = graph.with_dependants(services_hit(fault, topology))
        return tuple(name for name in names if name not in ill and graph.states[name] not in away)

    async def _boot_again(self, machine: str, deadline: Deadline) -> None:
        live = self._session.machines[machine]
        await live.qemu.watcher.was_reset.wait()
        live.leave_boot()
        await live.boot_again(self._session.public_key(), deadline)
        await live.open_ssh()
        self._session.record_access(live)


class PhaseFaults:
    """The faults of one phase: each begins and ends at its time, all end with the phase.

    Args:
        faults: in the order in which they begin.
    """

    def __init__(self, live: LiveFaults, faults: Sequence[Fault], deadline: Deadline) -> None:
        self._live = live
        self._faults = faults
        self._deadline = deadline
        self._begun = asyncio.Event()
        self._recovering: list[Fault] = []  # ended at their times, and perhaps cut short by the end of the phase

    async def begin(self) -> None:
        """Begin those without a time of their own: the first test waits for it. The clock of the others begins."""
        for fault in self._faults:
            if not fault.at:
                await self._live.begin(fault, self._deadline)
        self._begun.set()

    async def follow(self) -> None:
        """Begin and end the others at their times. It returns when nothing more is to come."""
        await self._begun.wait()
        async with asyncio.TaskGroup() as group:
            for fault in self._faults:
                group.create_task(self._follow(fault))

    async def _follow(self, fault: Fault) -> None:
        if fault.at:
            await pause(fault.at, self._deadline)
            await self._live.begin(fault, self._deadline)
        if fault.lasts:
            await pause(fault.lasts, self._deadline)
            self._recovering.append(fault)
            await self._live.end(fault, "over", self._deadline)
            self._recovering.remove(fault)

    async def end(self) -> None:
        """End those that are still on, the last one first, and wait until everything is healthy."""
        for fault in reversed(self._faults):
            await self._live.end(fault, "phase", self._deadline)
        for fault in self._recovering:
            await self._live.recover(fault, self._deadline)
