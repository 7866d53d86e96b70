"""What the loop waits for: changed files and keys. Bursts of changes become one."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from orchestrator.deadline import Deadline, completes_before, monotonic

QUIET = 0.2  # seconds without a change that end a burst
LONGEST = 5.0  # seconds of a burst that does not end: a build that goes on writing
KEYS = frozenset("rafRsq")


@dataclass(frozen=True, slots=True)
class Wake:
    """Why the loop goes on.

    Attributes:
        paths: what was changed.
        key: what was pressed; empty: nothing.
        at: monotonic time of the first of it.
    """

    paths: frozenset[Path] = frozenset()
    key: str = ""
    at: float = 0.0


class Inbox:
    """Changes and keys since the loop last asked."""

    def __init__(self) -> None:
        self._paths: set[Path] = set()
        self._keys: list[str] = []
        self._first = 0.0
        self._arrived = asyncio.Event()
        self._more = asyncio.Event()

    def put_paths(self, paths: Iterable[Path]) -> None:
        """These files were changed."""
        found = set(paths)
        if found:
            self._begin()
            self._paths |= found
            self._announce()

    def put_key(self, key: str) -> None:
        """A key was pressed; one that means nothing is left alone."""
        key = "r" if key in ("\r", "\n") else key
        if key in KEYS:
            self._begin()
            self._keys.append(key)
            self._announce()

    def _begin(self) -> None:
        if not self._arrived.is_set():
            self._first = monotonic()

    def _announce(self) -> None:
        self._arrived.set()
        self._more.set()

    async def arrived(self) -> None:
        """Wait until there is something."""
        await self._arrived.wait()

    async def next(self) -> Wake:
        """What there is, when a burst of it is over; a key ends a burst."""
        await self._arrived.wait()
        longest = Deadline.after(LONGEST)
        while not self._keys and not longest.expired:
            self._more.clear()
            if not await completes_before(self._more.wait, longest.earlier(QUIET)):
                break
        key = self._keys[-1] if self._keys else ""
        if "q" in self._keys:
            key = "q"
        wake = Wake(frozenset(self._paths), key, self._first)
        self._paths, self._keys = set(), []
        self._arrived.clear()
        return wake
