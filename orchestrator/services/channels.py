"""How the machine of a check is reached, and one attempt of a check through it.

Connections and requests go through the guest's own resolver and network
(`orchestrator.guest.tunnel`), commands through the guest agent. A service that is
not there yet is a result that says why, never an error.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from orchestrator.deadline import Deadline
from orchestrator.errors import MachineError, TimeLimit
from orchestrator.guest.agent import GuestResult
from orchestrator.guest.channel import GuestChannel
from orchestrator.guest.ssh import Ssh
from orchestrator.guest.tunnel import HttpAnswer, NoAnswerError, get, open_tcp, tls_context
from orchestrator.patterns import found
from orchestrator.threads import in_thread
from orchestrator.timescale import TimeScale
from orchestrator.topology.check_kind import CheckResult, NotReached
from orchestrator.topology.model import Check
from orchestrator.topology.urls import Url

THREAD_GRACE = 1.0  # seconds
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Channels:
    """How a machine is reached; both are awaited, because a machine boots while others already work."""

    agent: Callable[[], Awaitable[GuestChannel]]
    ssh: Callable[[], Awaitable[Ssh]]


async def run_check(check: Check, channels: Channels, *, scale: TimeScale, deadline: Deadline) -> CheckResult:
    """Make one attempt. ``scale`` scales its own limit, ``deadline`` bounds everything.

    The limit of the attempt begins when its machine can be reached.

    Raises:
        MachineError: the machine itself is lost (not: the service is not up).
    """
    attempt = Attempt(channels, scale.limit(check.timeout), deadline)
    try:
        return await check.spec.run(attempt)
    except NotReached as error:
        return CheckResult.of(False, f"{check.spec.label}: {error}")
    except TimeLimit as error:
        return CheckResult.of(False, f"{check.spec.label}: {error.what}")
    except MachineError:
        if not attempt.expired:
            raise
        return CheckResult.of(False, f"{check.spec.label}: {attempt.late('no end').what}")


class Attempt:
    """What a kind of check reaches a guest with (`orchestrator.topology.check_kind.Guest`).

    Args:
        timeout: seconds from the moment when the machine can be reached.
        deadline: of everything.
    """

    def __init__(self, channels: Channels, timeout: float, deadline: Deadline) -> None:
        self._channels = channels
        self._timeout = timeout
        self._deadline = deadline
        self._limit: Deadline | None = None

    @property
    def expired(self) -> bool:
        return self._limit is not None and self._limit.expired

    def late(self, what: str) -> TimeLimit:
        return TimeLimit(f"{what} within {self._begun()}")

    async def run(self, command: Sequence[str], *, user: str = "root") -> GuestResult:
        agent = await self._channels.agent()
        return await agent.exec(command, deadline=self._begun(), user=user)

    async def connect(self, host: str, port: int) -> None:
        ssh = await self._channels.ssh()
        limit = self._begun()
        try:
            await self._in_thread(lambda: open_tcp(ssh, host, port, limit.left))
        except ConnectionError as error:
            raise _not_reached(ssh, str(error)) from error

    async def get(
        self, url: Url, wanted: Callable[[int], bool], *, ca: Path | None = None, verify: bool = True
    ) -> HttpAnswer:
        ssh = await self._channels.ssh()
        limit = self._begun()

        def request() -> HttpAnswer:
            tls = tls_context(ca, verify=verify) if url.scheme == "https" else None
            return get(ssh, url, limit, wanted, tls)

        try:
            return await self._in_thread(request)
        except NoAnswerError as error:
            if error.late:
                raise self.late("no answer") from error
            raise _not_reached(ssh, str(error)) from error
        except OSError as error:  # of the file of certificates
            raise NotReached(f"{ca} cannot be used: {error}") from error

    async def search(self, pattern: str, text: str) -> bool:
        # Next to the event loop: the longest text takes the largest expression seconds.
        limit = self._begun()
        async with limit.enforce(lambda: self.late(f"its output was not searched for /{pattern}/")):
            return await in_thread(found, pattern, text)

    def _begun(self) -> Deadline:
        """The limit of the attempt; it begins now if it has not yet."""
        if self._limit is None:
            self._limit = self._deadline.earlier(self._timeout)
        return self._limit

    async def _in_thread(self, work: Callable[[], T]) -> T:
        """Work that keeps the limit itself, and says more then; what does not is left alone a little later."""
        grace = Deadline.after(self._begun().left + THREAD_GRACE)
        async with grace.enforce(lambda: self.late("no answer")):
            return await in_thread(work)


def _not_reached(ssh: Ssh, text: str) -> Exception:
    """What is wrong: the service, or the machine."""
    return NotReached(text) if ssh.alive else ssh.lost(ConnectionError(text))
