"""Tasks that go on between the calls of a driver."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

log = logging.getLogger("orchestrator.driver")


class BackgroundTasks:
    """A task group that is open from `open` to `close`. A task that fails ends alone, with a line in the debug log."""

    def __init__(self) -> None:
        self._group: asyncio.TaskGroup | None = None
        self._over = asyncio.Event()
        self._holder: asyncio.Task[None] | None = None

    async def open(self) -> None:
        """Begin to take tasks."""
        there = asyncio.Event()

        async def hold() -> None:
            async with asyncio.TaskGroup() as group:
                self._group = group
                there.set()
                await self._over.wait()
                for task in tuple(group._tasks):  # no public way ends a group's tasks
                    task.cancel()

        self._holder = asyncio.ensure_future(hold())  # noqa: TID251 - it holds the group of all others
        await there.wait()

    def begin(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Begin a task."""
        assert self._group is not None
        return self._group.create_task(_contained(work))

    async def close(self) -> None:
        """Cancel all tasks and wait for their end."""
        self._over.set()
        if self._holder is not None:
            await asyncio.wait([self._holder])
            self._holder.exception()  # retrieved: a task's error was told by the task


async def _contained(work: Coroutine[Any, Any, None]) -> None:
    """A task's error ends the task and nothing else."""
    try:
        await work
    except Exception as error:
        log.warning("a background task failed: %r", error, exc_info=error)
