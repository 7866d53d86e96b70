"""When a machine's CPUs went on after a pause, and what is done then."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable

from orchestrator.events.clock import monotonic_clock


async def _nothing() -> None:
    """What is done where nobody asked for more."""


class Resumes:
    """The times at which a machine went on.

    Attributes:
        last: when it last did, as QEMU told, by the host's monotonic clock in seconds.
        then: awaited after each.
    """

    def __init__(self) -> None:
        self.last: float | None = None
        self.then: Callable[[], Awaitable[None]] = _nothing
        self._event = asyncio.Event()

    def noticed(self) -> None:
        """QEMU has told that it goes on."""
        self.last = monotonic_clock()
        self._event.set()

    async def watch(self) -> None:
        """Do what is to be done; never return. It is apart from QEMU's events: a guest that is asked may be slow."""
        while True:
            await self._event.wait()
            self._event.clear()
            await self.then()
