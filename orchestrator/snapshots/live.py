"""Saving memory that is no file of its own: QEMU sends all of it while the machine runs, then what changed meanwhile.

Such a machine was started from another environment's saved state and rests on
that one's memory file, or there was no room for a file of its own.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import AsyncIterator
from contextlib import ExitStack, asynccontextmanager
from pathlib import Path
from typing import Any

from orchestrator.deadline import Deadline, pause
from orchestrator.errors import MachineError, SnapshotError
from orchestrator.snapshots.manifest import MachineFiles
from orchestrator.snapshots.memory import Holes
from orchestrator.snapshots.stream import StreamSorter
from orchestrator.vm.qmp import Monitor

PIECE = 1 << 20  # bytes
LOOK = 0.02  # seconds between two questions how far it is
NAME = "orch-save"  # of our socket, for QEMU


class Flow:
    """The memory and the state of one machine on their way into two files. `flowing` makes it."""

    def __init__(
        self, name: str, monitor: Monitor, source: socket.socket, sorter: StreamSorter, holes: Holes | None
    ) -> None:
        self._name = name
        self._monitor = monitor
        self._source = source
        self._sorter = sorter
        self._holes = holes
        self._arrived = asyncio.Event()

    async def pump(self) -> None:
        """Sort what comes, to its end."""
        readable, loop = asyncio.Event(), asyncio.get_running_loop()
        while True:
            try:
                data = self._source.recv(PIECE)
            except BlockingIOError:
                readable.clear()
                loop.add_reader(self._source, readable.set)
                try:
                    await readable.wait()
                finally:
                    loop.remove_reader(self._source)
                continue
            if not data:
                self._arrived.set()
                return
            self._sorter.feed(data)
            if self._holes is not None:
                self._holes.give_back(self._sorter.passed)
            await asyncio.sleep(0)  # others have their turn

    async def sent_once(self, limit: Deadline) -> None:
        """Wait until all memory was sent once, or everything: a machine that does nothing may be finished then.

        Raises:
            SnapshotError: QEMU gave up, or it takes too long.
        """
        while True:
            told = await self._look(limit)
            if told["status"] == "completed" or int(told.get("ram", {}).get("dirty-sync-count", 0)) > 1:
                return
            await pause(LOOK, limit)

    async def finish(self, limit: Deadline) -> None:
        """Wait for the rest, when the machine is paused.

        Raises:
            SnapshotError: QEMU gave up, it takes too long, or what came is no stream.
        """
        while (await self._look(limit))["status"] != "completed":
            await pause(LOOK / 4, limit)
        async with limit.enforce(lambda: _late(self._name, limit)):
            await self._arrived.wait()
        self._sorter.finish()

    async def _look(self, limit: Deadline) -> dict[str, Any]:
        told: dict[str, Any] = await self._monitor.execute("query-migrate", deadline=limit)
        if told.get("status") in ("failed", "cancelled"):
            raise cannot_be_saved(self._name, str(told.get("error-desc", told)))
        if limit.expired:
            raise _late(self._name, limit)
        return {"status": "none", **told}


@asynccontextmanager
async def flowing(
    name: str, monitor: Monitor, base: Path | None, files: MachineFiles, limit: Deadline
) -> AsyncIterator[Flow]:
    """Let QEMU begin to send; `Flow.pump` must run beside what the block does.

    Args:
        base: the file that the memory rests on, whose holes are to stay holes; None for anonymous memory.

    Raises:
        SnapshotError: QEMU refused.
        OSError: the files cannot be made.
    """
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL
    with ExitStack() as stack:
        ram = os.open(files.ram, flags, 0o600)
        stack.callback(os.close, ram)
        # Not a pipe: QEMU can give up a write to a socket.
        ours, theirs = map(stack.enter_context, socket.socketpair())
        holes = Holes.of(base) if base is not None else None
        if holes is not None:
            stack.callback(holes.close)
        ours.setblocking(False)
        theirs.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, PIECE)
        await monitor.give(NAME, theirs.fileno())
        theirs.close()  # QEMU has its own; only then is the end of what it sends seen
        state = stack.enter_context(os.fdopen(os.open(files.state, flags, 0o600), "wb"))
        try:
            await monitor.execute("migrate", {"uri": f"fd:{NAME}"}, deadline=limit)
        except MachineError as error:
            if "refused" not in error.what:
                raise
            raise cannot_be_saved(name, error.why) from error
        yield Flow(name, monitor, ours, StreamSorter(ram, state), holes)


def cannot_be_saved(name: str, why: str) -> SnapshotError:
    return SnapshotError(
        f"QEMU could not save machine {name}",
        subject=name,
        why=why,
        hint="a 9p or virtiofs share, or another device that cannot be saved, forbids it; docs/snapshots.md",
    )


def _late(name: str, limit: Deadline) -> SnapshotError:
    return SnapshotError(f"QEMU did not save machine {name} within {limit}")
