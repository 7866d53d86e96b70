"""A folder of the host as a small disk, created once for each content: a guest reads it without a copy.

Guests see the names and links of the folder. Owner and modes are not the host's: everything is one owner's, folders and
what may be executed have 0755, other files 0644. So neither the user nor the umask of a checkout matters.
"""

from __future__ import annotations

import os
import shutil
import stat
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import xxhash

from orchestrator.deadline import Deadline
from orchestrator.errors import ImageError
from orchestrator.images.cache import ImageCache
from orchestrator.images.debian_host import search_path
from orchestrator.images.inodes import Owner, own_everything
from orchestrator.process import run
from orchestrator.scratch import scratch
from orchestrator.threads import in_thread
from orchestrator.topology.layer_files import excluded

DISK = "disk.ext4"
LAYER = "folder"
VERSION = "3"  # of how it is made; part of the key
BLOCK = 4096
ROOM = 8 << 20  # bytes beyond what the files need: the file system's own tables
SMALLEST = 64 << 20  # bytes of a device; it is sparse
FEATURES = "^has_journal,^resize_inode,^metadata_csum,^uninit_bg"  # nothing is ever written to it by a guest
ROOT = Owner(0, 0)
TOOLS = "mke2fs and debugfs are in the package e2fsprogs"


@dataclass(frozen=True, slots=True)
class FolderSize:
    """What a folder takes.

    Attributes:
        key: of its content.
        size: bytes of a disk that holds it.
        entries: files, links and folders.
        exclude: patterns of what the disk does not hold.
        left_out: whether there is something of that.
        read: whether the key is of what is in the files.
    """

    key: str
    size: int
    entries: int
    exclude: tuple[str, ...] = ()
    left_out: bool = False
    read: bool = False


def measure(source: Path, exclude: Sequence[str] = (), *, read: bool = False) -> FolderSize:
    """Size and key of a folder; links are not followed.

    Args:
        exclude: patterns of what is left out, see `orchestrator.topology.layer_files`.
        read: the key is of what is in the files, whatever their times are. Else size and time of each stand for that:
            quicker for thousands of files.

    Raises:
        OSError: it cannot be read.
    """
    digest = xxhash.xxh3_128(VERSION.encode())
    blocks = entries = 0
    left_out = False
    for name, found, target in walk(source, exclude):
        if found is None:
            left_out = True
            continue
        entries += 1
        blocks += -(-found.st_size // BLOCK) + (found.st_size > BLOCK * 12)  # and one of an extent tree
        kind = f"{stat.S_IFMT(found.st_mode):o} {found.st_mode & stat.S_IXUSR:o}"
        facts = "" if stat.S_ISDIR(found.st_mode) else f"{found.st_size}"
        if read and stat.S_ISREG(found.st_mode):
            facts = content_key(source / name)
        elif not read:
            facts += f" {found.st_mtime_ns}"
        digest.update(os.fsencode(f"{kind} {facts}\0{target}\0{name}\0"))
    inodes = entries * 256
    size = int(1.05 * (blocks * BLOCK + inodes)) + ROOM
    return FolderSize(digest.hexdigest(), -(-size // BLOCK) * BLOCK, entries, tuple(exclude), left_out, read)


def capacity(size: int) -> int:
    """Bytes of the device for a file system of this many: most changes of a folder keep it, and a saved guest knows it.

    >>> capacity(9 << 20) >> 20, capacity(65 << 20) >> 20
    (64, 128)
    """
    return max(SMALLEST, 1 << (size - 1).bit_length())


def content_key(path: Path) -> str:
    """A fingerprint of what is in a file."""
    with path.open("rb") as file:
        digest = xxhash.xxh3_128()
        while piece := file.read(1 << 20):
            digest.update(piece)
    return digest.hexdigest()


def walk(source: Path, exclude: Sequence[str]) -> Iterator[tuple[str, os.stat_result | None, str]]:
    """Relative name, facts and target of everything below a folder, in an order that is always the same.

    What is left out has no facts.
    """
    waiting = [""]
    while waiting:
        inside = waiting.pop()
        with os.scandir(source / inside) as found:
            entries = sorted(found, key=lambda entry: entry.name)
        for entry in entries:
            name = f"{inside}/{entry.name}" if inside else entry.name
            if exclude and excluded(name, exclude):
                yield name, None, ""
                continue
            facts = entry.stat(follow_symlinks=False)
            yield name, facts, str(Path(entry.path).readlink()) if entry.is_symlink() else ""
            if entry.is_dir(follow_symlinks=False):
                waiting.append(name)


async def folder_disk(
    source: Path, found: FolderSize, *, name: str, deadline: Deadline, owner: Owner = ROOT
) -> tuple[Path, bool]:
    """The disk of a folder, from the cache or made; and whether it existed.

    Args:
        found: of `measure`.
        name: of the cache's entry.
        owner: of everything on it.

    Raises:
        HostError, ImageError: it cannot be made, or the folder changes meanwhile.
    """
    cache = ImageCache()

    async def build(folder: Path) -> None:
        disk = folder / DISK
        if not found.left_out:
            await _make(source, found, disk, deadline)
        else:
            with scratch("layer") as staged:
                await in_thread(lambda: _stage(source, staged, found.exclude))
                await _make(staged, found, disk, deadline)
        if await in_thread(lambda: measure(source, found.exclude, read=found.read)) != found:
            raise ImageError(
                f"{source} changes while it is copied",
                why="what is written into it now would be there by half",
                hint="try again when the build that writes there is done, or leave out what changes with exclude",
            )
        await in_thread(lambda: own_everything(disk, owner))
        os.truncate(disk, capacity(found.size))

    key = f"{found.key}-{owner.user}-{owner.group}"
    path, cached = await cache.obtain(name, LAYER, _digest(key), build, waiting=lambda *_: None, deadline=deadline)
    return path / DISK, cached


async def _make(source: Path, found: FolderSize, disk: Path, deadline: Deadline) -> None:
    environment = {**os.environ, "PATH": search_path()}
    options = ["-b", str(BLOCK), "-m", "0", "-O", FEATURES, "-N", str(found.entries + 64)]
    options += ["-E", "root_owner=0:0,lazy_itable_init=0", "-d", str(source)]
    argv = ["mke2fs", "-q", "-F", "-t", "ext4", *options, str(disk), f"{found.size // 1024}k"]
    await run(argv, deadline=deadline, env=environment, hint=TOOLS)
    # A relative name: in an absolute one, a question mark would begin options of the file system.
    argv = ["debugfs", "-w", "-R", "rmdir lost+found", disk.name]
    await run(argv, deadline=deadline, env=environment, cwd=disk.parent, hint=TOOLS)


def _stage(source: Path, target: Path, exclude: Sequence[str]) -> None:
    """The folder without what is left out: links to the files, copies where that cannot be."""
    for name, found, link in walk(source, exclude):
        if found is None:
            continue
        place = target / name
        if stat.S_ISDIR(found.st_mode):
            place.mkdir()
        elif stat.S_ISLNK(found.st_mode):
            place.symlink_to(link)
        elif stat.S_ISREG(found.st_mode):
            try:
                place.hardlink_to(source / name)
            except OSError:
                shutil.copy2(source / name, place)


def _digest(text: str) -> str:
    return xxhash.xxh3_128(text.encode()).hexdigest()
