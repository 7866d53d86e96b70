"""The folders of a copy that is being unpacked on this host."""

from __future__ import annotations

import os
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.guest.copy_entries import Entry

FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


@dataclass(slots=True)
class Level:
    """An open folder, and what it gets when it is left."""

    name: str
    descriptor: int
    mode: int | None = None
    mtime: int = 0


class FolderStack:
    """The open folders on the way to what is unpacked, each below the one before. No link is followed.

    Args:
        exact: folders keep their modes and times.
    """

    def __init__(self, place: Path, *, exact: bool) -> None:
        self._place = place
        self._exact = exact
        self._levels: list[Level] = []

    @property
    def empty(self) -> bool:
        """Whether not even the topmost folder is open."""
        return not self._levels

    @property
    def top(self) -> int:
        """The descriptor of the topmost folder."""
        return self._levels[0].descriptor

    def close(self) -> None:
        """Leave all folders."""
        while self._levels:
            self._leave()

    def open_top(self, entry: Entry | None) -> None:
        new = not self._place.is_dir()
        if new:
            self._place.mkdir(parents=True)
        # The place itself was named by the user: a link is followed here, and nowhere below.
        level = Level("", os.open(self._place, FOLDER & ~os.O_NOFOLLOW))
        self._levels.append(level)
        if new and entry is not None:
            level.mode, level.mtime = entry.mode, entry.mtime

    def make(self, above: int, name: str, entry: Entry) -> None:
        new = False
        with suppress(FileExistsError):  # it must be a folder then; its mode stays
            os.mkdir(name, 0o700, dir_fd=above)
            new = True
        level = Level(name, os.open(name, FOLDER, dir_fd=above))
        self._levels.append(level)
        if new:
            level.mode, level.mtime = entry.mode, entry.mtime

    def enter(self, path: list[str]) -> int:
        """The descriptor of a folder below the top; what is on the way is left, entered or made."""
        common = 0
        while common < min(len(path), len(self._levels) - 1) and self._levels[common + 1].name == path[common]:
            common += 1
        while len(self._levels) > common + 1:
            self._leave()
        for name in path[common:]:
            above = self._levels[-1].descriptor
            with suppress(FileExistsError):  # an archive may leave out a folder's own entry
                os.mkdir(name, 0o755, dir_fd=above)
            self._levels.append(Level(name, os.open(name, FOLDER, dir_fd=above)))
        return self._levels[-1].descriptor

    def _leave(self) -> None:
        level = self._levels.pop()
        try:
            if level.mode is not None:
                os.fchmod(level.descriptor, level.mode if self._exact else 0o755)
                if self._exact:
                    os.utime(level.descriptor, ns=(level.mtime, level.mtime))
        finally:
            os.close(level.descriptor)
