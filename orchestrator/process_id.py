"""Processes that are known again later, by who they are and not by their number alone."""

from __future__ import annotations

import asyncio
import os
import signal
from collections.abc import Mapping
from contextlib import suppress
from dataclasses import dataclass

from orchestrator.deadline import FOREVER, Deadline, wait_until
from orchestrator.procfs import boot_id, read_stat

TERM_GRACE = 5.0  # seconds between SIGTERM and SIGKILL


@dataclass(frozen=True, slots=True)
class ProcessId:
    """A process that can be recognised later: pid, start time in clock ticks, boot id."""

    pid: int
    start_ticks: int
    boot_id: str

    @classmethod
    def of(cls, pid: int) -> ProcessId | None:
        """The identity of a living process, or None."""
        stat = read_stat(pid)
        return cls(pid, stat.start_ticks, boot_id()) if stat is not None and stat.running else None

    @classmethod
    def own(cls) -> ProcessId:
        """This process."""
        identity = cls.of(os.getpid())
        if identity is None:
            raise RuntimeError("this process is not in /proc")
        return identity

    @classmethod
    def from_dict(cls, data: Mapping[str, object]) -> ProcessId:
        pid, ticks = data["pid"], data["start_ticks"]
        if not isinstance(pid, int) or not isinstance(ticks, int):
            raise TypeError(f"not a process identity: {data}")
        return cls(pid, ticks, str(data["boot_id"]))

    def as_dict(self) -> dict[str, object]:
        return {"pid": self.pid, "start_ticks": self.start_ticks, "boot_id": self.boot_id}

    @property
    def alive(self) -> bool:
        """Whether this very process still runs (a zombie does not)."""
        stat = read_stat(self.pid)
        return self.boot_id == boot_id() and stat is not None and stat.running and stat.start_ticks == self.start_ticks

    def signal_group(self, number: signal.Signals) -> None:
        """Signal the process group it leads; no error when it is gone."""
        if self.alive:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, number)

    async def ended(self, deadline: Deadline) -> bool:
        """Wait for its end; False when the deadline came first."""
        return await wait_until(lambda: not self.alive, deadline, first=0.005, longest=0.1)

    async def end(self, grace: float = TERM_GRACE) -> None:
        """SIGTERM to the group, SIGKILL after ``grace`` seconds; also reaches a stopped process."""
        self.signal_group(signal.SIGTERM)
        self.signal_group(signal.SIGCONT)
        if not await self.ended(Deadline.after(grace)):
            self.signal_group(signal.SIGKILL)
            await self.ended(Deadline.after(grace))


async def watch_end(identity: ProcessId) -> None:
    """Return when the process has ended, at once and without polling where pidfds exist."""
    try:
        descriptor = os.pidfd_open(identity.pid)
    except (OSError, AttributeError):
        await wait_until(lambda: not identity.alive, Deadline.after(FOREVER), first=0.1)
        return
    try:
        if not identity.alive:
            return
        loop = asyncio.get_running_loop()
        ended = asyncio.Event()
        loop.add_reader(descriptor, ended.set)
        try:
            await ended.wait()
        finally:
            loop.remove_reader(descriptor)
    finally:
        os.close(descriptor)
