"""How a script, which is plain sequential code in a thread of its own, waits for work of the driver."""

from __future__ import annotations

import concurrent.futures
import ctypes
import threading
from collections.abc import Coroutine
from contextlib import suppress
from typing import Any, Protocol, TypeVar

from orchestrator.driver.loop import Call, driver_loop

T = TypeVar("T")
LOOK = 0.5  # seconds between looks at polling conditions while a call goes on


class ScriptStopped(BaseException):
    """The script is ended from outside: no ``except Exception`` of it goes on."""


class Condition(Protocol):
    """What has to hold while a block of the script runs."""

    def maybe_raise(self) -> None: ...


class Calls:
    """The calls of one script. Threads that the script starts may call too."""

    def __init__(self) -> None:
        self.conditions: list[Condition] = []
        self._lock = threading.Lock()
        self._open: set[Call[Any]] = set()
        self._stopped = threading.Event()
        self._local = threading.local()

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Do work and wait for it, while the polling conditions of the script hold."""
        try:
            self._look()
        except BaseException:
            work.close()
            raise
        call = driver_loop.submit(work)
        with self._lock:
            self._open.add(call)
        try:
            if self._stopped.is_set():
                call.cancel()
            outcome = self._outcome(call)
        except BaseException:
            call.cancel()
            with suppress(BaseException):
                call.outcome.result()
            if self._stopped.is_set():
                raise ScriptStopped from None
            raise
        finally:
            with self._lock:
                self._open.discard(call)
        if self._stopped.is_set():  # `stop` took it for open
            raise ScriptStopped
        return outcome

    def _outcome(self, call: Call[T]) -> T:
        while True:
            limit = LOOK if self.conditions and not self._looking else None
            if concurrent.futures.wait([call.outcome], limit).done:
                return call.outcome.result()
            self._look()

    def sleep(self, seconds: float) -> None:
        """Wait on this host."""
        self._stopped.wait(seconds)
        self._look()

    def stop(self, thread: threading.Thread | None) -> None:
        """End the script: its open calls are cancelled, and every further one ends it."""
        self._stopped.set()
        with self._lock:
            for call in self._open:
                call.cancel()
            busy = not self._open
        if busy and thread is not None and thread.ident is not None:
            # It computes; Python raises this at its next step.
            ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), ctypes.py_object(ScriptStopped))

    @property
    def _looking(self) -> bool:
        return getattr(self._local, "looking", False)

    def _look(self) -> None:
        """Raise if the script is to end, or a condition does not hold any more."""
        if self._stopped.is_set():
            raise ScriptStopped
        if self._looking:
            return
        self._local.looking = True
        try:
            for condition in tuple(self.conditions):
                condition.maybe_raise()
        finally:
            self._local.looking = False
