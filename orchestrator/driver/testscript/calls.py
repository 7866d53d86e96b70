"""How a script, which is plain sequential code in a thread of its own, waits for work of the driver."""

from __future__ import annotations

import concurrent.futures
import ctypes
import threading
from collections import Counter
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
        self._inside: Counter[int] = Counter()  # by thread: calls that it is in
        self._open: set[Call[Any]] = set()
        self._stopped = threading.Event()
        self._local = threading.local()

    def wait(self, work: Coroutine[Any, Any, T]) -> T:
        """Do work and wait for it, while the polling conditions of the script hold."""
        me = threading.get_ident()
        try:
            self._look()
            with self._lock:
                if self._stopped.is_set():
                    raise ScriptStopped
                self._inside[me] += 1  # from now on `stop` interrupts the call, and not the thread
        except BaseException:
            work.close()
            raise
        try:
            outcome = self._made(work)
        finally:
            with self._lock:
                self._inside[me] -= 1
        if self._stopped.is_set():  # `stop` saw us in the call
            raise ScriptStopped
        return outcome

    def _made(self, work: Coroutine[Any, Any, T]) -> T:
        call = driver_loop.submit(work)
        with self._lock:
            self._open.add(call)
        try:
            if self._stopped.is_set():
                call.cancel()
            return self._outcome(call)
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

    def stop(self, thread: threading.Thread) -> None:
        """End the script: its open calls are cancelled, and every further one ends it.

        Args:
            thread: the script's; where it computes, Python raises `ScriptStopped` at its next step.
        """
        with self._lock:
            self._stopped.set()
            for call in self._open:
                call.cancel()
            if thread.is_alive() and thread.ident is not None and not self._inside[thread.ident]:
                error = ctypes.py_object(ScriptStopped)
                ctypes.pythonapi.PyThreadState_SetAsyncExc(ctypes.c_ulong(thread.ident), error)

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
