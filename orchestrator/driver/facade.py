"""What the generated classes of `orchestrator.api` and `orchestrator.sync` rest on.

They hold the driver's own objects, which live on the loop's thread, and pass calls on. `orchestrator.driver.generate`
writes them.
"""

from __future__ import annotations

import atexit
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, ClassVar, Self, TypeVar

from orchestrator.driver.loop import driver_loop

T = TypeVar("T")


class Facade:
    """An object of the driver as user code sees it. Two of the same object are the same."""

    _core: Any
    _open: ClassVar[set[Any]] = set()

    @classmethod
    def _of(cls, core: Any) -> Self:
        known: dict[type, Any] = core.__dict__.setdefault("_facades", {})
        if cls not in known:
            made = cls.__new__(cls)
            made._core = core
            known[cls] = made
        found: Self = known[cls]
        return found

    def __repr__(self) -> str:
        name = getattr(self._core, "_name", None) or getattr(self._core, "_command", None) or str(self._core)
        return f"<{type(self).__name__} {name}>"


def wait(work: Coroutine[Any, Any, T]) -> T:
    """Do work of the driver and wait for it; any thread."""
    return driver_loop.wait(work)


async def awaited(work: Coroutine[Any, Any, T]) -> T:
    """Do work of the driver, awaited on any event loop."""
    return await driver_loop.awaited(work)


def opened(core: Any) -> None:
    """An environment is open: it is closed with this process at the latest."""
    Facade._open.add(core)


def closed(core: Any) -> None:
    """An environment was closed."""
    Facade._open.discard(core)


def _close_all() -> None:
    for core in tuple(Facade._open):
        with suppress(Exception):
            driver_loop.wait(core.close())
    Facade._open.clear()


atexit.register(_close_all)
