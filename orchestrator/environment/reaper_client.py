"""The owner's side of `orchestrator.environment.reaper`."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress

from orchestrator.environment import reaper
from orchestrator.process import child
from orchestrator.process_id import ProcessId


class ReaperClient:
    """Processes that end when this program does, unless released."""

    def __init__(self, write: asyncio.StreamWriter) -> None:
        self._write = write

    def add(self, process: ProcessId) -> None:
        self._send(f"{process.pid} {process.start_ticks}")

    def release(self) -> None:
        """From now on they may outlive us."""
        self._send("release")

    def _send(self, line: str) -> None:
        with suppress(BrokenPipeError, ConnectionResetError):
            self._write.write(line.encode() + b"\n")


@asynccontextmanager
async def reaper_client() -> AsyncIterator[ReaperClient]:
    """Start the reaper for the block. Leaving the block in order releases everything."""
    argv = [sys.executable, "-I", "-S", str(reaper.__file__)]
    async with child(argv, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL) as process:
        assert process.stdin is not None
        group = ReaperClient(process.stdin)
        try:
            yield group
        finally:
            group.release()
            with suppress(BrokenPipeError, ConnectionResetError):
                await process.stdin.drain()
