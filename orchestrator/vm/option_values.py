"""Values of QEMU's options, and a disk that a guest only reads. Pure."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path


def value(text: object) -> str:
    """A text as a value in an option of QEMU, where a comma would end it. Pure.

    >>> value("/a, b/c")
    '/a,, b/c'
    """
    return str(text).replace(",", ",,")


@dataclass(frozen=True, slots=True)
class ReadOnlyDisk:
    """A file of the host that a guest reads as a disk.

    Attributes:
        name: of the device, in QEMU.
        serial: by which the guest knows it, at most 20 bytes.
    """

    name: str
    serial: str
    file: Path

    def arguments(self) -> list[str]:
        """For QEMU."""
        # Not locked: any number of machines read it, and nobody writes.
        node = f"driver=raw,node-name={self.name},read-only=on,file.driver=file,file.filename={value(self.file)}"
        return [
            "-blockdev",
            f"{node},file.read-only=on,file.locking=off",
            "-device",
            f"virtio-blk-pci,id={self.name},drive={self.name},serial={self.serial}",
        ]
