"""Concurrent work in TaskGroups, with plain exceptions coming out.

A TaskGroup wraps what its tasks raise into groups; people want the cause.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine, Iterable, Sequence
from typing import Any, Generic, TypeVar

from orchestrator.errors import MachineError, OrchestratorError

T = TypeVar("T")


def root_cause(error: BaseException) -> BaseException:
    """The one exception of a group that explains the others.

    A machine that died explains every service on it; an explained error
    explains more than an unexplained one.
    """
    if not isinstance(error, BaseExceptionGroup):
        return error
    leaves = list(_leaves(error))
    for wanted in (MachineError, OrchestratorError):
        for leaf in leaves:
            if isinstance(leaf, wanted):
                return leaf
    return leaves[0]


def _leaves(error: BaseException) -> Iterable[BaseException]:
    if isinstance(error, BaseExceptionGroup):
        for inner in error.exceptions:
            yield from _leaves(inner)
    else:
        yield error


class Later(Generic[T]):
    """A value that comes once somebody has it; others wait for it."""

    def __init__(self) -> None:
        self._values: list[T] = []
        self._there = asyncio.Event()

    def set(self, value: T) -> None:
        """The value, now or a newer one."""
        self._values = [value]
        self._there.set()

    def clear(self) -> None:
        """The value no longer holds; who waits, waits for the next one."""
        self._values = []
        self._there.clear()

    @property
    def value(self) -> T | None:
        """The value; None while there is none."""
        return self._values[0] if self._values else None

    async def wait(self) -> T:
        """The value, as soon as there is one."""
        while not self._values:  # it may be cleared before the waiting task has its turn
            await self._there.wait()
        return self._values[0]


async def run_all(*work: Coroutine[Any, Any, T]) -> list[T]:
    """Run all at once; the first failure cancels the rest and is raised bare."""
    try:
        async with asyncio.TaskGroup() as group:
            tasks = [group.create_task(one) for one in work]
    except BaseExceptionGroup as error:
        raise root_cause(error) from None
    return [task.result() for task in tasks]


async def run_with_watchdogs(
    work: Coroutine[Any, Any, T], guards: Iterable[Callable[[], Coroutine[Any, Any, None]]]
) -> T:
    """Run ``work`` while the guards watch; a guard that raises cancels it, and its error is raised.

    No task group: it would take the end of the work for an error, and a cancellation in the same turn would be lost.
    """
    task = asyncio.ensure_future(work)  # noqa: TID251 - ended below, whatever happens
    tasks = [task, *(asyncio.ensure_future(guard()) for guard in guards)]  # noqa: TID251
    try:
        await _until_one_matters(task, tasks)
    finally:
        await _end(tasks)
    if not task.cancelled() and task.exception() is None:
        return task.result()
    errors = [error for one in tasks if not one.cancelled() and (error := one.exception()) is not None]
    raise root_cause(BaseExceptionGroup("", errors or [asyncio.CancelledError()])) from None


async def _until_one_matters(task: asyncio.Future[T], tasks: Sequence[asyncio.Future[Any]]) -> None:
    """Wait for the work, or for a guard that raises; one that just returns has nothing to say."""
    waiting = set(tasks)
    while not task.done():
        done, waiting = await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
        if any(one is not task and (one.cancelled() or one.exception() is not None) for one in done):
            return


async def _end(tasks: Sequence[asyncio.Future[Any]]) -> None:
    """Cancel what still runs, and wait for its end, however often we are cancelled meanwhile."""
    cancelled: asyncio.CancelledError | None = None
    for one in tasks:
        one.cancel()
    while waiting := [one for one in tasks if not one.done()]:
        try:
            await asyncio.wait(waiting)
        except asyncio.CancelledError as error:
            cancelled = error
    for one in tasks:
        if not one.cancelled():
            one.exception()  # it is known
    if cancelled is not None:
        raise cancelled


async def finish_despite_cancel(work: Coroutine[Any, Any, None]) -> None:
    """Finish the work, however often we are cancelled meanwhile; the cancellation comes then, and hides its error."""
    task = asyncio.ensure_future(work)  # noqa: TID251 - a group would cancel it with us
    cancelled: asyncio.CancelledError | None = None
    while not task.done():
        try:
            await asyncio.shield(task)
        except asyncio.CancelledError as error:
            cancelled = error
        except Exception:  # noqa: BLE001 - the task keeps it
            break
    if cancelled is not None:
        task.exception()  # it is known; the cancellation is what the caller must see
        raise cancelled
    task.result()
