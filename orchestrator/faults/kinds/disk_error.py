"""The fault ``disk-error``: reads, writes or flushes of a disk fail."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from orchestrator.errors import FaultError
from orchestrator.faults.kinds._disks import disk_of
from orchestrator.faults.kinds._shared import found
from orchestrator.faults.kinds.disk_slow import DISK
from orchestrator.topology import fault_values, values
from orchestrator.topology.document import Node
from orchestrator.topology.fault_kind import FaultKind, Kept, Place, Scope
from orchestrator.topology.keys import Key
from orchestrator.topology.value_types import InvalidValue, value

OPERATIONS = ("read", "write", "flush")
EIO = 5


@value("`read`, `write`, `flush`", enum=list(OPERATIONS))
def operation(node: Node) -> str:
    if node.value not in OPERATIONS:
        raise InvalidValue(f"expected read, write or flush, found {node.describe()}")
    return str(node.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskError(FaultKind):
    kind: ClassVar[str] = "disk-error"
    meaning: ClassVar[str] = "reads, writes or flushes of a disk fail with an I/O error"
    scope: ClassVar[Scope] = Scope.MACHINE
    engine: ClassVar[str] = "QEMU's blkdebug, put below the disk"
    silences: ClassVar[tuple[str, ...]] = ("disk-error", "hung-task", "database-panic", "emergency-mode")
    examples: ClassVar[tuple[str, ...]] = (
        'on = "server"\noperation = "write"\nsector = 4096\nonce = true\ndisk = "drive1"',
    )

    operation: Annotated[str, Key(operation, "disk-error: what fails")] = "read"
    sector: Annotated[
        int | None, Key(fault_values.whole, "disk-error: only this sector of 512 bytes fails", "all of them")
    ] = None
    once: Annotated[bool, Key(values.flag, "disk-error: only the first time")] = False
    disk: Annotated[str, DISK] = ""

    async def begin(self, at: Place) -> Kept:
        disk = await disk_of(at, self.disk)
        node = f"orch-{at.fault}"
        error: dict[str, object] = {
            "event": "none",  # others are told by image formats above; a disk has none
            "iotype": self.operation,
            "errno": EIO,
            "once": self.once,
            "immediately": False,
        }
        if self.sector is not None:
            error["sector"] = self.sector
        await at.qmp(
            "blockdev-add",
            {"driver": "blkdebug", "node-name": node, "image": disk.node, "inject-error": [error]},
        )
        kept = {"device": disk.device, "node": disk.node, "added": node}
        await _swap(at, kept, node)
        return kept

    async def read_back(self, at: Place, kept: Kept) -> str:
        node = node_of(await at.qmp("query-block"), str(kept.get("device")))
        if node != kept.get("added"):
            raise FaultError(f"fault {at.fault} is not in effect", why=f"{kept.get('device')} uses {node}")
        return f"{kept.get('device')} uses blkdebug"

    async def end(self, at: Place, kept: Kept) -> None:
        if kept:
            await _swap(at, kept, str(kept["node"]))
            await at.qmp("blockdev-del", {"node-name": kept["added"]})


def node_of(answer: object, device: str) -> str:
    """What a device reads and writes, by the answer to ``query-block``. Pure."""
    entries = answer if isinstance(answer, Sequence) else ()
    nodes = (found(one, "inserted", "node-name") for one in entries if found(one, "qdev") == device)
    return str(next(nodes, ""))


def _path(kept: Kept) -> str:
    return str(kept["device"]).removesuffix("/virtio-backend")


async def _swap(at: Place, kept: Kept, node: str) -> None:
    """Put another node below a disk: only while nothing is read or written."""
    running = found(await at.qmp("query-status"), "status") == "running"
    if running:
        await at.qmp("stop")
    try:
        await at.qmp("qom-set", {"path": _path(kept), "property": "drive", "value": node})
    finally:
        if running:
            await at.qmp("cont")


KIND = DiskError
