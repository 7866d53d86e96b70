"""Making the checks of a service until they pass, while its unit is watched."""

from __future__ import annotations

from functools import partial

from orchestrator.deadline import Deadline, completes_before, pause
from orchestrator.events.services import CheckResulted, Heartbeat
from orchestrator.services.channels import run_check
from orchestrator.services.explanations import explain
from orchestrator.services.reach import Reach
from orchestrator.services.units import UnitDriver
from orchestrator.tasks import run_all, run_with_watchdogs
from orchestrator.topology.check_kind import CheckResult
from orchestrator.topology.model import Check, Service

HEARTBEAT = 30.0  # seconds


class CheckLoop:
    """Makes checks, and reports their results."""

    def __init__(self, reach: Reach, units: UnitDriver) -> None:
        self._reach = reach
        self._units = units

    async def prove(self, service: Service, deadline: Deadline) -> None:
        """Return when all checks have passed and the unit did not end meanwhile.

        Raises:
            ServiceError: the deadline came first, or the unit is in trouble.
        """
        guards = [] if service.unit is None else [partial(self._units.watch, service)]
        await run_with_watchdogs(self.until_passed(service, deadline), guards)
        await self._units.passed(service)

    async def until_passed(self, service: Service, deadline: Deadline) -> None:
        """All checks at once, each until it passes."""
        await run_all(*(self._check_until_passed(service, check, deadline) for check in service.checks))

    async def once(self, service: Service, check: Check, deadline: Deadline) -> bool:
        """One attempt; whether it passed."""
        result = await self._attempt(check, deadline)
        self._report(service, check, result, 1, deadline)
        return result.ok

    async def _attempt(self, check: Check, deadline: Deadline) -> CheckResult:
        return await run_check(check, self._reach.channels[check.machine], scale=self._reach.scale, deadline=deadline)

    async def _check_until_passed(self, service: Service, check: Check, deadline: Deadline) -> None:
        interval = self._reach.scale.interval(check.spec.interval)
        last = CheckResult(False, "not attempted yet")
        tries = 0
        beat = Deadline.after(HEARTBEAT)
        while True:
            result = await self._attempt(check, deadline)
            tries += 1
            if deadline.expired and tries > 1 and not result.ok:
                result = last  # cut short by the service's deadline; the result before says more
            if result != last or result.ok:
                self._report(service, check, result, tries, deadline)
            if result.ok:
                return
            last = result
            if deadline.expired:
                raise await explain(
                    self._reach,
                    service,
                    f"is not up within {deadline}",
                    f"check {check.name} made from machine {check.machine} never passed; last answer: {last.text}",
                )
            if beat.expired:
                beat = Deadline.after(HEARTBEAT)
                self._reach.bus.emit(
                    Heartbeat(
                        service.name,
                        what=f"check {check.name}",
                        elapsed=round(deadline.elapsed, 1),
                        timeout=deadline.timeout,
                        detail=last.text,
                    )
                )
            await self._pause_or_entry(service, interval, deadline)

    async def _pause_or_entry(self, service: Service, interval: float, deadline: Deadline) -> None:
        """Wait the interval, or less when the unit's journal says something."""
        journal = self._reach.journal(service.machine)
        if service.unit is None or journal is None:
            await pause(interval, deadline)
            return
        if await completes_before(partial(journal.wait_for_entry, service.unit), deadline.earlier(interval)):
            await pause(0.02, deadline)  # the line often comes just before what it announces

    def _report(self, service: Service, check: Check, result: CheckResult, attempts: int, deadline: Deadline) -> None:
        self._reach.bus.emit(
            CheckResulted(
                service.name,
                check=check.name,
                ok=result.ok,
                message=result.text,
                attempt=attempts,
                elapsed=round(deadline.elapsed, 3),
            )
        )
