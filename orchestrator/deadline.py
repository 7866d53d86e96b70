"""Points in time that waits must not pass.

A `Deadline` is made once, where a limit is known, and handed down; every wait
below it asks how much is left. Only this module sets time-outs.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass

from orchestrator.errors import OrchestratorError, TimeLimit
from orchestrator.text import duration_text

FOREVER = float("inf")  # seconds


@dataclass(frozen=True, slots=True)
class Deadline:
    """A point on the monotonic clock.

    Attributes:
        at: `time.monotonic()` value, seconds.
        timeout: what was given at the start, seconds, for messages.
        started: `time.monotonic()` at creation.
    """

    at: float
    timeout: float
    started: float

    @classmethod
    def after(cls, seconds: float) -> Deadline:
        """The deadline ``seconds`` from now."""
        now = time.monotonic()
        return cls(at=now + seconds, timeout=seconds, started=now)

    def earlier(self, seconds: float) -> Deadline:
        """A deadline ``seconds`` from now, but never later than this one."""
        now = time.monotonic()
        at = min(self.at, now + seconds)
        return Deadline(at=at, timeout=max(0.0, at - now), started=now)

    def __str__(self) -> str:
        """Its timeout in words, for messages: ``within 0.5 s``."""
        return duration_text(self.timeout)

    @property
    def left(self) -> float:
        """Seconds left, never negative."""
        return max(0.0, self.at - time.monotonic())

    @property
    def elapsed(self) -> float:
        """Seconds since this deadline was made."""
        return time.monotonic() - self.started

    @property
    def expired(self) -> bool:
        return time.monotonic() >= self.at

    @asynccontextmanager
    async def enforce(self, on_expiry: Callable[[], OrchestratorError] | None = None) -> AsyncIterator[None]:
        """Cancel the body at the deadline and raise what ``on_expiry`` returns.

        Without ``on_expiry`` a plain `TimeLimit` is raised.
        """
        try:
            async with asyncio.timeout(self.left) as scope:
                yield
        except TimeoutError as error:
            if not scope.expired():
                raise  # a time-out of the body's own
            if on_expiry is None:
                raise TimeLimit(f"time limit of {self} reached") from error
            raise on_expiry() from error


async def completes_before(wait: Callable[[], Awaitable[object]], deadline: Deadline) -> bool:
    """Wait for something until the deadline; whether it came. To be too late is no error here."""
    with suppress(TimeLimit):
        async with deadline.enforce():
            await wait()
            return True
    return False


async def wait_until(
    condition: Callable[[], bool], deadline: Deadline, *, first: float = 0.01, longest: float | None = None
) -> bool:
    """Ask again and again until it holds; False when the deadline came first.

    Only for what tells nobody of its change: a file that appears, a process of somebody else.

    Args:
        first: seconds between the first two questions; each pause is half as long again as the one before.
        longest: seconds that a pause grows to; None: all are as long as the first.
    """
    interval = first
    while not condition():
        if deadline.expired:
            return False
        await pause(interval, deadline)
        interval = min(interval * 1.5, longest or first)
    return True


async def pause(seconds: float, deadline: Deadline) -> None:
    """Sleep, but not past the deadline."""
    await asyncio.sleep(min(seconds, deadline.left))


def monotonic() -> float:
    """Seconds on the monotonic clock, for durations."""
    return time.monotonic()


def boot_clock() -> float:
    """Seconds since this host booted, those included in which it slept: for promises to other hosts."""
    return time.clock_gettime(time.CLOCK_BOOTTIME)
