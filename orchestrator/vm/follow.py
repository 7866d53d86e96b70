"""Following a file that QEMU writes: the serial log, the journal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

INTERVAL = 0.05  # seconds; a read of a local file that gives nothing costs microseconds
LINE_LIMIT = 64 * 1024
CHUNK = 256 * 1024


async def follow_lines(path: Path, *, start: int = 0) -> AsyncIterator[str]:
    """Every complete line from byte ``start`` on, for ever; overlong lines are cut.

    The file may not exist yet. It never ends by itself: cancel it.
    """
    position = start
    rest = b""
    while True:
        try:
            with path.open("rb") as file:
                file.seek(position)
                data = file.read(CHUNK)
        except FileNotFoundError:
            data = b""
        if not data:
            await asyncio.sleep(INTERVAL)
            continue
        position += len(data)
        *lines, rest = (rest + data).split(b"\n")
        if len(rest) > LINE_LIMIT:
            rest = rest[:LINE_LIMIT]
        for line in lines:
            yield line[:LINE_LIMIT].decode("utf-8", "replace").rstrip("\r")
        await asyncio.sleep(0)  # a flood must not starve the rest
