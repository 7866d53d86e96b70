"""One owner and plain modes for everything on a small ext4 file system, written into its inodes.

mke2fs copies owners and modes of the host. debugfs could change them one by one, but only by names, and names may have
every character. The file system is one of ours: no checksums, no journal, mounted by nobody.
"""

from __future__ import annotations

import mmap
import stat
import struct
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import ImageError

# https://docs.kernel.org/filesystems/ext4/: places in the superblock, in a group descriptor, in an inode.
SUPERBLOCK, MAGIC = 1024, 0xEF53
ROOT_INODE, FIRST_FREE = 2, 11  # between them are the file system's own
INCOMPATIBLE_64BIT = 0x80
CHECKSUMS = 0x10 | 0x400  # of groups, of all metadata


@dataclass(frozen=True, slots=True)
class Owner:
    """Numbers of a user and a group of a guest."""

    user: int
    group: int


def own_everything(disk: Path, owner: Owner) -> None:
    """Give every file, link and folder of an ext4 file system to one owner, with mode 0755 or 0644.

    Raises:
        ImageError: the file holds no such file system.
        OSError: it cannot be written.
    """
    with disk.open("r+b") as file, mmap.mmap(file.fileno(), 0) as data:
        for place in _inodes(data, disk):
            mode, links = struct.unpack_from("<H", data, place)[0], struct.unpack_from("<H", data, place + 26)[0]
            if not mode or not links:
                continue
            struct.pack_into("<HH", data, place, plain_mode(mode), owner.user & 0xFFFF)
            struct.pack_into("<H", data, place + 24, owner.group & 0xFFFF)
            struct.pack_into("<HH", data, place + 120, owner.user >> 16, owner.group >> 16)


def plain_mode(mode: int) -> int:
    """The mode in the guest of a file that has this mode on the host, with the bits of its kind. Pure.

    >>> [f"{plain_mode(one):o}" for one in (0o100600, 0o104771, 0o40700, 0o120777)]
    ['100644', '100755', '40755', '120777']
    """
    if stat.S_ISLNK(mode):
        return mode
    executable = stat.S_ISDIR(mode) or mode & stat.S_IXUSR
    return stat.S_IFMT(mode) | (0o755 if executable else 0o644)


def _inodes(data: mmap.mmap, disk: Path) -> Iterator[int]:
    """Where each inode is that may be a file's, in bytes."""
    if len(data) < 2 * SUPERBLOCK or struct.unpack_from("<H", data, SUPERBLOCK + 56)[0] != MAGIC:
        raise ImageError(f"{disk} is no ext4 file system")
    (count,) = struct.unpack_from("<I", data, SUPERBLOCK)
    first_data, log_block = struct.unpack_from("<II", data, SUPERBLOCK + 20)
    (per_group,) = struct.unpack_from("<I", data, SUPERBLOCK + 40)
    (size,) = struct.unpack_from("<H", data, SUPERBLOCK + 88)
    incompatible, read_only = struct.unpack_from("<II", data, SUPERBLOCK + 96)
    if read_only & CHECKSUMS:
        raise ImageError(f"{disk} has checksums of its inodes, which would be wrong")
    block = 1024 << log_block
    wide = struct.unpack_from("<H", data, SUPERBLOCK + 254)[0] if incompatible & INCOMPATIBLE_64BIT else 32
    descriptors = (first_data + 1) * block
    for number in (ROOT_INODE, *range(FIRST_FREE, count + 1)):
        group, index = divmod(number - 1, per_group)
        place = descriptors + group * wide
        table = struct.unpack_from("<I", data, place + 8)[0]
        if wide > 32:
            table |= struct.unpack_from("<I", data, place + 40)[0] << 32
        yield table * block + index * size
