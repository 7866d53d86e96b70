"""What a disk file is, told by its first bytes: its format, and which firmware starts it. Pure."""

from __future__ import annotations

import re
import struct
from pathlib import Path
from typing import Final
from uuid import UUID

from orchestrator.errors import ImageError

SECTOR: Final = 512
HEAD: Final = 1 << 20  # bytes in which a partition table is
QCOW2: Final = b"QFI\xfb"
# How files of other formats begin; QEMU would take each for a raw disk that does not boot.
OTHER_FORMATS: Final = {
    b"KDMV": "vmdk",
    b"vhdxfile": "vhdx",
    b"conectix": "vpc",
    b"\x1f\x8b": "gzip",
    b"\xfd7zXZ": "xz",
    b"\x28\xb5\x2f\xfd": "zstd",
}
UNPACK: Final = {"gzip": "gunzip -k", "xz": "unxz -k", "zstd": "unzstd"}
EXTERNAL_DATA: Final = 1 << 2  # of qcow2's incompatible features
BIOS_BOOT: Final = UUID("21686148-6449-6e6f-744e-656564454649")
EFI_SYSTEM: Final = UUID("c12a7328-f81f-11d2-ba4b-00a0c93ec93b")
PROTECTIVE, EFI_IN_MBR = 0xEE, 0xEF  # types of partitions of an MBR


def format_of(disk: Path, head: bytes) -> str:
    """``raw`` or ``qcow2``, by the content.

    A qcow2 that reads another file of the host is refused: whoever made the disk would choose which one.

    Raises:
        ImageError: another format, or a disk that needs another file or a password.
    """
    for mark, name in OTHER_FORMATS.items():
        if head.startswith(mark):
            raise _refused(disk, name)
    if not head.startswith(QCOW2):
        return "raw"
    backing, _, _, _, encrypted = struct.unpack(">QIIQI", head[8:36].ljust(28, b"\0"))
    (version,) = struct.unpack(">I", head[4:8].ljust(4, b"\0"))
    (features,) = struct.unpack(">Q", head[72:80].ljust(8, b"\0")) if version >= 3 else (0,)
    if backing or features & EXTERNAL_DATA:
        target = re.sub(r"\.[a-z0-9]+$", "", disk.name) + ".whole.qcow2"
        raise ImageError(
            f"the disk {disk} needs another file",
            why="its qcow2 header names a backing or data file, which may not be there tomorrow",
            hint=f"qemu-img convert -O qcow2 {disk.name} {target}",
        )
    if encrypted:
        raise ImageError(f"the disk {disk} is encrypted", hint=f"qemu-img convert --help: decrypt {disk.name} first")
    return "qcow2"


def _refused(disk: Path, name: str) -> ImageError:
    if name in UNPACK:
        return ImageError(
            f"{disk} is no disk but a packed file",
            why=f"it begins like a file of the format {name}",
            hint=f"{UNPACK[name]} {disk.name}",
        )
    target = re.sub(r"\.[a-z0-9]+$", "", disk.name) + ".qcow2"
    return ImageError(
        f"{disk} is neither a raw nor a qcow2 disk",
        why=f"it begins like a disk of the format {name}",
        hint=f"qemu-img convert -O qcow2 {disk.name} {target}",
    )


def firmware_of(head: bytes) -> str:
    """``bios`` or ``uefi``: what starts a disk of which these are the first bytes. Pure.

    A disk that both start is started by the BIOS, which is faster. A disk that has an EFI system partition, and no code
    in its boot sector, can be started by UEFI only.
    """
    boot_code = any(head[:440])
    types = partition_types(head)
    if EFI_SYSTEM not in types:
        return "bios"
    # GRUB on a GPT disk needs a partition of its own; other boot sectors there only say that they are not the way.
    return "bios" if boot_code and BIOS_BOOT in types else "uefi"


def partition_types(head: bytes) -> frozenset[UUID]:
    """The types of a disk's partitions: of a GPT, or of an MBR as far as they are those of a GPT too. Pure."""
    table = head[446:510]
    kinds = {table[offset + 4] for offset in range(0, len(table) - 15, 16)}
    if head[510:512] != b"\x55\xaa":
        return frozenset()
    if PROTECTIVE not in kinds:
        return frozenset({EFI_SYSTEM} if EFI_IN_MBR in kinds else ())
    header = head[SECTOR : 2 * SECTOR]
    if not header.startswith(b"EFI PART"):
        return frozenset()
    first, count, size = struct.unpack("<QII", header[72:88])
    found = set()
    for number in range(min(count, 128)):
        entry = head[first * SECTOR + number * size :][:16]
        if len(entry) == 16 and any(entry):
            found.add(UUID(bytes_le=entry))
    return frozenset(found)
