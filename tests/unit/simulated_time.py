"""Asyncio on a simulated clock: waits cost nothing, and how long something took is exact on any machine.

While anything is ready (a callback, a socket, a pipe), the clock stands. When nothing is, it jumps to the next timer.
While a thread works, whose end nobody can foresee, it runs with the real clock. Not for processes, which the loop
cannot see working.
"""

from __future__ import annotations

import asyncio
import selectors
import threading
import time
from collections.abc import Coroutine
from typing import Any, TypeVar
from unittest import mock

T = TypeVar("T")

REAL_LIMIT = 60.0  # seconds; a test that hangs fails instead
SIMULATED_LIMIT = 3600.0
LATE = 1e-6  # seconds; a real timer is never early, and sums of fractions are not exact
_real_monotonic = time.monotonic


class Clock:
    """Seconds since some moment, as `time.monotonic` tells them."""

    def __init__(self) -> None:
        self.now = _real_monotonic()

    def __call__(self) -> float:
        return self.now


class _Selector(selectors.DefaultSelector):
    """Moves the clock where a real one would wait."""

    def __init__(self, clock: Clock) -> None:
        super().__init__()
        self._clock = clock
        self._others = set(threading.enumerate())
        self._end = _real_monotonic() + REAL_LIMIT

    def select(self, timeout: float | None = None) -> list[tuple[selectors.SelectorKey, int]]:
        working = any(
            thread not in self._others for thread in threading.enumerate()
        )  # before it is looked what is ready
        ready = super().select(0)
        if ready or (timeout is not None and timeout <= 0):
            return ready
        began = _real_monotonic()
        if began > self._end:
            raise TimeoutError(f"the test takes longer than {REAL_LIMIT:.0f} s of real time")
        if timeout is None or working:
            ready = super().select(min(timeout or 1.0, 0.02))
            self._clock.now += _real_monotonic() - began
        else:
            self._clock.now += timeout + LATE
        return ready


class _Loop(asyncio.SelectorEventLoop):
    def __init__(self, clock: Clock) -> None:
        super().__init__(_Selector(clock))
        self._own_clock = clock

    def time(self) -> float:
        return self._own_clock()


def run_simulated(work: Coroutine[Any, Any, T]) -> T:
    """Run to the end, like `fake_qemu.run_async`.

    Meanwhile `time.monotonic` and `time.time` follow the simulated clock.
    """

    async def bounded() -> T:
        async with asyncio.timeout(SIMULATED_LIMIT):
            result = await work
        await asyncio.sleep(0)
        return result

    clock = Clock()
    ahead = time.time() - clock.now
    with (
        mock.patch("time.monotonic", clock),
        mock.patch("time.time", lambda: clock.now + ahead),
        asyncio.Runner(loop_factory=lambda: _Loop(clock)) as runner,
    ):
        return runner.run(bounded())
