"""The image cache: finished folders under keys, built once for all who need them.

``<cache>/<name>-<layer>-<key16>/`` is an entry; its name alone shows whether an
image exists. It is built in ``.building-…`` next to it and renamed, so an entry is
complete or absent. A lock file per entry makes racing builders take turns. An
environment that uses an entry pins it by a file that names its state folder; a pin
whose folder is gone no longer counts.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from contextlib import asynccontextmanager, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.deadline import Deadline, pause
from orchestrator.errors import ImageError
from orchestrator.events import wall_clock
from orchestrator.folders import cache_root
from orchestrator.text import duration_text

ENTRY_FILE = "entry.json"
USED_FILE = "last-used"
PINS = "pins"
LOCKS = "locks"
BUILDING = ".building-"
KEY_LENGTH = 16
LOCK_POLL = 0.2  # seconds between two tries for a lock somebody else holds


@dataclass(frozen=True, slots=True)
class Entry:
    """One finished folder of the cache.

    Attributes:
        layer: ``base``, ``app`` or ``nixos``.
        key: the full key; the folder's name holds its first 16 digits.
        created, used: seconds since the epoch.
        size: bytes it takes on the disk.
        pinned_by: state folders of the environments that use it.
    """

    name: str
    layer: str
    key: str
    path: Path
    created: float
    used: float
    size: int
    pinned_by: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Pruned:
    """What `prune` removed (or would remove), and what it kept, with the reason."""

    removed: tuple[Entry, ...]
    kept: tuple[tuple[Entry, str], ...]

    @property
    def bytes(self) -> int:
        return sum(entry.size for entry in self.removed)


def downloads_of(cache: ImageCache) -> Path:
    """Where packages of registries are kept, beside the images."""
    return cache.root.parent / "downloads"


class ImageCache:
    """Entries of one cache folder. Several processes may use it at once."""

    def __init__(self, root: Path | None = None) -> None:
        self.root = cache_root() / "images" if root is None else root

    def path_of(self, name: str, layer: str, key: str) -> Path:
        return self.root / f"{name}-{layer}-{key[:KEY_LENGTH]}"

    async def obtain(
        self,
        name: str,
        layer: str,
        key: str,
        build: Callable[[Path], Awaitable[None]],
        *,
        waiting: Callable[[str, float], None],
        deadline: Deadline,
    ) -> tuple[Path, bool]:
        """The entry's folder and whether it existed already.

        Args:
            build: fills the empty folder it is given; whatever it raises leaves no entry behind.
            waiting: called with the holder's description and the seconds so far, while another builds.

        Raises:
            ImageError: another process held the lock until the deadline.
        """
        path = self.path_of(name, layer, key)
        if self._complete(path):
            _touch(path)
            return path, True
        async with self._locked(path.name, waiting, deadline):
            if self._complete(path):  # somebody else made it while we waited
                _touch(path)
                return path, True
            temporary = self.root / f"{BUILDING}{path.name}"
            _remove_tree(temporary)  # of a builder that was killed: we hold its lock
            temporary.mkdir(parents=True)
            try:
                await build(temporary)
                record = {"name": name, "layer": layer, "key": key, "created": wall_clock()}
                (temporary / ENTRY_FILE).write_text(json.dumps(record) + "\n")
                _touch(temporary)
                temporary.rename(path)
            except BaseException:
                _remove_tree(temporary)
                raise
        return path, False

    @asynccontextmanager
    async def build_lock(
        self, name: str, waiting: Callable[[str, float], None], deadline: Deadline
    ) -> AsyncIterator[None]:
        """Only one process at a time is inside; the others wait, as in `obtain`.

        Raises:
            ImageError: another process was inside until the deadline.
        """
        async with self._locked(name, waiting, deadline):
            yield

    def list_images(self) -> list[Entry]:
        """All entries, the most recently used first. Everything that is not an entry is left out."""
        if not self.root.is_dir():
            return []
        found = [_read_entry(path) for path in sorted(self.root.iterdir()) if not path.name.startswith(".")]
        return sorted((entry for entry in found if entry), key=lambda entry: -entry.used)

    def pin(self, path: Path, state_folder: Path) -> None:
        """Keep the entry that holds ``path`` as long as ``state_folder`` exists or until `unpin`.

        Nothing happens for a path outside the cache.
        """
        entry = self._entry_of(path)
        if entry is not None:
            (entry / PINS).mkdir(exist_ok=True)
            _pin_file(entry, state_folder).write_bytes(os.fsencode(state_folder) + b"\n")
            _touch(entry)

    def unpin(self, path: Path, state_folder: Path) -> None:
        """Remove the pin; no error if there is none."""
        entry = self._entry_of(path)
        if entry is not None:
            _pin_file(entry, state_folder).unlink(missing_ok=True)

    def prune(
        self,
        *,
        keep: int = 0,
        older_than: float | None = None,
        bytes: int | None = None,
        dry_run: bool = False,
    ) -> Pruned:
        """Remove entries nobody uses.

        Args:
            keep: so many of the most recently used of each image and layer stay.
            older_than: only entries last used longer ago than this, in seconds.
            bytes: only as many, longest unused first, as bring the cache down to this size.
            dry_run: report what would be removed, remove nothing.
        """
        entries = self.list_images()
        total = sum(entry.size for entry in entries)
        removed: list[Entry] = []
        kept: list[tuple[Entry, str]] = []
        seen: dict[tuple[str, str], int] = {}
        candidates: list[Entry] = []
        for entry in entries:
            rank = seen[(entry.name, entry.layer)] = seen.get((entry.name, entry.layer), 0) + 1
            if rank <= keep:
                kept.append((entry, f"one of the newest {keep}"))
            elif older_than is not None and wall_clock() - entry.used < older_than:
                kept.append((entry, "used recently"))
            else:
                candidates.append(entry)
        for entry in reversed(candidates):
            if bytes is not None and total <= bytes:
                kept.append((entry, "the cache is small enough"))
                continue
            reason = self._remove(entry, dry_run=dry_run)
            if reason:
                kept.append((entry, reason))
            else:
                removed.append(entry)
                total -= entry.size
        if not dry_run:
            self._remove_leftovers()
        return Pruned(tuple(removed), tuple(kept))

    # -------------------------------------------------------------- inside

    def _complete(self, path: Path) -> bool:
        return (path / ENTRY_FILE).is_file()

    def _entry_of(self, path: Path) -> Path | None:
        with suppress(ValueError):
            relative = path.absolute().relative_to(self.root.absolute())
            if relative.parts and self._complete(self.root / relative.parts[0]):
                return self.root / relative.parts[0]
        return None

    def _remove(self, entry: Entry, *, dry_run: bool) -> str:
        """Remove one entry; the reason why not, or nothing."""
        with self._try_lock(entry.path.name) as locked:
            if not locked:
                return "being built or removed by another command"
            users = _pins(entry.path)  # again, under the lock
            if users:
                return "in use by " + ", ".join(users)
            if not dry_run:
                doomed = self.root / f"{BUILDING}{entry.path.name}"
                _remove_tree(doomed)
                with suppress(FileNotFoundError):
                    entry.path.rename(doomed)  # first out of sight, at once
                _remove_tree(doomed)
        return ""

    def _remove_leftovers(self) -> None:
        for path in self.root.glob(f"{BUILDING}*"):
            with self._try_lock(path.name.removeprefix(BUILDING)) as locked:
                if locked:
                    _remove_tree(path)

    @contextmanager
    def _try_lock(self, name: str) -> Iterator[bool]:
        (self.root / LOCKS).mkdir(parents=True, exist_ok=True)
        # Lock files stay for ever: removing one would let two holders hold two files of the same name.
        with (self.root / LOCKS / f"{name}.lock").open("a+", encoding="utf-8", errors="backslashreplace") as file:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                yield False
                return
            file.truncate(0)
            file.write(f"pid {os.getpid()} ({' '.join([Path(sys.argv[0]).name, *sys.argv[1:]])})")
            file.flush()
            yield True

    @asynccontextmanager
    async def _locked(
        self, name: str, waiting: Callable[[str, float], None], deadline: Deadline
    ) -> AsyncIterator[None]:
        started = deadline.elapsed
        while True:
            with self._try_lock(name) as locked:
                if locked:
                    yield
                    return
            lock = self.root / LOCKS / f"{name}.lock"
            holder = lock.read_text(encoding="utf-8", errors="replace").strip() or "another command"
            waiting(holder, deadline.elapsed - started)
            if deadline.expired:
                raise ImageError(
                    f"image {name} is being built by {holder}",
                    why=f"waited {duration_text(deadline.elapsed - started)} for it",
                    hint="wait for that command, or end it",
                )
            await pause(LOCK_POLL, deadline)


def _touch(path: Path) -> None:
    with suppress(OSError):  # a cache that may only be read is fine
        (path / USED_FILE).touch()


def _pin_file(entry: Path, state_folder: Path) -> Path:
    return entry / PINS / hashlib.sha256(os.fsencode(state_folder)).hexdigest()[:KEY_LENGTH]


def _pins(entry: Path) -> tuple[str, ...]:
    """State folders that exist and use the entry; pins of vanished ones are removed."""
    users = []
    for file in sorted((entry / PINS).glob("*")) if (entry / PINS).is_dir() else []:
        folder = os.fsdecode(file.read_bytes().removesuffix(b"\n"))
        if Path(folder).is_dir():
            users.append(folder)
        else:
            with suppress(OSError):
                file.unlink(missing_ok=True)
    return tuple(users)


def _read_entry(path: Path) -> Entry | None:
    try:
        record = json.loads((path / ENTRY_FILE).read_text())
        used = (path / USED_FILE).stat().st_mtime if (path / USED_FILE).exists() else float(record["created"])
        return Entry(
            name=str(record["name"]),
            layer=str(record["layer"]),
            key=str(record["key"]),
            path=path,
            created=float(record["created"]),
            used=used,
            size=_disk_usage(path),
            pinned_by=_pins(path),
        )
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _disk_usage(path: Path) -> int:
    return sum(file.lstat().st_blocks * 512 for file in path.rglob("*") if not file.is_dir())


def _remove_tree(path: Path) -> None:
    if path.exists():
        shutil.rmtree(path)
