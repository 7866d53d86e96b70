"""The event loop of this process's environments, in a thread of its own.

Machines are watched while user code computes or stands at a breakpoint, and calls may come from any thread and any
event loop, or from none.
"""

from __future__ import annotations

import asyncio
import os
import queue
import threading
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from typing import Any, Generic, TypeVar

from orchestrator.errors import UsageError
from orchestrator.threads import next_of

T = TypeVar("T")


class Call(Generic[T]):
    """Work on the loop. Its outcome comes when the work has really ended, also after `cancel`.

    A thread that Ctrl-C interrupts waits by `wait` and looks at `over`, not at ``outcome``: an exception inside of a
    future's lock, which is written in Python, would leave it locked, and the loop would wait for it for ever.

    Attributes:
        over: the outcome is there.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, T]) -> None:
        self.outcome: Future[T] = Future()
        self.over = False
        self._told: queue.SimpleQueue[None] = queue.SimpleQueue()
        self._loop = loop
        self._work = work
        self._task: asyncio.Task[T] | None = None

    def begin(self) -> None:
        """Begin it. An interruption may come at any moment of this; `cancel` ends it then too."""
        self._loop.call_soon_threadsafe(self._begin)

    def _begin(self) -> None:
        self._task = self._loop.create_task(self._work)
        self._task.add_done_callback(self._ended)

    def _ended(self, task: asyncio.Task[T]) -> None:
        if task.cancelled():
            self.outcome.set_exception(asyncio.CancelledError())
        elif (error := task.exception()) is not None:
            self.outcome.set_exception(error)
        else:
            self.outcome.set_result(task.result())
        self._report()

    def _report(self) -> None:
        self.over = True
        self._told.put(None)

    def wait(self) -> T:
        """Its outcome, for one waiting thread. Ctrl-C interrupts it in the main thread."""
        next_of(self._told)
        return self.outcome.result()

    def cancel(self) -> None:
        """Cancel the work; it ends in order."""

        def cancel() -> None:
            if self._task is not None:
                self._task.cancel()
            elif not self.over:  # it was never begun
                self._work.close()
                self.outcome.set_exception(asyncio.CancelledError())
                self._report()

        with suppress(RuntimeError):  # the loop has ended
            self._loop.call_soon_threadsafe(cancel)


class DriverLoop:
    """Starts its thread at the first call, and runs as long as the process."""

    def __init__(self) -> None:
        self._starting = threading.Lock()
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._process = os.getpid()

    def call(self, work: Coroutine[Any, Any, T]) -> Call[T]:
        """Work for the loop, not begun yet.

        Raises:
            UsageError: in a process that was forked, or on the loop's own thread.
        """
        if os.getpid() != self._process:
            work.close()
            raise UsageError(
                "an environment cannot be used in a forked process",
                why="its connections and its watch live in the process that opened it",
                hint="start the process with spawn, or open the environment in it",
            )
        if self._thread is not None and threading.current_thread() is self._thread:
            work.close()
            raise UsageError(
                "a callback cannot call an environment",
                why="it runs on the thread that watches the machines, which must not wait",
                hint="put what the callback gets into a queue, and call from your own thread",
            )
        return Call(self._started(), work)

    def submit(self, work: Coroutine[Any, Any, T]) -> Call[T]:
        """Begin work on the loop, for a caller that no signal interrupts."""
        call = self.call(work)
        call.begin()
        return call

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Do work and wait for it. An interruption (Ctrl-C) cancels it, and comes when it has ended."""
        call: Call[T] | None = None
        try:
            call = self.call(work)
            call.begin()
            return call.wait()
        except BaseException:
            if call is None:
                work.close()
            elif not call.over:
                call.cancel()
                with suppress(BaseException):
                    call.wait()
            raise

    async def awaited(self, work: Coroutine[Any, Any, T]) -> T:
        """Do work, awaited on any event loop. A cancellation cancels it, and comes when it has ended."""
        call = self.call(work)
        call.begin()
        outcome = asyncio.wrap_future(call.outcome)
        try:
            return await asyncio.shield(outcome)
        except asyncio.CancelledError:
            call.cancel()
            while not outcome.done():
                with suppress(BaseException):
                    await asyncio.shield(outcome)
            outcome.exception()  # it is known; the cancellation is what the caller must see
            raise

    def _started(self) -> asyncio.AbstractEventLoop:
        if self._loop is not None:  # without the lock, in which Ctrl-C could end a later call
            return self._loop
        with self._starting:
            if self._loop is None:
                loop = asyncio.new_event_loop()
                self._thread = threading.Thread(target=self._run, args=(loop,), daemon=True, name="orchestrator")
                self._thread.start()
                self._loop = loop
            return self._loop

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        loop.run_forever()


driver_loop = DriverLoop()
