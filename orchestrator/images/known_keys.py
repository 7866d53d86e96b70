"""The keys of images whose recipe was read in this boot of the host, as long as no file of it changed.

Reading a recipe means filling in its templates and hashing each of its files: a third of the processor time of a warm
start. Which files a key follows from is not told by the recipe's author, and not by us: Python itself reports each
file and folder that is opened while the key is found out.
"""

from __future__ import annotations

import json
import os
import platform
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import xxhash

from orchestrator import __version__
from orchestrator.events.clock import wall_clock
from orchestrator.file_stamps import remember, remembered
from orchestrator.images.provider_kind import Build

KEYS = "image-keys"
_PROGRAM = Path(__file__).parent  # a change of what makes keys makes others


class FilesRead:
    """The files and folders that this thread opens to read.

    Attributes:
        paths: absolute, as they were opened.
        programs: whether another program was run, whose files nobody knows.
        begun: seconds since the epoch, before the first of them was read.
    """

    def __init__(self) -> None:
        self.paths: set[Path] = set()
        self.programs = False
        self.begun = wall_clock()
        self._thread = threading.get_ident()
        self._active = False

    @contextmanager
    def recorded(self) -> Iterator[None]:
        """Record what is opened in the block."""
        sys.addaudithook(self._heard)  # it stays, and does nothing after the block
        self._active = True
        try:
            yield
        finally:
            self._active = False

    def _heard(self, event: str, arguments: tuple[object, ...]) -> None:
        if not self._active:
            return
        if event == "subprocess.Popen":  # by whatever thread
            self.programs = True
        elif threading.get_ident() != self._thread:
            return
        elif event == "open":
            path, mode, flags = arguments
            writes = isinstance(flags, int) and flags & (os.O_WRONLY | os.O_RDWR)
            if isinstance(path, (str, bytes)) and not writes and (mode is None or "r" in str(mode)):
                self.paths.add(Path(os.fsdecode(path)).absolute())
        elif event in ("os.listdir", "os.scandir"):
            path = arguments[0]
            if isinstance(path, (str, bytes)):
                self.paths.add(Path(os.fsdecode(path)).absolute())


def known_key(job: Build, recipe: Path) -> str | None:
    """The key of an image, if it was found out in this boot and nothing of it changed since."""
    return remembered(_record(job, recipe), _what(job))


def know(job: Build, recipe: Path, key: str, opened: FilesRead, scratch: Path) -> None:
    """Keep a key that was just found out.

    Args:
        scratch: a folder of texts that were written on the way; they follow from the other files.
    """
    if opened.programs:
        return
    paths = [path for path in opened.paths if scratch not in path.parents and path != scratch]
    remember(_record(job, recipe), _what(job), key, [*paths, *_own_files()], begun=opened.begun)


def _own_files() -> Iterator[Path]:
    yield _PROGRAM
    yield from _PROGRAM.glob("*.py")


def _record(job: Build, recipe: Path) -> Path:
    name = xxhash.xxh3_64_hexdigest(f"{recipe}\0{job.name}\0{job.variant}".encode())
    return job.cache.root.parent / KEYS / f"{name}.json"


def _what(job: Build) -> str:
    """What a key follows from besides files."""
    return json.dumps([__version__, sys.version, platform.machine(), str(job.root), job.variant, sorted(job.units)])
