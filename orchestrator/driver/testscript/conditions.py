"""Conditions: asked again and again until they hold, or watched while a block of the script runs."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager
from types import TracebackType

from orchestrator.deadline import Deadline, monotonic
from orchestrator.driver.results import Seconds, WaitFailed, seconds_of
from orchestrator.driver.testscript.calls import Calls
from orchestrator.driver.testscript.cases import Cases
from orchestrator.timescale import TimeScale

AGAIN = 0.2  # seconds between two questions
TIMEOUT = 900.0


class Retry:
    """Asks again and again."""

    def __init__(self, calls: Calls, scale: TimeScale) -> None:
        self._calls = calls
        self._scale = scale

    def __call__(
        self, fn: Callable[[bool], object], timeout: Seconds = TIMEOUT, timeout_seconds: Seconds | None = None
    ) -> None:
        """Call a function until it returns something true.

        Args:
            fn: it is given whether this is the last time.
            timeout: seconds on a host with KVM; a slower host has more.
            timeout_seconds: another name of it.

        Raises:
            WaitFailed: it does not in time.
        """
        seconds = seconds_of(timeout if timeout_seconds is None else timeout_seconds)
        deadline = Deadline.after(self._scale.limit(seconds))
        while not deadline.expired:
            if fn(False):
                return
            self._calls.sleep(min(AGAIN, deadline.left))
        if not fn(True):
            raise WaitFailed(f"what was asked for again and again did not come within {deadline}")


class PollingCondition:
    """What must hold while ``with condition:`` is open. It is asked before each call, and during long ones.

    Args:
        seconds_interval: between two questions, at least.
    """

    def __init__(
        self,
        condition: Callable[[], object],
        calls: Calls,
        cases: Cases,
        retry: Retry,
        seconds_interval: Seconds = 2.0,
        description: str | None = None,
    ) -> None:
        doc = (condition.__doc__ or "").strip().splitlines()
        self.description = description or (" ".join(doc) if doc else condition.__name__.replace("_", " "))
        self.seconds_interval = seconds_of(seconds_interval)
        self._condition = condition
        self._calls = calls
        self._cases = cases
        self._retry = retry
        self._last = float("-inf")
        self._blocks: list[AbstractContextManager[None]] = []

    @property
    def overdue(self) -> bool:
        """Whether it is time to ask again."""
        return monotonic() >= self._last + self.seconds_interval

    @property
    def entered(self) -> bool:
        """Whether a block with it is open."""
        return bool(self._blocks)

    def check(self, force: bool = False) -> bool:
        """Ask it, if it is time or ``force``; a function that returns nothing holds, one that raises does not."""
        if not (self.overdue or force):
            return True
        try:
            found = self._condition()
        except Exception as error:  # noqa: BLE001 - its answer
            self._cases.say(f"condition {self.description!r}: {error}")
            found = False
        self._last = monotonic()
        return found is None or bool(found)

    def maybe_raise(self) -> None:
        """Raise if it does not hold.

        Raises:
            WaitFailed: it does not.
        """
        if not self.check():
            raise WaitFailed(f"the condition {self.description!r} does not hold any more")

    def wait(self, timeout: Seconds = TIMEOUT) -> None:
        """Wait until it holds.

        Raises:
            WaitFailed: it does not in time.
        """
        self._retry(lambda _: self.check(force=True), timeout)

    def __enter__(self) -> PollingCondition:
        block = self._cases.case(f"condition: {self.description}")
        block.__enter__()
        self._blocks.append(block)
        self._calls.conditions.append(self)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> bool | None:
        self._calls.conditions.remove(self)
        return self._blocks.pop().__exit__(kind, error, trace)
