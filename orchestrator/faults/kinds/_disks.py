"""The disks of a machine as QEMU has them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from orchestrator.errors import FaultError
from orchestrator.faults.kinds._shared import found
from orchestrator.topology.fault_kind import Place


@dataclass(frozen=True, slots=True)
class Disk:
    """A disk.

    Attributes:
        name: of the drive; may be empty.
        device: the path of the guest's device in QEMU's tree.
        node: what the device reads and writes.
    """

    name: str
    device: str
    node: str

    @property
    def words(self) -> Mapping[str, object]:
        """What QMP commands call it."""
        return {"device": self.name} if self.name else {"id": self.device}


def chosen(answer: object, name: str) -> Disk | None:
    """A disk of the answer to ``query-block``: the named one, else the first that may be written to. Pure."""
    entries = answer if isinstance(answer, Sequence) and not isinstance(answer, str) else ()
    for entry in entries:
        node, device = found(entry, "inserted", "node-name"), found(entry, "qdev")
        if not node or not device:
            continue
        own = str(found(entry, "device") or "")
        if own == name if name else not found(entry, "inserted", "ro"):
            return Disk(own, str(device), str(node))
    return None


async def disk_of(at: Place, name: str) -> Disk:
    """The disk that a fault is on. Raises `FaultError` where there is none."""
    disk = chosen(await at.qmp("query-block"), name)
    if disk is None:
        what = f"named {name}" if name else "that it may write to"
        raise FaultError(f"fault {at.fault} cannot begin", why=f"machine {at.machine} has no disk {what}")
    return disk
