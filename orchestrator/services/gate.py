"""Bringing services up in the order of their graph, each proven before the next.

The orchestrator starts every unit itself, when the checks of all it needs have
passed. Independent services start at the same time, across machines. The first
failure ends the whole, with the unit's own words as evidence.
"""

from __future__ import annotations

import asyncio
import shlex
from collections.abc import Awaitable, Callable, Mapping, Sequence
from contextlib import suppress
from functools import partial

from orchestrator.deadline import Deadline, came, pause
from orchestrator.errors import MachineError, OrchestratorError, ServiceError
from orchestrator.events import EventBus
from orchestrator.guest.agent import Agent
from orchestrator.services import systemd
from orchestrator.services.checks import Answer, Channels, attempt
from orchestrator.services.graph import ServiceGraph, State, good_state
from orchestrator.services.journal import Journal
from orchestrator.tasks import guarded, root_cause, together
from orchestrator.topology.model import Check, CheckKind, Service, ServiceKind

EVIDENCE_LINES = 15
HEARTBEAT = 30.0  # seconds
LOOK_INTERVAL = 1.0  # seconds between looks at a unit of which no journal tells
LOOK_INTERVAL_HEARD = 3.0  # seconds between looks at a unit whose journal is silent
# Seconds between attempts, before scaling. News of the unit in its journal brings the next one forward, so that few are
# needed: each that is refused costs an emulated guest, which has the service to start, a connection and two log lines.
ATTEMPT_INTERVAL = {CheckKind.HTTP: 0.05, CheckKind.TCP: 0.05}
ATTEMPT_INTERVAL_EXEC = 0.1


class Gatekeeper:
    """Starts and proves the services of one environment.

    Args:
        channels: how each machine is reached; for the machine of every service and check.
        journals: the followed journal of each machine.
        factor: what all limits of the topology are multiplied with.
        command: how the user calls this program for this environment, for hints.
        on_up: called when a service has proven itself.
    """

    def __init__(
        self,
        graph: ServiceGraph,
        channels: Mapping[str, Channels],
        journals: Mapping[str, Journal],
        bus: EventBus,
        *,
        factor: float,
        command: str = "orchestrator",
        on_up: Callable[[Service], Awaitable[None]] | None = None,
    ) -> None:
        self.graph = graph
        self._channels = channels
        self._journals = journals
        self._bus = bus
        self._factor = factor
        self._command = command
        self._on_up = on_up
        self._changed = asyncio.Event()

    async def bring_up(self, deadline: Deadline) -> None:
        """Start everything that is pending; return when all are up.

        Raises:
            ServiceError: the first service that failed, with its evidence.
            MachineError: a machine was lost on the way.
        """
        try:
            async with asyncio.TaskGroup() as group:
                running: set[asyncio.Task[None]] = set()
                while not self.graph.settled:
                    for name in self.graph.startable():
                        self.graph = self.graph.advance(name, State.STARTING)
                        running.add(group.create_task(self._one(self.graph.services[name], deadline)))
                    if all(task.done() for task in running):
                        raise self._stuck()
                    self._changed.clear()
                    await self._changed.wait()
        except BaseExceptionGroup as error:
            raise root_cause(error) from None

    def _stuck(self) -> ServiceError:
        """Nothing runs, nothing may start, and something still waits: a dependency was stopped."""
        waiting = [name for name, state in self.graph.states.items() if state is State.PENDING]
        return ServiceError(
            f"service {', '.join(waiting)} cannot start",
            why="something it needs was stopped and not started again",
            hint=f"{self._command} status",
        )

    async def prove(self, deadline: Deadline) -> None:
        """Prove services that all ran when their machines were saved: nothing is started, order tells nothing.

        Raises:
            ServiceError: a check does not pass, a unit is in trouble, or what is to be done after a restore failed.
        """
        services = self.graph.services.values()
        await together(*(self._after_restore(service, deadline) for service in services if service.after_restore))
        unchecked = [service for service in services if not service.checks]  # a check that passes proves its unit too
        checked = [service for service in services if service.checks]
        await together(*(self._prove(service, deadline) for service in checked), self._all_run(unchecked))

    async def _after_restore(self, service: Service, deadline: Deadline) -> None:
        limit = deadline.earlier(service.timeout * self._factor)
        result = await (await self._agent(service)).exec(service.after_restore, deadline=limit)
        if result.code != 0:
            why = f"{shlex.join(service.after_restore)} ended with {result.code}: {result.complaint}"
            error = await self._explain(service, "could not be renewed after the restore", why)
            self.graph = self.graph.advance(service.name, State.STARTING)
            self._fail(service, limit, error)
            raise error

    async def holds(self, deadline: Deadline) -> bool:
        """Whether every service runs and passes its checks right now; if so, all are known as good.

        One attempt of each check, nothing started, nothing waited for, nothing told on failure.
        """
        everything = list(self.graph.services.values())
        for name, service in self.graph.services.items():
            self.graph = self.graph.reset([name]).advance(name, State.STARTING).advance(name, State.CHECKING)
            await self._agent(service)
        answers = await together(*(self._hold(service, check, deadline) for service in everything
                                   for check in service.checks))  # fmt: skip
        if not all(answers) or await self._troubles(everything):
            self.graph = self.graph.reset(self.graph.services)
            return False
        for service in everything:
            self._move(service.name, good_state(service))
        return True

    async def _hold(self, service: Service, check: Check, deadline: Deadline) -> bool:
        answer = await attempt(check, self._channels[check.machine], factor=self._factor, deadline=deadline)
        self._tell(service, check, answer, 1, deadline)
        return answer.ok

    def _tell(self, service: Service, check: Check, answer: Answer, attempts: int, limit: Deadline) -> None:
        self._bus.emit(
            "check.answer",
            service.name,
            check=check.name,
            ok=answer.ok,
            answer=answer.text,
            attempt=attempts,
            elapsed=round(limit.elapsed, 3),
        )

    async def _troubles(self, services: Sequence[Service]) -> list[tuple[Service, str]]:
        """The services whose unit is in trouble, and how; one command per machine."""
        found = []
        for machine in {service.machine for service in services}:
            mine = [service for service in services if service.machine == machine and service.unit is not None]
            if mine:
                limit = Deadline.after(10 * max(1.0, self._factor))
                shown = await systemd.show(await self._agent(mine[0]), [s.unit for s in mine if s.unit], limit)
                for service, status in zip(mine, shown, strict=True):
                    oneshot = service.kind is ServiceKind.ONESHOT
                    why = status.trouble(oneshot=oneshot)
                    if not why and not oneshot and not status.running:
                        why = f"{status.unit} is {status.active} ({status.sub})"
                    if why:
                        found.append((service, why))
        return found

    async def _prove(self, service: Service, deadline: Deadline) -> None:
        await self._agent(service)
        limit = deadline.earlier(service.timeout * self._factor)
        self.graph = self.graph.advance(service.name, State.STARTING)  # it is not started: no event
        self._move(service.name, State.CHECKING, limit.elapsed)
        await self._checked(service, asyncio.Event(), limit)

    async def _all_run(self, services: Sequence[Service]) -> None:
        """Services without a check: their units must run."""
        for service in services:
            self.graph = self.graph.advance(service.name, State.STARTING)
            self._move(service.name, State.CHECKING)
        for service, why in await self._troubles(services):
            error = await self._explain(service, "does not run after the restore", why)
            self._fail(service, Deadline.after(0), error)
            raise error
        for service in services:
            self._move(service.name, good_state(service))

    async def stop(self, names: tuple[str, ...], deadline: Deadline) -> None:
        """Stop these services (dependants first) on purpose, and say so."""
        await self.stop_units(names, deadline)
        for name in names:
            self._move(name, State.STOPPED)

    async def stop_units(self, names: tuple[str, ...], deadline: Deadline) -> None:
        """Stop the units of these services, dependants first."""
        for name in self.graph.stop_order(names):
            service = self.graph.services[name]
            if service.unit is not None:
                result = await systemd.stop(await self._agent(service), [service.unit], deadline)
                if result.code != 0:
                    raise ServiceError(f"service {name} could not be stopped", why=result.complaint)

    def forget(self, names: tuple[str, ...]) -> None:
        """Make services pending again, to be brought up anew."""
        self.graph = self.graph.reset(names)
        for name in names:
            self._emit(name, State.PENDING, 0.0, "")

    async def _one(self, service: Service, deadline: Deadline) -> None:
        for machine in {service.machine, *(check.machine for check in service.checks)}:
            await self._channels[machine].agent()  # its limit does not run while a machine still boots
        limit = deadline.earlier(service.timeout * self._factor)
        self._emit(service.name, State.STARTING, 0.0, "")
        unit = service.unit
        ended = asyncio.Event()
        if unit is not None:
            if service.machine in self._journals:
                ended = self._journals[service.machine].await_end(unit)
            await self._start_unit(service, unit, limit)
        self._move(service.name, State.CHECKING, limit.elapsed)
        await self._checked(service, ended, limit)
        if self._on_up is not None:
            await self._on_up(service)

    async def _checked(self, service: Service, ended: asyncio.Event, limit: Deadline) -> None:
        """From ``checking`` to good, or failed: its checks pass, and its unit is watched meanwhile."""
        unit = service.unit
        guards = [] if unit is None else [lambda: self._watch_unit(service, unit, ended)]
        try:
            await guarded(together(*(self._pass(service, check, limit) for check in service.checks)), guards)
            if unit is not None and not service.checks:
                await self._wait_active(service, unit, limit)
        except ServiceError as error:
            self._fail(service, limit, error)
            raise
        self._move(service.name, good_state(service), limit.elapsed)

    async def _start_unit(self, service: Service, unit: str, limit: Deadline) -> None:
        try:
            journal = self._journals.get(service.machine)
            news = None if journal is None else partial(journal.news, unit)
            result = await systemd.start(await self._agent(service), unit, limit, news)
        except MachineError as error:
            if not limit.expired:
                raise
            late = await self._explain(
                service, f"did not start within {limit.limit:.0f} s", "systemctl start did not return"
            )
            self._fail(service, limit, late)
            raise late from error
        if result.code != 0:
            why = await self._unit_trouble(service, unit) or result.complaint
            failed = await self._explain(service, "failed to start", why)
            self._fail(service, limit, failed)
            raise failed

    async def _pass(self, service: Service, check: Check, limit: Deadline) -> None:
        """Attempt one check until it passes."""
        interval = ATTEMPT_INTERVAL.get(check.kind, ATTEMPT_INTERVAL_EXEC) * max(1.0, self._factor)
        last = Answer(False, "not attempted yet")
        tries = 0
        beat = Deadline.after(HEARTBEAT)
        while True:
            answer = await attempt(check, self._channels[check.machine], factor=self._factor, deadline=limit)
            tries += 1
            if limit.expired and tries > 1 and not answer.ok:
                answer = last  # cut short by the service's limit; the answer before says more
            if answer != last or answer.ok:
                self._tell(service, check, answer, tries, limit)
            if answer.ok:
                return
            last = answer
            if limit.expired:
                raise await self._explain(
                    service,
                    f"is not up within {limit.limit:.0f} s",
                    f"check {check.name} made from machine {check.machine} never passed; last answer: {last.text}",
                )
            if beat.expired:
                beat = Deadline.after(HEARTBEAT)
                self._bus.emit(
                    "wait.heartbeat",
                    service.name,
                    what=f"check {check.name}",
                    elapsed=round(limit.elapsed, 1),
                    limit=limit.limit,
                    last=last.text,
                )
            await self._pause_or_news(service, interval, limit)

    async def _pause_or_news(self, service: Service, interval: float, limit: Deadline) -> None:
        """Wait the interval, or less when the unit's journal says something."""
        journal = self._journals.get(service.machine)
        if service.unit is None or journal is None:
            await pause(interval, limit)
            return
        if await came(partial(journal.news, service.unit), limit.earlier(interval)):
            await pause(0.02, limit)  # the line often comes just before what it announces

    async def _watch_unit(self, service: Service, unit: str, ended: asyncio.Event) -> None:
        """Raise as soon as the unit is in trouble; it never returns.

        The journal tells of an end at once. A look now and then is for what it does not tell;
        each costs an emulated guest a third of a second.
        """
        journal = self._journals.get(service.machine)
        while True:
            heard = journal is not None and journal.heard
            interval = (LOOK_INTERVAL_HEARD if heard else LOOK_INTERVAL) * max(1.0, self._factor / 4)
            await came(ended.wait, Deadline.after(interval))
            ended.clear()
            why = await self._unit_trouble(service, unit)
            if why:
                raise await self._explain(service, "failed", why)

    async def _wait_active(self, service: Service, unit: str, limit: Deadline) -> None:
        status = (await systemd.show(await self._agent(service), [unit], limit))[0]
        if service.kind is ServiceKind.DAEMON and not status.running:
            raise await self._explain(service, "is not running", f"{unit} is {status.active} ({status.sub})")

    async def _unit_trouble(self, service: Service, unit: str) -> str:
        # One look gets its own limit: it must not fail the wait on a busy machine.
        status = await systemd.show(await self._agent(service), [unit], Deadline.after(10 * max(1.0, self._factor)))
        return status[0].trouble(oneshot=service.kind is ServiceKind.ONESHOT)

    async def _explain(self, service: Service, what: str, why: str) -> ServiceError:
        """The error with the unit's last words."""
        evidence: list[str] = []
        where = [str(self._journals[service.machine].path)] if service.machine in self._journals else []
        hint = f"{self._command} shell {service.machine}"
        if service.unit is not None:
            hint = f"{self._command} logs --unit {service.unit} {service.machine}"
            with suppress(OrchestratorError):
                limit = Deadline.after(10 * max(1.0, self._factor / 2))
                evidence = await systemd.last_lines(await self._agent(service), service.unit, EVIDENCE_LINES, limit)
        return ServiceError(
            f"service {service.name} on machine {service.machine} {what}",
            subject=service.name,
            why=why,
            evidence=evidence,
            where=where,
            hint=hint,
        )

    async def _agent(self, service: Service) -> Agent:
        return await self._channels[service.machine].agent()

    def _fail(self, service: Service, limit: Deadline, error: ServiceError) -> None:
        before = dict(self.graph.states)
        self._move(service.name, State.FAILED, limit.elapsed, error.why)
        for name, state in self.graph.states.items():
            if state is State.SKIPPED and before[name] is not State.SKIPPED:
                self._emit(name, State.SKIPPED, 0.0, f"needs {service.name}")

    def _move(self, name: str, state: State, elapsed: float = 0.0, detail: str = "") -> None:
        self.graph = self.graph.advance(name, state)
        self._emit(name, state, elapsed, detail)
        self._changed.set()

    def _emit(self, name: str, state: State, elapsed: float, detail: str) -> None:
        machine = self.graph.services[name].machine
        self._bus.emit(
            "service.state", name, machine=machine, state=state.value, elapsed=round(elapsed, 3), detail=detail
        )
