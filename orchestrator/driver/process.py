"""A command that goes on in a machine while other things are done."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Coroutine
from typing import Any

from orchestrator.deadline import Deadline, monotonic
from orchestrator.driver.power import again
from orchestrator.driver.results import Result, Seconds, WaitFailed
from orchestrator.errors import OrchestratorError
from orchestrator.guest.agent import GuestResult
from orchestrator.guest.command import Sink

Work = Callable[[Sink, Sink], Coroutine[Any, Any, GuestResult]]


class Process:
    """A command that `Machine.spawn` started."""

    def __init__(
        self,
        command: str,
        work: Work,
        guard: Callable[[Coroutine[Any, Any, GuestResult]], Coroutine[Any, Any, GuestResult]],
        begin: Callable[[Coroutine[Any, Any, None]], asyncio.Task[None]],
        deadline: Callable[[Seconds | None], Deadline],
        done: Callable[[], object],
    ) -> None:
        self._command = command
        self._deadline = deadline
        self._out, self._err = bytearray(), bytearray()
        self._began = monotonic()
        self._result: Result | None = None
        self._error: OrchestratorError | None = None
        self._over = asyncio.Event()
        self._done = done
        self._task = begin(self._follow(guard(work(self._out.extend, self._err.extend))))

    async def _follow(self, work: Coroutine[Any, Any, GuestResult]) -> None:
        try:
            code = (await work).code
            self._result = self._made(code)
        except OrchestratorError as error:
            self._error = error
        finally:
            self._done()
            self._over.set()

    def _made(self, code: int) -> Result:
        return Result(self._command, code, bytes(self._out), bytes(self._err), monotonic() - self._began)

    @property
    def running(self) -> bool:
        """Whether it has not ended."""
        return not self._over.is_set()

    @property
    def output(self) -> str:
        """What it has printed on stdout so far; bytes that are no UTF-8 are replaced."""
        return self._out.decode("utf-8", "replace")

    @property
    def errors(self) -> str:
        """What it has printed on stderr so far."""
        return self._err.decode("utf-8", "replace")

    async def wait(self, timeout: Seconds | None = 300.0) -> Result:
        """Wait for its end.

        Args:
            timeout: seconds on a host with KVM; a slower host has more. None: no limit.

        Raises:
            WaitFailed: it goes on; it is not killed.
            MachineError: its machine was lost.
        """
        deadline = self._deadline(timeout)
        async with deadline.enforce(lambda: WaitFailed(f"`{self._command}` still runs after {deadline}")):
            await self._over.wait()
        if self._error is not None:
            raise again(self._error)
        assert self._result is not None
        return self._result

    async def kill(self) -> Result:
        """End it and all it started, with SIGKILL.

        Returns:
            Its outcome: rc 137, or its own if it had ended before.
        """
        if self._result is None and self._error is None:
            self._task.cancel()
            await asyncio.wait([self._task])
        if self._result is None:
            self._result = self._made(137)
        return self._result
