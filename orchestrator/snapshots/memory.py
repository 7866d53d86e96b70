"""Files that hold a machine's memory: where they may lie, how they are copied, how damage is seen.

A RAM file is as long as the machine's memory and has holes wherever the guest
never wrote, so everything here costs what was touched and not what was given.
"""

from __future__ import annotations

import ctypes
import errno
import mmap
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import xxhash

from orchestrator.folders import shared_memory
from orchestrator.text import size_text

MIB = 1 << 20
RESERVE = 256 * MIB  # left free on whatever holds a RAM file
BUFFER = 4 * MIB
BLOCK = MIB // 4
HOLES_STEP = 64 * MIB
PUNCH_HOLE = 0x03  # FALLOC_FL_KEEP_SIZE | FALLOC_FL_PUNCH_HOLE

_LIBC = ctypes.CDLL(None, use_errno=True)


@dataclass(frozen=True, slots=True)
class RamBacking:
    """A folder for RAM files.

    Attributes:
        kind: ``tmpfs`` or ``disk``.
        reason: one sentence for people: why here.
    """

    folder: Path
    kind: str
    reason: str


def choose_place(wanted: int, disk: Path, *, shared: Path | None = None) -> RamBacking:
    """Where ``wanted`` bytes of RAM files go: memory itself if they fit, else the disk.

    Args:
        disk: an existing folder on a disk, the place of last resort.
    """
    memory = shared or shared_memory()
    free = _free(memory)
    if free is not None:
        free -= promised(memory)
    if free is not None and free >= wanted + RESERVE:
        return RamBacking(memory, file_system(memory), f"{memory} has {size_text(free)} free")
    lack = "cannot be written" if free is None else f"has only {size_text(free)} free"
    return RamBacking(disk, "disk", f"{memory} {lack} of the {size_text(wanted + RESERVE)} wanted")


def promised(memory: Path) -> int:
    """Bytes that running machines of this user may still take: their RAM files are as long as their memory."""
    total = 0
    for path in memory.glob(f"orch-{os.getuid()}/ram-*/*.ram"):
        with suppress(FileNotFoundError):
            found = path.stat()
            total += max(0, found.st_size - found.st_blocks * 512)
    return total


def file_system(folder: Path) -> str:
    """``tmpfs`` when the folder's content is memory, else ``disk``."""
    best, kind = "", "disk"
    target = str(folder.resolve())
    for line in os.fsdecode(Path("/proc/self/mounts").read_bytes()).split("\n"):
        if line.count(" ") < 2:
            continue
        _, where, what, *_ = line.split(" ")
        where = unescaped(where)
        if (target == where or target.startswith(where.rstrip("/") + "/")) and len(where) >= len(best):
            best, kind = where, what
    return "tmpfs" if kind in ("tmpfs", "ramfs") else "disk"


def unescaped(field: str) -> str:
    r"""A path as /proc/mounts writes it: blank, tab, newline and backslash as octal numbers. Pure.

    >>> unescaped(r"/a\040b\134040")
    '/a b\\040'
    """
    return re.sub(r"\\([0-7]{3})", lambda found: chr(int(found[1], 8)), field)


def _free(folder: Path) -> int | None:
    if not os.access(folder, os.W_OK | os.X_OK):
        return None
    return shutil.disk_usage(folder).free


def extents(descriptor: int) -> Iterator[tuple[int, int]]:
    """(offset, length) of every part of an open file that holds data."""
    end = os.fstat(descriptor).st_size
    position = 0
    while position < end:
        try:
            start = os.lseek(descriptor, position, os.SEEK_DATA)
        except OSError as error:
            if error.errno == errno.ENXIO:  # nothing but a hole follows
                return
            raise
        position = os.lseek(descriptor, start, os.SEEK_HOLE)
        yield start, position - start


class Holes:
    """The holes of a file on tmpfs that machines map, kept while one of these reads all of it.

    Each page of a hole that is only read becomes a page of zeros: a memory of which a quarter was touched would
    take all of its size.
    """

    def __init__(self, descriptor: int, holes: Sequence[tuple[int, int]]) -> None:
        self._descriptor = descriptor
        self._holes = list(reversed(holes))  # (start, end), the first one last
        self._given = 0

    @classmethod
    def of(cls, path: Path) -> Holes | None:
        """Those of a file; None where reading fills none: not on tmpfs, or the file is gone."""
        if file_system(path.resolve().parent) != "tmpfs":
            return None
        try:
            descriptor = os.open(path, os.O_RDWR | os.O_CLOEXEC)
        except FileNotFoundError:
            return None
        parts, end = list(extents(descriptor)), os.fstat(descriptor).st_size
        ends = [0, *(start + length for start, length in parts)]
        starts = [*(start for start, _ in parts), end]
        return cls(descriptor, [(one, other) for one, other in zip(ends, starts, strict=True) if one < other])

    def give_back(self, passed: int) -> None:
        """Make holes again of those before the offset ``passed``, in steps."""
        if passed - self._given < HOLES_STEP:
            return
        self._given = passed
        while self._holes and self._holes[-1][0] < passed:
            start, end = self._holes.pop()
            if end > passed:
                self._holes.append((passed, end))
            _punch(self._descriptor, start, min(end, passed) - start)

    def close(self) -> None:
        """Give back all that is left."""
        while self._holes:
            start, end = self._holes.pop()
            _punch(self._descriptor, start, end - start)
        os.close(self._descriptor)


def _punch(descriptor: int, start: int, length: int) -> None:
    """Make a hole in a file. What its file system cannot do stays undone: the content is the same."""
    _LIBC.fallocate(descriptor, PUNCH_HOLE, ctypes.c_int64(start), ctypes.c_int64(length))


def copy_sparse(source: Path, target: Path, *, again: bool = False) -> int:
    """Copy a file with its holes, mode 0600; the bytes that hold data. Blocking: run it in a thread.

    Written from a mapping of the source: twice as fast on tmpfs as copy_file_range.

    Args:
        again: the target is an earlier copy of the same file, which has since got other
            data but no new holes. Its pages are there already, so this is far quicker.

    Raises:
        OSError: among others, no space left; the target is then removed.
    """
    flags = 0 if again else os.O_CREAT | os.O_EXCL
    descriptor = os.open(target, os.O_WRONLY | flags, 0o600)
    try:
        with source.open("rb") as read:
            size = os.fstat(read.fileno()).st_size
            os.ftruncate(descriptor, size)
            return sum(_copy(part, descriptor, start) for start, part in _parts(read.fileno(), size))
    except BaseException:
        target.unlink(missing_ok=True)
        raise
    finally:
        os.close(descriptor)


def _parts(descriptor: int, size: int) -> Iterator[tuple[int, memoryview]]:
    """The data of an open file in pieces of at most `BUFFER` bytes, each with its offset."""
    if size == 0:
        return
    with mmap.mmap(descriptor, 0, access=mmap.ACCESS_READ) as view, memoryview(view) as whole:
        for start, length in extents(descriptor):
            for position in range(start, start + length, BUFFER):
                with whole[position : min(position + BUFFER, start + length)] as part:
                    yield position, part


def _copy(part: memoryview, target: int, offset: int) -> int:
    done = 0
    while done < len(part):
        done += os.pwrite(target, part[done:], offset + done)
    return done


def touched(path: Path) -> int:
    """Bytes a sparse file really takes."""
    return path.stat().st_blocks * 512


def digest(path: Path) -> str:
    """A fingerprint of what a sparse file says. Blocking, about as fast as memory is read.

    A hole and zeros are the same: a machine that maps a file on tmpfs and reads a hole
    makes a page of zeros of it. Blocks are read and not mapped, which would do the same.
    It tells damage, not malice: whoever can write the file can read the secrets in it too.
    """
    state = xxhash.xxh3_128()
    with path.open("rb") as file:
        state.update(os.fstat(file.fileno()).st_size.to_bytes(8, "little"))
        for number, block in blocks(file.fileno()):
            state.update(number.to_bytes(8, "little"))
            state.update(block)
    return state.hexdigest()


def blocks(descriptor: int) -> Iterator[tuple[int, memoryview]]:
    """The blocks of an open file that are not all zeros, each with its number; one is valid until the next is taken."""
    buffer, zeros, last = bytearray(BLOCK), bytes(BLOCK), -1
    for start, length in extents(descriptor):
        for number in range(max(start // BLOCK, last + 1), -(-(start + length) // BLOCK)):
            got = os.preadv(descriptor, [buffer], number * BLOCK)
            block = memoryview(buffer)[:got]
            if block != zeros[:got]:
                yield number, block
            last = number
