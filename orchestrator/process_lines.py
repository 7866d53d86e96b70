"""A long command of this host, its output handed over line by line as it comes."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path

from orchestrator.deadline import Deadline
from orchestrator.debug import shown_command, timed
from orchestrator.process import OUTPUT_GRACE, child, reaped
from orchestrator.process_id import TERM_GRACE, ProcessId, watch_end
from orchestrator.tasks import run_with_watchdogs


async def stream_lines(  # noqa: PLR0913 - those of a child, each by its own name
    argv: Sequence[str],
    on_line: Callable[[str], None],
    *,
    deadline: Deadline,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    grace: float = TERM_GRACE,
    started: Callable[[ProcessId | None], None] | None = None,
) -> int:
    """Run a long command, hand over each line of its output (both streams), return its exit code.

    Args:
        grace: seconds it has to end in order when this is cancelled, or past the deadline.
        started: told who it is, or None if it has ended already.

    Raises:
        TimeLimit: past the deadline; the command's group is ended first.
    """
    async with deadline.enforce():
        with timed("host", "", shown_command(argv)) as outcome:
            async with child(argv, env=env, cwd=cwd, grace=grace) as process:
                if started is not None:
                    started(ProcessId.of(process.pid))
                reader = _LineReader(process, on_line)
                with suppress(_LeftBehindError):
                    await run_with_watchdogs(reader.read(), [reader.watch])
                await reaped(process)  # it may close its output before it ends
            outcome.text = f"code {process.returncode}"
        assert process.returncode is not None
        return process.returncode


class _LeftBehindError(Exception):
    """A command ended, and something it started still holds its output open."""


class _LineReader:
    """Reads a command's output to its end, which may come later than the command's own."""

    def __init__(self, process: asyncio.subprocess.Process, on_line: Callable[[str], None]) -> None:
        assert process.stdout is not None
        self._leader = ProcessId.of(process.pid)  # None: it has ended already
        self._stream = process.stdout
        self._on_line = on_line
        self._fresh = True  # whether something came since the last look

    async def read(self) -> None:
        while True:
            try:
                raw = await self._stream.readline()
            except ValueError:  # a line beyond the stream's limit: its rest follows as further lines
                self._fresh = True
                continue
            if not raw:
                return
            self._fresh = True
            self._on_line(raw.decode("utf-8", "replace").rstrip("\r\n"))

    async def watch(self) -> None:
        """Raise when the command has ended and nothing more comes."""
        if self._leader is not None:
            await watch_end(self._leader)
        self._fresh = True
        while self._fresh:
            self._fresh = False
            await asyncio.sleep(OUTPUT_GRACE)
        raise _LeftBehindError
