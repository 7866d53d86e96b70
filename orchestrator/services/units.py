"""The units of the services: seen before anything is done, started, watched, and compared with what they were.

A check that passes tells of one moment, and of one run of the unit. Whether the
same run is still there is told by the count of its restarts and by the mark that
systemd gives each run; neither is compared with zero, since a machine may come
from a state in which both were something.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import partial

from orchestrator.deadline import Deadline, completes_before, pause
from orchestrator.errors import MachineError, ServiceError
from orchestrator.services import systemd
from orchestrator.services.explanations import explain
from orchestrator.services.reach import Reach
from orchestrator.services.systemd import UnitStatus
from orchestrator.tasks import run_all
from orchestrator.topology.model import Service, ServiceKind

LOOK_INTERVAL = 1.0  # seconds between looks at a unit of which no journal tells
LOOK_INTERVAL_HEARD = 3.0  # seconds between looks at a unit whose journal is silent
ASK_AGAIN = 0.2  # seconds until systemd is asked again that did not answer
ASKED_AGAIN = 4


@dataclass(frozen=True, slots=True)
class Known:
    """A unit as it was when its service was started or first seen.

    Attributes:
        restarts: those up to then.
        run: the mark of its run; empty where it was still to be started, and only the journal tells.
        before: that of its last run, then; systemd's first line about the new one may still carry it.
    """

    restarts: int
    run: str
    before: str = ""


class UnitDriver:
    """Starts, watches and stops the units of one environment."""

    def __init__(self, reach: Reach, services: Mapping[str, Service]) -> None:
        self._reach = reach
        self._services = services
        self._first: dict[str, dict[str, UnitStatus]] = {}  # machine → unit → how it was before anything was done
        self._looking: dict[str, asyncio.Lock] = defaultdict(asyncio.Lock)
        self._known: dict[str, Known] = {}  # by service
        self._ends: dict[str, asyncio.Event] = {}  # by service
        self._noticed: set[str] = set()  # services whose unit is said to have ended, and was not looked at since

    def mark_pending(self, names: Sequence[str]) -> None:
        """These are begun again, perhaps on a machine that was rebooted."""
        for name in names:
            self._first.pop(self._services[name].machine, None)
            self._known.pop(name, None)
            self._noticed.discard(name)

    @property
    def restarts(self) -> dict[str, int]:
        return {name: known.restarts for name, known in self._known.items() if known.restarts}

    # ------------------------------------------------------------------ before and at the start

    async def first_look(self, service: Service) -> UnitStatus | None:
        """How the unit was before anything was done; one command for all units of its machine. None for a target."""
        if service.unit is None:
            return None
        status = (await self.first_looks(service.machine))[service.unit]
        self._known[service.name] = Known(status.restarts, status.invocation)
        return status

    async def first_looks(self, machine: str) -> Mapping[str, UnitStatus]:
        """The same for all units of a machine."""
        async with self._looking[machine]:
            if machine not in self._first:
                units = [one.unit for one in self._services.values() if one.machine == machine and one.unit is not None]
                self._first[machine] = await self._look(machine, units) if units else {}
        return self._first[machine]

    async def start(self, service: Service, deadline: Deadline) -> None:
        """Start the unit, and know it as it is from now on.

        Raises:
            ServiceError: it did not start.
        """
        unit = service.unit
        before = await self.first_look(service)
        if unit is None or before is None:
            return
        if before.at_rest:
            self._known[service.name] = Known(0, "", before.invocation)
        self.listen(service)
        agent, journal = await self._reach.agent(service.machine), self._reach.journal(service.machine)
        try:
            result = await systemd.start(
                agent, unit, deadline, None if journal is None else partial(journal.wait_for_entry, unit)
            )
        except MachineError as error:
            if not deadline.expired:
                raise
            why = "systemctl start did not return"
            raise await explain(self._reach, service, f"did not start within {deadline}", why) from error
        if result.code != 0:
            why = self.trouble(service, await self.look(service)) or result.complaint
            raise await explain(self._reach, service, "failed to start", why)

    def listen(self, service: Service) -> None:
        """From now on the journal's word that the unit ended is heeded."""
        journal = self._reach.journal(service.machine)
        self._noticed.discard(service.name)
        self._ends[service.name] = asyncio.Event() if journal is None else journal.await_end(str(service.unit))

    async def stop(self, service: Service, deadline: Deadline) -> None:
        """Stop the unit.

        Raises:
            ServiceError: it could not be stopped.
        """
        if service.unit is None:
            return
        self._ends.pop(service.name, None)
        result = await systemd.stop(await self._reach.agent(service.machine), [service.unit], deadline)
        if result.code != 0:
            raise ServiceError(f"service {service.name} could not be stopped", why=result.complaint)

    # ------------------------------------------------------------------ while it is proven

    def trouble(self, service: Service, status: UnitStatus) -> str:
        """Why the unit will not come up by itself; empty while it may."""
        known = self._known.get(service.name)
        oneshot = service.kind is ServiceKind.ONESHOT
        return status.trouble(oneshot=oneshot, restarts=status.restarts if known is None else known.restarts)

    def fault(self, service: Service, status: UnitStatus) -> str:
        """Why the unit does not do what a proven one does; empty if it does."""
        why = self.trouble(service, status)
        if not why and service.kind is ServiceKind.DAEMON and not status.running:
            why = f"{status.unit or service.unit} is {status.active} ({status.sub})"
        return why

    async def look(self, service: Service) -> UnitStatus:
        assert service.unit is not None
        return (await self._look(service.machine, [service.unit]))[service.unit]

    async def watch(self, service: Service) -> None:
        """Raise as soon as the unit is in trouble; it never returns.

        The journal tells of an end at once. A look now and then is for what it does not tell;
        each costs an emulated guest a third of a second.
        """
        journal, ended = self._reach.journal(service.machine), self._ends[service.name]
        while True:
            heard = journal is not None and journal.heard
            interval = self._reach.scale.reply(LOOK_INTERVAL_HEARD if heard else LOOK_INTERVAL)
            await completes_before(ended.wait, Deadline.after(interval))
            await self._look_after_end(service, ended, "failed")

    async def watch_proven(self, service: Service) -> None:
        """The same for a daemon that was proven; only the journal is heeded, and nothing is asked without its word."""
        ended = self._ends[service.name]
        while True:
            await ended.wait()
            await self._look_after_end(service, ended, "ended after it was proven")

    async def passed(self, service: Service) -> None:
        """The checks have passed: the last word is the unit's, where there was any doubt.

        Raises:
            ServiceError: it is in trouble.
        """
        ended = self._ends.get(service.name)
        if ended is not None and (ended.is_set() or service.name in self._noticed):
            await self._look_after_end(service, ended, "failed")

    async def _look_after_end(self, service: Service, ended: asyncio.Event, what: str) -> None:
        if ended.is_set():
            self._noticed.add(service.name)  # also where the look is cut short
            ended.clear()
        why = self.trouble(service, await self.look(service))
        if why:
            raise await explain(self._reach, service, what, why)
        if not ended.is_set():
            self._noticed.discard(service.name)

    # ------------------------------------------------------------------ the last look

    async def last_look(self, services: Sequence[Service]) -> tuple[list[tuple[Service, str]], list[Service]]:
        """All units at once, one command a machine: what is wrong with which, and which are another run by now."""
        machines: dict[str, list[Service]] = defaultdict(list)
        for service in services:
            if service.unit is not None:
                machines[service.machine].append(service)
        wrong: list[tuple[Service, str]] = []
        others: list[Service] = []
        looks = (self._look(machine, [str(one.unit) for one in mine]) for machine, mine in machines.items())
        for mine, found in zip(machines.values(), await run_all(*looks), strict=True):
            for service in mine:
                status = found[str(service.unit)]
                if why := self.fault(service, status):
                    wrong.append((service, why))
                elif self._another_run(service, status):
                    others.append(service)
                self._known[service.name] = Known(status.restarts, status.invocation)
        return wrong, others

    def _another_run(self, service: Service, status: UnitStatus) -> bool:
        """Whether this run may be another than the one whose checks passed."""
        known, journal = self._known.get(service.name), self._reach.journal(service.machine)
        if known is None or not status.invocation:  # seen for the first time; or it did its work and was forgotten
            return False
        if known.run:
            return known.run != status.invocation
        return journal is None or journal.runs(str(service.unit)) - {known.before} != {status.invocation}

    async def _look(self, machine: str, units: Sequence[str]) -> dict[str, UnitStatus]:
        """The units as they are now. Their own names are kept."""
        agent, deadline = await self._reach.agent(machine), self._reach.look_deadline()
        found = await systemd.show(agent, units, deadline)
        for _ in range(ASKED_AGAIN):
            if all(status.known for status in found):
                break
            await pause(ASK_AGAIN, deadline)
            found = await systemd.show(agent, units, deadline)
        for unit, status in zip(units, found, strict=True):
            self._reach.know(machine, unit, status.unit)
        return dict(zip(units, found, strict=True))
