"""A service of the topology as an object."""

from __future__ import annotations

from typing import TYPE_CHECKING

from orchestrator.deadline import Deadline
from orchestrator.driver.results import Seconds, WaitFailed, seconds_of

if TYPE_CHECKING:
    from orchestrator.driver.fleet import Fleet

SERVICE_TIMEOUT = 300.0  # seconds, before scaling


class Service:
    """A service of the topology: its unit and its checks."""

    def __init__(self, fleet: Fleet, name: str) -> None:
        self._fleet = fleet
        self._name = name

    @property
    def name(self) -> str:
        """Its name in the topology."""
        return self._name

    @property
    def machine(self) -> str:
        """The name of the machine that it runs on."""
        return self._fleet.session.topology.services[self._name].machine

    @property
    def unit(self) -> str | None:
        """Its systemd unit; None for a target."""
        return self._fleet.session.topology.services[self._name].unit

    @property
    def state(self) -> str:
        """``pending``, ``starting``, ``checking``, ``healthy``, ``completed``, ``stopped``, ``failed``, ``skipped``."""
        return self._fleet.session.services.graph.states[self._name].value

    async def wait(self, timeout: Seconds = SERVICE_TIMEOUT) -> None:
        """Wait until no service is being started any more, and this one is proven.

        Args:
            timeout: seconds on a host with KVM; a slower host has more.

        Raises:
            ServiceError: it, or a service that it needs, failed.
            WaitFailed: it is stopped, or not proven in time.
        """
        deadline = self._deadline(timeout)
        async with deadline.enforce(lambda: WaitFailed(f"service {self._name} is {self.state} after {deadline}")):
            await self._fleet.guard_all(self._fleet.starter.wait_settled())
        if self.state not in ("healthy", "completed"):
            raise WaitFailed(f"service {self._name} is {self.state}", subject=self._name)

    async def restart(self, timeout: Seconds = SERVICE_TIMEOUT) -> None:
        """Restart it; its checks, and those of everything that depends on it, must pass again.

        Args:
            timeout: seconds on a host with KVM; a slower host has more.

        Raises:
            ServiceError: one does not come up.
        """
        await self._fleet.restart_service(self._name, self._deadline(timeout))

    async def stop(self, timeout: Seconds = SERVICE_TIMEOUT) -> None:
        """Stop its unit. What depends on it is left as it is.

        Args:
            timeout: seconds on a host with KVM; a slower host has more.
        """
        await self._fleet.stop_service(self._name, self._deadline(timeout))

    async def start(self, timeout: Seconds = SERVICE_TIMEOUT) -> None:
        """Start it and prove it, and prove again what depends on it.

        Args:
            timeout: seconds on a host with KVM; a slower host has more.

        Raises:
            ServiceError: one does not come up.
        """
        await self._fleet.start_service(self._name, self._deadline(timeout))

    def _deadline(self, timeout: Seconds) -> Deadline:
        return Deadline.after(self._fleet.scale.limit(seconds_of(timeout)))
