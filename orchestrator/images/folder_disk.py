"""A folder of the host as a small disk, created once for each content: a guest reads it without a copy.

`orchestrator.guest.plug` puts it into a running machine.
"""

from __future__ import annotations

import hashlib
import os
import stat
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.deadline import Deadline
from orchestrator.images.cache import ImageCache
from orchestrator.images.debian_host import search_path
from orchestrator.process import run

DISK = "disk.ext4"
LAYER = "folder"
VERSION = "1"  # of how it is made; part of the key
BLOCK = 4096
ROOM = 8 << 20  # bytes beyond what the files need: the file system's own tables
FEATURES = "^has_journal,^resize_inode,^metadata_csum"  # nothing is ever written to it


@dataclass(frozen=True, slots=True)
class FolderSize:
    """What a folder takes.

    Attributes:
        key: of its content, from names, sizes, modes, times and targets of links.
        size: bytes of a disk that holds it.
        entries: files, links and folders.
        for_everybody: whether each may be read by any user; the disk keeps owners, who are others in a guest.
    """

    key: str
    size: int
    entries: int
    for_everybody: bool


def measure(source: Path) -> FolderSize:
    """Size and key of a folder; links are not followed.

    Raises:
        OSError: it cannot be read.
    """
    digest = hashlib.sha256(VERSION.encode())
    blocks = entries = 0
    readable = True
    for name, found, target in _walk(source):
        entries += 1
        blocks += -(-found.st_size // BLOCK) + (found.st_size > BLOCK * 12)  # and one of an extent tree
        wanted = {stat.S_IFDIR: 0o005, stat.S_IFREG: 0o004}.get(stat.S_IFMT(found.st_mode), 0)
        readable = readable and found.st_mode & wanted == wanted
        facts = f"{found.st_mode:o} {found.st_size} {found.st_mtime_ns} {target}\0{name}\0"
        digest.update(os.fsencode(facts))
    inodes = entries * 256
    size = int(1.05 * (blocks * BLOCK + inodes)) + ROOM
    return FolderSize(digest.hexdigest(), -(-size // BLOCK) * BLOCK, entries, readable)


def _walk(source: Path) -> Iterator[tuple[str, os.stat_result, str]]:
    """Relative name, facts and target of everything below a folder, in an order that is always the same."""
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        with os.scandir(source / inside) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        for entry in entries:
            name = f"{inside}/{entry.name}" if inside else entry.name
            facts = entry.stat(follow_symlinks=False)
            yield name, facts, str(Path(entry.path).readlink()) if entry.is_symlink() else ""
            if entry.is_dir(follow_symlinks=False):
                waiting.append(name)


async def folder_disk(source: Path, found: FolderSize, *, name: str, deadline: Deadline) -> tuple[Path, bool]:
    """The disk of a folder, from the cache or made; and whether it existed.

    Args:
        found: of `measure`.
        name: of the cache's entry.

    Raises:
        HostError, ImageError: it cannot be made.
    """
    cache = ImageCache()

    async def build(folder: Path) -> None:
        argv = [
            "mke2fs",
            "-q",
            "-F",
            "-t",
            "ext4",
            "-b",
            str(BLOCK),
            "-m",
            "0",
            "-O",
            FEATURES,
            "-N",
            str(found.entries + 64),
            "-E",
            "root_owner=0:0,lazy_itable_init=0",
            "-d",
            str(source),
            str(folder / DISK),
            f"{found.size // 1024}k",
        ]
        await run(argv, deadline=deadline, env={**os.environ, "PATH": search_path()})

    path, cached = await cache.obtain(name, LAYER, found.key, build, waiting=lambda *_: None, deadline=deadline)
    return path / DISK, cached
