"""Following a file that QEMU writes, the serial log or the journal, and keeping it from filling the disk."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path

from orchestrator.vm.arrivals import ArrivalLog

INTERVAL = 0.05  # seconds; a read of a local file that gives nothing costs microseconds
LINE_LIMIT = 64 * 1024
CHUNK = 256 * 1024
FILE_LIMIT = 64 << 20  # bytes of a log; a guest may write without end


async def follow_lines(path: Path, *, start: int = 0, arrivals: ArrivalLog | None = None) -> AsyncIterator[str]:
    """Every complete line from byte ``start`` on, for ever; overlong lines are cut.

    The file may not exist yet, and may become shorter: then it is read from its beginning. It never ends by
    itself: cancel it.

    Args:
        arrivals: notes when how much was there.
    """
    if arrivals is not None:
        arrivals.begin(start)
    position, rest = start, b""
    try:
        while True:
            try:
                with path.open("rb") as file:
                    if file.seek(0, os.SEEK_END) < position:
                        position, rest = 0, b""
                        if arrivals is not None:
                            arrivals.begin_again()
                    file.seek(position)
                    data = file.read(CHUNK)
            except FileNotFoundError:
                data = b""
            if not data:
                await asyncio.sleep(INTERVAL)
                continue
            position += len(data)
            if arrivals is not None:
                arrivals.note(position)
            *lines, rest = (rest + data).split(b"\n")
            if len(rest) > LINE_LIMIT:
                rest = rest[:LINE_LIMIT]
            for line in lines:
                yield line[:LINE_LIMIT].decode("utf-8", "replace").rstrip("\r")
            await asyncio.sleep(0)  # a flood must not starve the rest
    finally:
        if arrivals is not None:
            arrivals.cease(position)


def shorten(path: Path, limit: int) -> bool:
    """Move what a log holds beside it once it is longer than ``limit``; whether it was.

    Its writer appends and goes on. What it writes in between is lost, and so is
    what was moved the time before: a log and its older part are at most twice the limit.
    """
    size = path.stat().st_size if path.exists() else 0
    if size <= limit:
        return False
    older = path.with_name(f"{path.name}.1")
    try:
        with path.open("rb") as source, older.open("wb") as target:
            source.seek(size - limit)
            left = limit  # its writer may be faster than we are
            while left > 0 and (block := source.read(min(left, CHUNK))):
                target.write(block)
                left -= len(block)
    except OSError:  # the disk is full, perhaps of this very log
        with suppress(OSError):
            older.unlink()
    os.truncate(path, 0)
    return True
