"""Reading a packed state: one way through the file, every block compared with its digest before it is written.

Members are read by their plain headers only, so that no extension of the format of tar is obeyed; a block is never
longer than `BLOCK`, whatever it says when it is unpacked.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import tarfile
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import zstandard

from orchestrator.snapshots.memory import BLOCK
from orchestrator.snapshots.pack import BLOBS, MANIFEST_LIMIT, MANIFEST_MEMBER, Pack, PackedFile, damaged, from_json
from orchestrator.snapshots.pack_write import BATCH, Progress
from orchestrator.tasks import finish_despite_cancel
from orchestrator.threads import in_thread

PACKED_LIMIT = BLOCK + (BLOCK >> 7) + 512  # bytes of a compressed block: zstd makes none longer


@dataclass
class NewFiles:
    """Where blocks are written.

    Attributes:
        files: the files to make, with what they are.
        private: those that only this user may read.
    """

    files: dict[Path, PackedFile] = field(default_factory=dict)
    private: set[Path] = field(default_factory=set)

    def add(self, folder: Path, files: Mapping[str, PackedFile], *, private: bool) -> None:
        """These files, by their paths in a folder."""
        added = {folder / name: one for name, one in files.items()}
        self.files |= added
        self.private |= set(added) if private else set()

    def open_new(self, stack: ExitStack, path: Path) -> int:
        """Make one of them, empty and as long as it will be; closed by the stack."""
        path.parent.mkdir(parents=True, exist_ok=True)
        mode = 0o600 if path in self.private else 0o777 if self.files[path].executable else 0o666
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
        stack.callback(os.close, descriptor)
        os.ftruncate(descriptor, self.files[path].size)
        return descriptor

    def by_digest(self, opened: Mapping[Path, int]) -> dict[str, list[tuple[int, int, int]]]:
        """Digest → all its places: an open file, offset and length."""
        found: dict[str, list[tuple[int, int, int]]] = {}
        for path, one in self.files.items():
            for number, digest in enumerate(one.blocks):
                if digest:
                    found.setdefault(digest, []).append((opened[path], number * BLOCK, one.bytes_of(number)))
        return found


class PackReader:
    """A packed state that is read from its beginning to its end.

    Args:
        where: its name, for messages.
    """

    def __init__(self, source: BinaryIO, where: str) -> None:
        self._source = source
        self._where = where
        self._last: list[str] = []  # the blocks that were written last; empty at the end

    def manifest(self) -> Pack:
        """The first member; it comes before `unpack`.

        Raises:
            SnapshotError: it is no packed state, or is of another format.
            OSError: it cannot be read.
        """
        found = self._member(MANIFEST_LIMIT)
        if found is None or found[0] != MANIFEST_MEMBER:
            raise damaged(self._where, f"its first member is not {MANIFEST_MEMBER}")
        return from_json(found[1], self._where)

    async def unpack(self, pack: Pack, places: NewFiles, progress: Progress) -> None:
        """Make the files of ``places``; the rest of the file is read too.

        Raises:
            SnapshotError: it is damaged, or not complete.
            OSError: it cannot be read, or there is no room.
        """
        known = {digest: one.bytes_of(number) for one in pack.files() for number, digest in enumerate(one.blocks)}
        known.pop("", None)
        total, done = sum(known.values()), 0
        with ExitStack() as stack:
            opened = {path: places.open_new(stack, path) for path in places.files}
            wanted = places.by_digest(opened)
            while True:
                # No thread may write when the files are closed: their numbers could be those of others then.
                await finish_despite_cancel(self._next(known, wanted))
                if not self._last:
                    break
                for digest in self._last:
                    wanted.pop(digest, None)
                    done += known.pop(digest)
                progress(done, total)
        if known:
            raise damaged(self._where, f"it ends before its end: {len(known)} blocks are missing")

    async def _next(self, known: Mapping[str, int], wanted: Mapping[str, Sequence[tuple[int, int, int]]]) -> None:
        """Read the next members and write them to their places; it ends when no thread writes any more."""
        batch = await in_thread(self._batch, known)
        work = (in_thread(self._place, half, wanted) for half in (batch[::2], batch[1::2]))
        for result in await asyncio.gather(*work, return_exceptions=True):
            if isinstance(result, BaseException):
                raise result
        self._last = [digest for digest, _ in batch]

    def _batch(self, known: Mapping[str, int]) -> list[tuple[str, bytes]]:
        """The next members; none at the end."""
        found: dict[str, bytes] = {}
        while len(found) < BATCH:
            member = self._member(PACKED_LIMIT)
            if member is None:
                break
            digest = member[0].removeprefix(BLOBS)
            if digest not in known or digest in found or not member[0].startswith(BLOBS):
                raise damaged(self._where, f"its member {member[0]!r} is not announced")
            found[digest] = member[1]
        return list(found.items())

    def _place(
        self, members: Sequence[tuple[str, bytes]], wanted: Mapping[str, Sequence[tuple[int, int, int]]]
    ) -> None:
        unpacker = zstandard.ZstdDecompressor()
        for digest, packed in members:
            block = self._block(unpacker, digest, packed)
            for descriptor, offset, length in wanted.get(digest, ()):
                if length != len(block):
                    raise damaged(self._where, f"block {digest} has {len(block)} bytes, not {length}")
                _write(descriptor, block, offset)

    def _block(self, unpacker: zstandard.ZstdDecompressor, digest: str, packed: bytes) -> bytes:
        try:
            # What it says of its length is what is taken for it: so that has to be short.
            if not 0 < zstandard.frame_content_size(packed) <= BLOCK:
                raise damaged(self._where, f"block {digest} does not say its length, or is too long")
            block = unpacker.decompress(packed, max_output_size=BLOCK)
        except zstandard.ZstdError as error:
            raise damaged(self._where, f"block {digest} cannot be unpacked: {error}") from error
        if hashlib.sha256(block).hexdigest() != digest:
            raise damaged(self._where, f"block {digest} is not what was exported")
        return block

    def _member(self, limit: int) -> tuple[str, bytes] | None:
        """Name and content of the next member; None at the end."""
        head = self._read(tarfile.BLOCKSIZE)
        if not head.strip(b"\0"):
            return None
        try:
            info = tarfile.TarInfo.frombuf(head, "utf-8", "surrogateescape")
        except tarfile.HeaderError as error:
            raise damaged(self._where, f"a header of tar is wrong: {error}") from error
        if info.type != tarfile.REGTYPE or not 0 <= info.size <= limit:
            raise damaged(self._where, f"its member {info.name!r} is not a plain file, or too long")
        content = self._read(info.size)
        self._read(-info.size % tarfile.BLOCKSIZE)
        return info.name, content

    def _read(self, size: int) -> bytes:
        content = self._source.read(size)
        if len(content) != size:
            raise damaged(self._where, "it ends before its end")
        return content


def _write(descriptor: int, block: bytes, offset: int) -> None:
    rest = memoryview(block)
    while rest:
        done = os.pwrite(descriptor, rest, offset)
        rest, offset = rest[done:], offset + done
