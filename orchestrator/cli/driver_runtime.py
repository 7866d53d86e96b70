"""Runs a command on the driver: its work is on the driver's loop, and the main thread waits for it and for signals."""

from __future__ import annotations

import os
import queue
import signal
from collections.abc import Callable
from concurrent.futures import Future
from types import FrameType, TracebackType
from typing import Any, Self, TypeVar

from orchestrator.cli.signals import counts, ending_signals
from orchestrator.deadline import FOREVER, Deadline
from orchestrator.errors import Interrupted, TimeLimit
from orchestrator.process import kill_children
from orchestrator.threads import next_of

T = TypeVar("T")
GRACE = 15.0  # seconds that what was cancelled has to end


class MainThread:
    """Waits for futures while signals are ours. Use it as a context manager, in the main thread.

    The first SIGINT, SIGTERM or SIGHUP ends the wait; a second one calls ``force`` and ends the program at once.

    Args:
        told: called at the first signal.
    """

    def __init__(self, force: Callable[[], None], told: Callable[[], None]) -> None:
        self._force = force
        self._told = told
        self._queue: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        self._before: dict[int, Any] = {}

    def __enter__(self) -> Self:
        for number in ending_signals():
            self._before[number] = signal.signal(number, self._on_signal)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def _on_signal(self, number: int, frame: FrameType | None) -> None:
        del frame
        which = counts(number)
        if which == 2:
            self._force()
            kill_children()
            os._exit(128 + number)
        if which == 1:
            self._queue.put(number)

    def wait(self, outcome: Future[T], cancel: Callable[[], object], limit: Deadline | None = None) -> T:
        """Wait for a future.

        Args:
            cancel: called at a signal and at the limit; what it ends has some seconds to end.

        Raises:
            Interrupted: a signal came.
            TimeLimit: the limit passed.
        """
        outcome.add_done_callback(lambda _: self._queue.put(None))
        limit = limit or Deadline.after(FOREVER)
        while True:
            number = self._next(limit)
            if outcome.done():
                if number is not None:
                    raise Interrupted(number)
                return outcome.result()
            if number is None and not limit.expired:
                continue  # another future's end
            if number is not None:
                self._told()
            cancel()
            self._until_done(outcome)
            raise TimeLimit(f"time limit of {limit} reached") if number is None else Interrupted(number)

    def _until_done(self, outcome: Future[T]) -> None:
        end = Deadline.after(GRACE)
        while not outcome.done() and not end.expired:
            self._next(end)

    def _next(self, limit: Deadline) -> int | None:
        try:
            return next_of(self._queue, limit)
        except queue.Empty:
            return None
