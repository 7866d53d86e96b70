"""Making the checks of a service until they pass, while its unit is watched."""

from __future__ import annotations

from functools import partial

from orchestrator.deadline import Deadline, completes_before, pause
from orchestrator.events.services import CheckResulted, Heartbeat
from orchestrator.services.checks import CheckResult, run_check
from orchestrator.services.reach import Reach
from orchestrator.services.units import Units
from orchestrator.tasks import run_all, run_with_watchdogs
from orchestrator.topology.model import Check, CheckKind, Service

HEARTBEAT = 30.0  # seconds
# Seconds between attempts, before scaling. News of the unit in its journal brings the next one forward, so that few are
# needed: each that is refused costs an emulated guest, which has the service to start, a connection and two log lines.
ATTEMPT_INTERVAL = {CheckKind.HTTP: 0.05, CheckKind.TCP: 0.05}
ATTEMPT_INTERVAL_EXEC = 0.1


class Prover:
    """Makes checks, and tells their answers."""

    def __init__(self, reach: Reach, units: Units) -> None:
        self._reach = reach
        self._units = units

    async def prove(self, service: Service, limit: Deadline) -> None:
        """Return when all checks have passed and the unit did not end meanwhile.

        Raises:
            ServiceError: the limit is over, or the unit is in trouble.
        """
        guards = [] if service.unit is None else [partial(self._units.watch, service)]
        await run_with_watchdogs(self.checks(service, limit), guards)
        await self._units.passed(service)

    async def checks(self, service: Service, limit: Deadline) -> None:
        """All checks at once, each until it passes."""
        await run_all(*(self._until_passed(service, check, limit) for check in service.checks))

    async def once(self, service: Service, check: Check, deadline: Deadline) -> bool:
        """One attempt; whether it passed."""
        answer = await self._attempt(check, deadline)
        self._report(service, check, answer, 1, deadline)
        return answer.ok

    async def _attempt(self, check: Check, limit: Deadline) -> CheckResult:
        return await run_check(check, self._reach.channels[check.machine], factor=self._reach.factor, deadline=limit)

    async def _until_passed(self, service: Service, check: Check, limit: Deadline) -> None:
        interval = ATTEMPT_INTERVAL.get(check.kind, ATTEMPT_INTERVAL_EXEC) * max(1.0, self._reach.factor)
        last = CheckResult(False, "not attempted yet")
        tries = 0
        beat = Deadline.after(HEARTBEAT)
        while True:
            answer = await self._attempt(check, limit)
            tries += 1
            if limit.expired and tries > 1 and not answer.ok:
                answer = last  # cut short by the service's limit; the answer before says more
            if answer != last or answer.ok:
                self._report(service, check, answer, tries, limit)
            if answer.ok:
                return
            last = answer
            if limit.expired:
                raise await self._reach.explained(
                    service,
                    f"is not up within {limit}",
                    f"check {check.name} made from machine {check.machine} never passed; last answer: {last.text}",
                )
            if beat.expired:
                beat = Deadline.after(HEARTBEAT)
                self._reach.bus.emit(
                    Heartbeat(
                        service.name,
                        what=f"check {check.name}",
                        elapsed=round(limit.elapsed, 1),
                        timeout=limit.limit,
                        detail=last.text,
                    )
                )
            await self._pause_or_news(service, interval, limit)

    async def _pause_or_news(self, service: Service, interval: float, limit: Deadline) -> None:
        """Wait the interval, or less when the unit's journal says something."""
        journal = self._reach.journal(service.machine)
        if service.unit is None or journal is None:
            await pause(interval, limit)
            return
        if await completes_before(partial(journal.wait_for_entry, service.unit), limit.earlier(interval)):
            await pause(0.02, limit)  # the line often comes just before what it announces

    def _report(self, service: Service, check: Check, answer: CheckResult, attempts: int, limit: Deadline) -> None:
        self._reach.bus.emit(
            CheckResulted(
                service.name,
                check=check.name,
                ok=answer.ok,
                message=answer.text,
                attempt=attempts,
                elapsed=round(limit.elapsed, 3),
            )
        )
