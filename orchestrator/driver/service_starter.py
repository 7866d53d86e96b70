"""Services that are started and proven in the background, as their machines come up."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from orchestrator.deadline import FOREVER, Deadline
from orchestrator.driver.background import BackgroundTasks
from orchestrator.driver.power import again
from orchestrator.environment.session import Session
from orchestrator.errors import OrchestratorError


class ServiceStarter:
    """Starts pending services; one start at a time.

    Args:
        units: whether it starts any; without, the guests' own systemd does.
    """

    def __init__(self, session: Session, tasks: BackgroundTasks, *, units: bool) -> None:
        self._session = session
        self._tasks = tasks
        self._units = units
        self._bringing: asyncio.Task[None] | None = None
        self.settled = asyncio.Event()
        self.settled.set()
        self._error: OrchestratorError | None = None

    def cancel(self) -> None:
        """A machine has ended: what is being started cannot go on."""
        if self._bringing is not None:
            self._bringing.cancel()

    def clear(self) -> None:
        """All services were proven by somebody else."""
        self._error = None

    async def begin(self, names: tuple[str, ...], up: Callable[[], Awaitable[object]]) -> None:
        """Start and prove these services in the background.

        Args:
            up: returns when the machine that begins again is set up, SSH included: no service's limit runs before.
        """
        if not self._units or not names:
            return
        await self.stop()
        # Those that were being started are started again: nobody knows how far they came.
        self._session.services.mark_pending(tuple({*names, *self.unproven()}))
        self._error = None
        self.settled.clear()
        self._bringing = self._tasks.begin(self._bring_up(up))

    def unproven(self) -> set[str]:
        """The services that are not proven."""
        graph = self._session.services.graph
        return set(graph.services) - set(graph.proven())

    async def _bring_up(self, up: Callable[[], Awaitable[object]]) -> None:
        try:
            await up()
            await self._session.start_services(Deadline.after(FOREVER))
        except OrchestratorError as error:
            self._error = error
        finally:
            self.settled.set()

    async def stop(self) -> None:
        """End a start that goes on."""
        if self._bringing is not None:
            self._bringing.cancel()
            await asyncio.wait([self._bringing])
            self._bringing = None

    @property
    def bringing_up(self) -> bool:
        """Whether services are being started now, so that a unit which is not active may become it."""
        return not self.settled.is_set()

    def raise_for_services(self) -> None:
        """Raise the error of the services that were started in the background."""
        if self._error is not None:
            raise again(self._error)

    async def wait_settled(self) -> None:
        """Wait until no service is being started any more.

        Raises:
            ServiceError: one failed.
        """
        await self.settled.wait()
        self.raise_for_services()
