"""Writing a packed state: files are read twice, once for their digests, which come first, and once to be compressed."""

from __future__ import annotations

import hashlib
import os
import tarfile
from collections.abc import Callable, Iterator, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, field
from pathlib import Path
from typing import BinaryIO

import zstandard

from orchestrator.snapshots.memory import BLOCK, blocks
from orchestrator.snapshots.pack import BLOBS, MANIFEST_MEMBER, PackedFile
from orchestrator.tasks import run_all
from orchestrator.threads import in_thread

LEVEL = 3  # of zstd
BATCH = 64  # blocks that are compressed at once, in two threads
EXECUTABLE = 0o100

Progress = Callable[[int, int], None]  # bytes done, bytes in all


@dataclass
class Blobs:
    """Where each block is found, in the order in which they were first seen.

    Attributes:
        places: digest → the file, its offset and length.
    """

    places: dict[str, tuple[Path, int, int]] = field(default_factory=dict)

    def scan(self, path: Path) -> PackedFile:
        """Read a file; its blocks are known then. Blocking.

        Raises:
            OSError: it cannot be read.
        """
        with path.open("rb") as file:
            facts = os.fstat(file.fileno())
            digests = [""] * -(-facts.st_size // BLOCK)
            for number, block in blocks(file.fileno()):
                digests[number] = digest = hashlib.sha256(block).hexdigest()
                self.places.setdefault(digest, (path, number * BLOCK, len(block)))
        return PackedFile(facts.st_size, tuple(digests), bool(facts.st_mode & EXECUTABLE))

    @property
    def bytes(self) -> int:
        """Of all blocks, each once."""
        return sum(length for _, _, length in self.places.values())


async def write_pack(target: BinaryIO, manifest: bytes, blobs: Blobs, progress: Progress) -> None:
    """Write all members.

    Raises:
        OSError: a file changed or cannot be read, or there is no room.
    """
    _member(target, MANIFEST_MEMBER, manifest)
    done, total = 0, blobs.bytes
    with ExitStack() as stack:
        opened: dict[Path, int] = {}
        for batch in _batches(blobs):
            for path, _, _ in (blobs.places[digest] for digest in batch):
                if path not in opened:
                    opened[path] = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
                    stack.callback(os.close, opened[path])
            parts = [
                [(digest, *_place(blobs, opened, digest)) for digest in half] for half in (batch[::2], batch[1::2])
            ]
            packed = dict(
                pair for part in await run_all(*(in_thread(_compress, part) for part in parts)) for pair in part
            )
            await in_thread(_write_all, target, [(digest, packed[digest]) for digest in batch])
            done += sum(blobs.places[digest][2] for digest in batch)
            progress(done, total)
    target.write(bytes(2 * tarfile.BLOCKSIZE))


def _batches(blobs: Blobs) -> Iterator[list[str]]:
    digests = list(blobs.places)
    for start in range(0, len(digests), BATCH):
        yield digests[start : start + BATCH]


def _place(blobs: Blobs, opened: dict[Path, int], digest: str) -> tuple[int, int, int]:
    path, offset, length = blobs.places[digest]
    return opened[path], offset, length


def _compress(part: Sequence[tuple[str, int, int, int]]) -> list[tuple[str, bytes]]:
    compressor = zstandard.ZstdCompressor(level=LEVEL)
    found = []
    for digest, descriptor, offset, length in part:
        block = os.pread(descriptor, length, offset)
        if hashlib.sha256(block).hexdigest() != digest:
            raise OSError("a file of the state changed while it was read")
        found.append((digest, compressor.compress(block)))
    return found


def _write_all(target: BinaryIO, members: Sequence[tuple[str, bytes]]) -> None:
    for digest, content in members:
        _member(target, f"{BLOBS}{digest}", content)


def _member(target: BinaryIO, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size, info.mode = len(content), 0o600
    target.write(info.tobuf(tarfile.USTAR_FORMAT))
    target.write(content)
    target.write(bytes(-len(content) % tarfile.BLOCKSIZE))
