"""Faults of an open environment."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.deadline import FOREVER, Deadline
from orchestrator.topology.fault_kind import Fault as Declared

if TYPE_CHECKING:
    from orchestrator.driver.fleet import Fleet


class Fault:
    """A fault, begun and ended by ``with``::

        with env.fault("slow-db"):
            env.client.wait_for_http("http://server/health")

    It begins only when everything that it is on is healthy. At its end that must be healthy again.
    """

    def __init__(self, fleet: Fleet, fault: Declared) -> None:
        self._fleet = fleet
        self._fault = fault
        self._name = fault.name

    @property
    def name(self) -> str:
        """Its name in the topology, or one made of its kind and what it is on."""
        return self._name

    @property
    def kind(self) -> str:
        """Its kind."""
        return self._fault.kind

    @property
    def active(self) -> bool:
        """Whether it is on."""
        return self._name in self._fleet.session.faults.control.book.active

    async def begin(self) -> None:
        """Begin it; ``with`` does it. Return when it is in effect.

        Raises:
            FaultError: something that it is on is not healthy, or it does not come into effect.
        """
        await self._fleet.guard_all(self._fleet.starter.settled.wait())
        await self._fleet.guard_all(self._fleet.session.faults.begin(self._fault, Deadline.after(FOREVER)))

    async def end(self) -> None:
        """End it; ``with`` does it. Return when everything that it was on is healthy again. Idempotent.

        Raises:
            FaultError, ServiceError: it does not recover.
        """
        work = self._fleet.session.faults.end(self._fault, "asked", Deadline.after(FOREVER))
        await self._fleet.guard_all(work)
