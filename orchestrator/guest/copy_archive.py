"""Entries as a tar stream, and back: constant memory, however much is copied.

The headers are the standard library's work. What it would do with the content
is done here: it knows neither holes that are sent as holes, nor an archive
whose sender may claim anything.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterable, Iterator
from decimal import Decimal, InvalidOperation
from pathlib import PurePosixPath
from typing import cast

from orchestrator.errors import GuestCommandError
from orchestrator.guest.copy_entries import BLOCK, Entry, Kind, Tally

ONLY = "x"  # the name of a file that is copied alone
HEADER_AT_ONCE = 16 << 10  # bytes of one extended header: names of 4096 bytes, three times, and some numbers
HEADER_LIMIT = 2 << 20  # bytes of all headers of one entry; a map of a file's holes is among them
TRAILER_LIMIT = 2 << 20  # bytes after the end of the archive
LATEST = 1 << 33  # seconds: what a time may be
ENCODING = {"encoding": "utf-8", "errors": "surrogateescape"}
SKIPPED = {
    tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device",
    tarfile.FIFOTYPE: "a named pipe",
}


class DamagedArchiveError(Exception):
    """The stream ends too early, or is none."""


# ---------------------------------------------------------------------------- entries → tar


def pack(entries: Iterable[Entry], tally: Tally) -> Iterator[bytes]:
    """The bytes of a tar; small pieces are put together, so that a tree of small files is no flood of packets."""
    gathered = bytearray()
    for entry in entries:
        gathered += header(entry)
        for block in _content(entry):
            tally.moving(len(block))
            if len(gathered) + len(block) <= BLOCK:
                gathered += block
                continue
            if gathered:
                yield bytes(gathered)
                gathered.clear()
            yield block
        gathered += bytes(-_stored(entry) % tarfile.BLOCKSIZE)
        tally.done(entry)
        if len(gathered) >= BLOCK:
            yield bytes(gathered)
            gathered.clear()
    yield bytes(gathered) + bytes(2 * tarfile.BLOCKSIZE)


def header(entry: Entry) -> bytes:
    """What stands in the tar before the content."""
    info = tarfile.TarInfo("/".join((".", *entry.path)) if entry.path or entry.kind is Kind.FOLDER else ONLY)
    info.mode, info.mtime = entry.mode, entry.mtime // 10**9
    extra = {}
    if entry.mtime % 10**9:
        extra["mtime"] = f"{entry.mtime / Decimal(10**9):f}"
    if entry.kind is Kind.FOLDER:
        info.type = tarfile.DIRTYPE
    elif entry.kind is Kind.SYMLINK:
        info.type, info.linkname = tarfile.SYMTYPE, entry.link
    elif entry.kind is Kind.HARD_LINK:
        info.type, info.linkname = tarfile.LNKTYPE, "/".join((".", *entry.same))
    else:
        info.size = _stored(entry)
        if _has_holes(entry):  # version 1.0 of GNU's way: the map stands before the content
            extra |= {
                "GNU.sparse.major": "1",
                "GNU.sparse.minor": "0",
                "GNU.sparse.name": info.name,
                "GNU.sparse.realsize": str(entry.size),
            }
            info.name = "./GNUSparseFile.0/" + ONLY
    info.pax_headers = extra
    return info.tobuf(tarfile.PAX_FORMAT, **ENCODING) + _map(entry)


def _has_holes(entry: Entry) -> bool:
    return entry.kind is Kind.FILE and entry.stored != entry.size


def _map(entry: Entry) -> bytes:
    if not _has_holes(entry):
        return b""
    pieces = [*entry.extents]
    if not pieces or sum(pieces[-1]) < entry.size:
        pieces.append((entry.size, 0))
    text = "".join(f"{number}\n" for number in (len(pieces), *(n for piece in pieces for n in piece))).encode()
    return text + bytes(-len(text) % tarfile.BLOCKSIZE)


def _stored(entry: Entry) -> int:
    return entry.stored + len(_map(entry))


def _content(entry: Entry) -> Iterator[bytes]:
    left = entry.stored
    while left:
        block = entry.read(min(left, BLOCK))
        if not block:
            raise DamagedArchiveError("the content ends too early")
        left -= len(block)
        yield block


# ---------------------------------------------------------------------------- tar → entries


class _Forward:
    """Chunks of bytes as the file that `tarfile` reads headers from; it goes forward only, and not without end."""

    def __init__(self, take: Callable[[], bytes]) -> None:
        self._take = take
        self._chunk = memoryview(b"")
        self._position = 0
        self._room = HEADER_LIMIT

    def tell(self) -> int:
        return self._position

    def seek(self, position: int) -> None:
        if position < self._position:
            raise DamagedArchiveError("the archive points backwards")
        while self._position < position:
            if not self.some(position - self._position):
                raise DamagedArchiveError("the archive ends too early")

    def begin(self) -> None:
        """The next entry's headers begin."""
        self._room = HEADER_LIMIT

    def read(self, size: int) -> bytes:
        """Exactly so many bytes of a header, fewer at the end."""
        self._room -= size
        if not 0 <= size <= HEADER_AT_ONCE or self._room < 0:
            raise DamagedArchiveError("a header of the archive is too long")
        data = bytearray()
        while len(data) < size and (piece := self.some(size - len(data))):
            data += piece
        return bytes(data)

    def some(self, size: int) -> bytes:
        """At most so many of the next bytes; none at the end."""
        if not self._chunk:
            self._chunk = memoryview(self._take())
        piece, self._chunk = self._chunk[:size], self._chunk[size:]
        self._position += len(piece)
        return bytes(piece)


def parse(take: Callable[[], bytes], tally: Tally, *, alone: bool = False) -> Iterator[Entry]:
    """The entries of a tar that a guest sends.

    Args:
        take: gives the next chunk, an empty one at the end.
        alone: it holds one file and nothing else, whose name does not matter.

    Raises:
        DamagedArchiveError: it is no whole archive.
        GuestCommandError: a name leads elsewhere.
    """
    stream = _Forward(take)
    try:
        yield from _parse(stream, tally, alone)
    # A guest may send anything: pieces of an archive, numbers out of any range.
    except (tarfile.TarError, EOFError, ValueError, OverflowError, IndexError, RecursionError) as error:
        raise DamagedArchiveError(f"{type(error).__name__}: {error}") from error
    rest = 0
    while piece := stream.some(BLOCK):
        rest += len(piece)
        if rest > TRAILER_LIMIT:
            raise DamagedArchiveError("the archive does not end at its end")


def in_order(entries: Iterable[Entry]) -> Iterator[Entry]:
    """The same entries, if each lies in a folder that came before it.

    A tar that unpacks them then makes every folder itself, and follows no link that lies there already.

    Raises:
        GuestCommandError: one does not.
    """
    way: tuple[str, ...] = ()
    for entry in entries:
        above = entry.path[:-1]
        if way[: len(above)] != above:
            raise GuestCommandError(f"the guest sent the path {'/'.join(entry.path)!r} without its folder")
        way = entry.path if entry.kind is Kind.FOLDER else above
        yield entry


def _parse(stream: _Forward, tally: Tally, alone: bool) -> Iterator[Entry]:
    # It reads the first headers at once; the others are asked for one by one, to know a broken one from the end.
    tar = tarfile.TarFile(fileobj=cast("None", stream), **ENCODING)  # type: ignore[arg-type]
    member = tar.next()
    while member is not None:
        entry = _entry(member, stream, tally, alone)
        if entry is not None:
            yield entry
        stream.seek(tar.offset)
        stream.begin()
        try:
            member = tarfile.TarInfo.fromtarfile(tar)
        except tarfile.HeaderError as error:
            if type(error).__name__ == "EOFHeaderError":  # a block of zeros: the end
                return
            raise


def _entry(member: tarfile.TarInfo, stream: _Forward, tally: Tally, alone: bool) -> Entry | None:
    path = () if alone else inner_path(member.name)
    mode, mtime = member.mode & 0o777, _nanoseconds(member)
    if alone and not member.isreg():
        raise GuestCommandError("the guest sent something else than the file that was asked for")
    if member.isreg():
        holes = cast("list[tuple[int, int]] | None", member.sparse)
        extents = _checked([(0, member.size)] if holes is None else holes, member.size)
        left = sum(length for _, length in extents)

        def read(size: int) -> bytes:
            nonlocal left
            data = stream.some(min(size, left))
            left -= len(data)
            return data

        return Entry(path, Kind.FILE, mode, mtime, member.size, extents=extents, read=read)
    if member.isdir():
        return Entry(path, Kind.FOLDER, member.mode & 0o1777, mtime)
    if member.issym():
        return Entry(path, Kind.SYMLINK, 0o777, mtime, link=member.linkname)
    if member.islnk():
        return Entry(path, Kind.HARD_LINK, same=inner_path(member.linkname))
    tally.leave(path, SKIPPED.get(member.type, "something of no known kind"))
    return None


def _checked(extents: list[tuple[int, int]], size: int) -> tuple[tuple[int, int], ...]:
    """The pieces of content in order, none beyond the file's size."""
    at = 0
    for offset, length in extents:
        if length < 0 or offset < at or offset + length > size:
            raise DamagedArchiveError("the map of a file's holes is wrong")
        at = offset + length
    return tuple((offset, length) for offset, length in extents if length)


def inner_path(name: str) -> tuple[str, ...]:
    """A name in the archive, as what is below its top.

    Raises:
        GuestCommandError: it leads elsewhere.
    """
    parts = PurePosixPath(name).parts
    if name.startswith("/") or ".." in parts or "\0" in name or not name:
        raise GuestCommandError(f"the guest sent the path {name!r}, which leads outside")
    return parts


def _nanoseconds(member: tarfile.TarInfo) -> int:
    text = member.pax_headers.get("mtime")
    try:
        value = Decimal(text if text is not None else int(member.mtime))
    except (InvalidOperation, OverflowError, ValueError):
        return 0
    return int(value * 10**9) if value.is_finite() and abs(value) < LATEST else 0
