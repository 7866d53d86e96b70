"""The provider ``disk``: a disk that boots by itself, as the cloud images do (`orchestrator.images.disk`)."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, ClassVar

from orchestrator.images.provider_kind import Build, ImageProvider
from orchestrator.topology import values
from orchestrator.topology.keys import Key
from orchestrator.topology.tables import Table
from orchestrator.topology.value_types import HostPath, InvalidValue, value

if TYPE_CHECKING:
    from orchestrator.images.contract import BuiltImage
    from orchestrator.topology.document import Node

FIRMWARE = ("bios", "uefi")


@value("SHA-256, 64 hex digits", pattern="^[0-9a-fA-F]{64}$")
def sha256(node: Node) -> str:
    text = values.single_line(node)
    if len(text) != 64 or set(text.lower()) - set("0123456789abcdef"):
        raise InvalidValue(f"expected 64 hex digits, as sha256sum prints them, found {node.describe()}")
    return text.lower()


@value(" or ".join(f'`"{word}"`' for word in FIRMWARE), enum=list(FIRMWARE))
def firmware(node: Node) -> str:
    text = values.single_line(node)
    if text not in FIRMWARE:
        raise InvalidValue(f"expected bios or uefi, found {node.describe()}")
    return text


@dataclass(frozen=True, slots=True)
class DiskImage(ImageProvider):
    kind: ClassVar[str] = "disk"
    title: ClassVar[str] = "disk"

    disk: Annotated[Path | None, Key(HostPath(), "a disk that boots by itself, qcow2 or raw: a cloud image")] = None
    sha256: Annotated[str | None, Key(sha256, "what `disk` must be; it is then read at its first use only")] = None
    firmware: Annotated[str | None, Key(firmware, "what starts `disk`", "told by its partitions")] = None

    def verify_keys(self, table: Table) -> None:
        if self.disk is None:
            table.complain("sha256" if self.sha256 else "firmware", 'it says how "disk" is, and there is no "disk"')

    def exists(self, root: Path) -> bool:
        del root
        return self.disk is not None and self.disk.is_file()

    async def build(self, job: Build) -> BuiltImage:
        from orchestrator.images.disk import build_disk

        assert self.disk is not None  # verify_keys
        return await build_disk(job, self.disk, sha256=self.sha256 or "", firmware=self.firmware or "")


KIND = DiskImage
