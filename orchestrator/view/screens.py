"""The machines' displays as they are now, for the page: taken when somebody looks, and not more than once a second."""

from __future__ import annotations

import asyncio
import tempfile
import threading
from collections.abc import Mapping
from pathlib import Path

from orchestrator.deadline import Deadline, monotonic
from orchestrator.errors import OrchestratorError
from orchestrator.vm.qmp import connect

FRESH = 1.0  # seconds for which a picture is good
LIMIT = 3.0  # seconds; only one visitor is let in at a time


class Screens:
    """Pictures of the displays of some machines. Its methods may be called in any thread.

    Args:
        sockets: for each machine the QMP socket for visits.
    """

    def __init__(self, sockets: Mapping[str, Path]) -> None:
        self._sockets = sockets
        self._locks = {name: threading.Lock() for name in sockets}
        self._taken: dict[str, tuple[float, bytes]] = {}

    @property
    def machines(self) -> list[str]:
        """Their names."""
        return list(self._sockets)

    def picture(self, machine: str) -> bytes | None:
        """PNG; None where there is no such machine, or its QEMU does not answer."""
        lock = self._locks.get(machine)
        if lock is None:
            return None
        with lock:
            at, known = self._taken.get(machine, (float("-inf"), b""))
            if monotonic() - at < FRESH:
                return known
            try:
                found = asyncio.run(_take(machine, self._sockets[machine]))
            except (OrchestratorError, OSError):
                return None
            self._taken[machine] = (monotonic(), found)
            return found


async def _take(machine: str, socket: Path) -> bytes:
    monitor = await connect(machine, socket, Deadline.after(LIMIT))
    try:
        with tempfile.TemporaryDirectory() as folder:
            path = Path(folder) / "screen.png"
            await monitor.screenshot(path)
            return path.read_bytes()
    finally:
        await monitor.close()
