"""A file or folder of this host as entries.

What is named is followed, what lies in it is not: as ``cp -R`` does. What
cannot be read is left out by name, and the rest goes on.
"""

from __future__ import annotations

import errno
import os
import stat
from collections.abc import Callable, Iterator
from contextlib import suppress

from orchestrator.errors import UsageError
from orchestrator.guest.copy_entries import BLOCK, Entry, Kind, Tally, reason, shown

MOST_EXTENTS = 50_000  # a file with more pieces is sent whole
SMALL = 1 << 20  # files of /proc and /sys say a small size that means nothing; their content is read to learn it
MOST_UNTOLD = 64 << 20  # bytes of such a file
SPECIAL = {stat.S_IFSOCK: "a socket", stat.S_IFIFO: "a named pipe", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


def look_at(source: str) -> os.stat_result:
    """What a source is, links followed.

    Raises:
        UsageError: it is nothing that can be copied.
    """
    try:
        found = os.stat(source)  # noqa: PTH116 - a Path would lose the slash at the end, which asks for a folder
    except (OSError, ValueError) as error:
        with suppress(OSError, ValueError):
            text = os.readlink(source)  # noqa: PTH115
            raise UsageError(f"{shown(source)} is a link that leads nowhere", why=shown(text)) from error
        why = reason(error) if isinstance(error, OSError) else str(error)
        raise UsageError(f"{shown(source)} does not exist", why=why) from error
    if not (stat.S_ISREG(found.st_mode) or stat.S_ISDIR(found.st_mode)):
        raise UsageError(
            f"{shown(source)} is {kind_of(found.st_mode)}, not a file or folder",
            hint="orchestrator exec MACHINE -- sh -c 'cat > /path' takes what is piped into it",
        )
    return found


def kind_of(mode: int) -> str:
    return SPECIAL.get(stat.S_IFMT(mode), "something of no known kind")


def content_size(source: str) -> int:
    """Bytes that a walk will read, about: what changes meanwhile, and what is refused, is not known yet."""
    total, pending = 0, [source]
    with suppress(OSError):
        found = os.stat(source)  # noqa: PTH116
        if stat.S_ISREG(found.st_mode):
            return min(found.st_size, found.st_blocks * 512)
    while pending:
        with suppress(OSError), os.scandir(pending.pop()) as entries:
            for each in entries:
                with suppress(OSError):
                    if each.is_dir(follow_symlinks=False):
                        pending.append(each.path)
                    elif each.is_file(follow_symlinks=False):
                        info = each.stat(follow_symlinks=False)
                        total += min(info.st_size, info.st_blocks * 512)
    return total


def folders(source: str, skip: frozenset[str] = frozenset()) -> Iterator[bytes]:
    """The folders below a folder, as ``find -print0`` would name them."""
    for base, names, _ in os.walk(source):
        names[:] = [name for name in names if name not in (_at_top(skip) if base == source else skip)]
        inner = os.path.relpath(base, source)
        if inner != ".":
            yield os.fsencode(f"./{inner}") + b"\0"


def walk(source: str, tally: Tally, *, skip: frozenset[str] = frozenset()) -> Iterator[Entry]:
    """The entries of a file or folder, each folder before what is in it, in the order of names.

    Args:
        skip: names of files and folders that are passed over, at any depth; with a slash before it, at the top only.

    Raises:
        UsageError: the source itself cannot be read; a file alone, not to its end.
    """
    found = look_at(source)
    try:
        if stat.S_ISREG(found.st_mode):
            yield from _file(source, (), found, tally, {}, follow=True)
            return
        names = _names(source, _at_top(skip))
    except OSError as error:
        raise UsageError(f"{shown(source)} cannot be read", why=reason(error)) from error
    links: dict[tuple[int, int], tuple[str, ...]] = {}
    yield _folder((), found)
    stack: list[tuple[tuple[str, ...], Iterator[str]]] = [((), iter(names))]
    while stack:
        above, rest = stack[-1]
        name = next(rest, None)
        if name is None:
            stack.pop()
            continue
        path = (*above, name)
        place = os.path.join(source, *path)  # noqa: PTH118 - names are any bytes, and many
        try:
            info = os.lstat(place)
            if stat.S_ISDIR(info.st_mode):
                names = _names(place, skip)
                yield _folder(path, info)
                stack.append((path, iter(names)))
            elif stat.S_ISLNK(info.st_mode):
                text = os.readlink(place)  # noqa: PTH115
                yield Entry(path, Kind.SYMLINK, 0o777, info.st_mtime_ns, link=text)
            elif stat.S_ISREG(info.st_mode):
                yield from _file(place, path, info, tally, links)
            else:
                tally.leave(path, kind_of(info.st_mode))
        except OSError as error:
            tally.leave(path, reason(error))


def _at_top(skip: frozenset[str]) -> frozenset[str]:
    return skip | {name[1:] for name in skip if name.startswith("/")}


def _names(folder: str, skip: frozenset[str]) -> list[str]:
    return sorted(name for name in os.listdir(folder) if name not in skip)  # noqa: PTH208


def _folder(path: tuple[str, ...], info: os.stat_result) -> Entry:
    return Entry(path, Kind.FOLDER, stat.S_IMODE(info.st_mode) & 0o1777, info.st_mtime_ns)


def _file(
    place: str,
    path: tuple[str, ...],
    info: os.stat_result,
    tally: Tally,
    links: dict[tuple[int, int], tuple[str, ...]],
    *,
    follow: bool = False,
) -> Iterator[Entry]:
    known = links.get((info.st_dev, info.st_ino))
    if known is not None:
        yield Entry(path, Kind.HARD_LINK, same=known)
        return
    # Not to be held up by a pipe, nor led elsewhere by a link, that took the file's place since.
    descriptor = os.open(place, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | (0 if follow else os.O_NOFOLLOW))
    try:
        info = os.fstat(descriptor)
        if not stat.S_ISREG(info.st_mode):
            tally.leave(path, kind_of(info.st_mode))
            return
        size, extents, read = _content(descriptor, info)
        if info.st_nlink > 1:
            links[info.st_dev, info.st_ino] = path
        mode = stat.S_IMODE(info.st_mode) & 0o777
        whole = _whole(read, sum(length for _, length in extents), place, path, tally)
        yield Entry(path, Kind.FILE, mode, info.st_mtime_ns, size, extents=extents, read=whole)
    finally:
        os.close(descriptor)


Content = tuple[int, tuple[tuple[int, int], ...], Callable[[int], bytes]]


def _content(descriptor: int, info: os.stat_result) -> Content:
    """Size, extents and a function that reads them one after another."""
    if info.st_blocks == 0 and info.st_size <= SMALL:
        data = bytearray()
        while block := os.read(descriptor, BLOCK):
            data += block
            if len(data) > MOST_UNTOLD:
                raise OSError(errno.EFBIG, os.strerror(errno.EFBIG))
        rest = iter([bytes(data)])
        size = max(len(data), info.st_size if not any(data) else 0)
        return size, ((0, len(data)),) if data else (), lambda _: next(rest, b"")
    extents = _extents(descriptor, info)
    position = {"extent": 0, "done": 0}

    def read(size: int) -> bytes:
        while position["extent"] < len(extents):
            offset, length = extents[position["extent"]]
            left = length - position["done"]
            if left:
                data = os.pread(descriptor, min(size, left), offset + position["done"])
                position["done"] += len(data)
                return data
            position["extent"], position["done"] = position["extent"] + 1, 0
        return b""

    return info.st_size, extents, read


def _extents(descriptor: int, info: os.stat_result) -> tuple[tuple[int, int], ...]:
    size = info.st_size
    whole = ((0, size),) if size else ()
    if info.st_blocks * 512 >= size:
        return whole
    found: list[tuple[int, int]] = []
    at = 0
    try:
        while at < size:
            try:
                start = os.lseek(descriptor, at, os.SEEK_DATA)
            except OSError as error:
                if error.errno == errno.ENXIO:  # only a hole is left
                    break
                raise
            at = min(os.lseek(descriptor, start, os.SEEK_HOLE), size)
            if start < at:
                found.append((start, at - start))
            if len(found) > MOST_EXTENTS:
                return whole
    except OSError:  # a file system that knows no holes
        return whole
    return tuple(found)


def _whole(
    read: Callable[[int], bytes], length: int, place: str, path: tuple[str, ...], tally: Tally
) -> Callable[[int], bytes]:
    """As many bytes as were promised, in any case: the archive has said how many come.

    In a tree, a file that became shorter, or fails, is named, and zeros stand for what could not be read. A file alone
    is no copy then.
    """
    left = length
    broken = False

    def bounded(size: int) -> bytes:
        nonlocal left, broken
        wanted = min(size, left)
        data = b""
        if wanted and not broken:
            try:
                data = read(wanted)
                why = "became shorter while it was read"
            except OSError as error:
                why = reason(error)
            if not data:
                if not path:
                    raise UsageError(f"{shown(place)} cannot be read to its end", why=why)
                broken = True
                tally.leave(path, f"{why}; zeros replace the last {left} bytes")
        if broken:
            data = bytes(wanted)
        left -= len(data)
        return data

    return bounded
