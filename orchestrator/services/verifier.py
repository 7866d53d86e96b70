"""Whether services that run already are healthy: after a restore, when a command joins, and once more before READY."""

from __future__ import annotations

import shlex
from collections.abc import Collection, Sequence

from orchestrator.deadline import Deadline, monotonic
from orchestrator.errors import ServiceError
from orchestrator.services.check_loop import CheckLoop
from orchestrator.services.explanations import explain
from orchestrator.services.graph import State
from orchestrator.services.reach import Reach
from orchestrator.services.tracker import ServiceTracker
from orchestrator.services.units import UnitDriver
from orchestrator.tasks import run_all
from orchestrator.topology.model import Service

LOOKS = 5  # how often units may have been started again by somebody else before that is an error
FRESH = 1.0  # seconds for which a verification holds


class Verifier:
    """Verifies services without starting any."""

    def __init__(self, reach: Reach, tracker: ServiceTracker, units: UnitDriver, checks: CheckLoop) -> None:
        self._reach = reach
        self._tracker = tracker
        self._units = units
        self._checks = checks
        self._verified_at = -FRESH

    def expire(self) -> None:
        """Something changes: the last verification no longer holds."""
        self._verified_at = -FRESH

    # ------------------------------------------------------------------ after a restore

    async def restored(self, deadline: Deadline, names: Collection[str]) -> None:
        """Verify services that ran when their machines were saved; the order does not matter.

        Raises:
            ServiceError: a check does not pass, a unit is in trouble, or a command of ``after_restore`` failed.
        """
        services = [service for name, service in self._tracker.graph.services.items() if name in names]
        await run_all(*(self._after_restore(service, deadline) for service in services if service.after_restore))
        await run_all(*(self._prove(service, deadline) for service in services))

    async def _after_restore(self, service: Service, deadline: Deadline) -> None:
        service_deadline = deadline.earlier(self._reach.scale.limit(service.timeout))
        agent = await self._reach.agent(service.machine)
        result = await agent.exec(service.after_restore, deadline=service_deadline)
        if result.code != 0:
            why = f"{shlex.join(service.after_restore)} ended with {result.code}: {result.complaint}"
            error = await explain(self._reach, service, "could not be renewed after the restore", why)
            self._tracker.claim(service)
            self._tracker.fail(service, error, service_deadline.elapsed)
            raise error

    async def _prove(self, service: Service, deadline: Deadline) -> None:
        await self._reach.agent(service.machine)
        status = await self._units.first_look(service)
        service_deadline = deadline.earlier(self._reach.scale.limit(service.timeout))
        self._tracker.claim(service)
        self._tracker.move(service.name, State.CHECKING, service_deadline.elapsed)
        try:
            if status is not None:
                self._units.listen(service)
                judge = self._units.trouble if service.checks else self._units.fault
                if why := judge(service, status):
                    raise await explain(self._reach, service, "does not run after the restore", why)
            if service.checks:
                await self._checks.prove(service, service_deadline)
        except ServiceError as error:
            self._tracker.fail(service, error, service_deadline.elapsed)
            raise
        self._tracker.succeed(service, service_deadline.elapsed)

    # ------------------------------------------------------------------ when a command joins

    async def everything(self, deadline: Deadline) -> bool:
        """Whether every service runs and passes its checks right now; if so, all are known as good.

        One look at every unit and one attempt of each check. Nothing is started or waited for, and a failure makes no
        event.
        """
        services = list(self._tracker.graph.services.values())
        self._tracker.assume_checking()
        if not await self._all_pass(services, deadline):
            self._tracker.mark_pending(self._tracker.graph.services, silent=True)
            return False
        for service in services:
            self._tracker.succeed(service)
        return True

    async def _all_pass(self, services: Sequence[Service], deadline: Deadline) -> bool:
        statuses = await run_all(*(self._units.first_look(service) for service in services))
        for service, status in zip(services, statuses, strict=True):
            if status is not None and self._units.fault(service, status):
                return False
        passed = await run_all(
            *(self._checks.once(service, check, deadline) for service in services for check in service.checks)
        )
        return all(passed)

    # ------------------------------------------------------------------ once more

    async def still_healthy(self, deadline: Deadline) -> None:
        """Everything that is proven is healthy now. One command a machine, all machines at once.

        Where the unit of a service runs again since, its checks, and those of what depends on it, are made again.

        Raises:
            ServiceError: a unit ended, failed, or was restarted by systemd, since its service was proven.
        """
        if monotonic() - self._verified_at < FRESH:
            return
        restarted: list[Service] = []
        for _ in range(LOOKS):
            graph = self._tracker.graph
            broken, restarted = await self._units.last_look([graph.services[name] for name in graph.proven()])
            for service, why in broken[:1]:
                raise await self._disproved(service, "failed after it was proven", why)
            if not restarted:
                self._verified_at = monotonic()
                return
            names = graph.with_dependants(service.name for service in restarted)
            await run_all(*(self._check_again(graph.services[name], deadline) for name in names))
        why = f"{restarted[0].unit} was restarted before each of {LOOKS} looks, and not by this program"
        raise await self._disproved(restarted[0], "keeps being restarted after it was proven", why)

    async def again(self, deadline: Deadline, names: Collection[str]) -> None:
        """The checks of these services pass again, those that are proven.

        Raises:
            ServiceError: one does not.
        """
        graph = self._tracker.graph
        await run_all(*(self._check_again(graph.services[name], deadline) for name in names))

    async def passes(self, name: str, deadline: Deadline) -> bool:
        """Whether one attempt of each check of a service passes now; nothing is started, and no state changes."""
        service = self._tracker.graph.services[name]
        return all(await run_all(*(self._checks.once(service, check, deadline) for check in service.checks)))

    async def _check_again(self, service: Service, deadline: Deadline) -> None:
        service_deadline = deadline.earlier(self._reach.scale.limit(service.timeout))
        if service.name not in self._tracker.graph.proven():
            return
        try:
            await self._checks.until_passed(service, service_deadline)
        except ServiceError as error:
            self._tracker.fail(service, error, service_deadline.elapsed)
            raise

    async def _disproved(self, service: Service, what: str, why: str) -> ServiceError:
        error = await explain(self._reach, service, what, why)
        self._tracker.fail(service, error)
        return error
