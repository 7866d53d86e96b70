"""The fault ``disk-slow``: reads and writes of a disk get a limited rate."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, ClassVar

from orchestrator.errors import FaultError
from orchestrator.faults.kinds._disks import disk_of
from orchestrator.faults.kinds._shared import NOTHING, found
from orchestrator.topology import fault_values, values
from orchestrator.topology.fault_kind import FaultKind, Kept, Place, Scope
from orchestrator.topology.keys import Key
from orchestrator.topology.tables import Table

DISK = Key(values.nonempty, "disks: the name of QEMU's drive", "the first disk that may be written to")
OTHERS = ("bps_rd", "bps_wr", "iops_rd", "iops_wr")


@dataclass(frozen=True, slots=True, kw_only=True)
class DiskSlow(FaultKind):
    kind: ClassVar[str] = "disk-slow"
    meaning: ClassVar[str] = "reads and writes of a disk have a limited rate"
    scope: ClassVar[Scope] = Scope.MACHINE
    engine: ClassVar[str] = "QMP block_set_io_throttle"
    silences: ClassVar[tuple[str, ...]] = ("hung-task",)
    examples: ClassVar[tuple[str, ...]] = ('on = "server"\nbytes_per_second = "1MiB"', 'on = "server"\niops = 50')

    bytes_per_second: Annotated[
        int | None, Key(fault_values.size, "disk-slow: bytes of reads and writes in a second")
    ] = None
    iops: Annotated[int | None, Key(fault_values.whole, "disk-slow: reads and writes in a second")] = None
    disk: Annotated[str, DISK] = ""

    def verify_keys(self, table: Table) -> None:
        if self.bytes_per_second is None and self.iops is None:
            table.problems.add(table.node.key, f'{table.label} needs "bytes_per_second" or "iops"')

    async def begin(self, at: Place) -> Kept:
        await self._throttle(at, self.bytes_per_second or 0, self.iops or 0)
        return NOTHING

    async def read_back(self, at: Place, kept: Kept) -> str:
        del kept
        disk, answer = await disk_of(at, self.disk), await at.qmp("query-block")
        for entry in answer if isinstance(answer, Sequence) else ():
            if found(entry, "qdev") == disk.device:
                bps, iops = found(entry, "inserted", "bps"), found(entry, "inserted", "iops")
                if (bps, iops) == (self.bytes_per_second or 0, self.iops or 0):
                    return f"QEMU says bps {bps}, iops {iops} (0: no limit)"
        raise FaultError(f"fault {at.fault} is not in effect", why=f"QEMU does not limit {disk.device}")

    async def end(self, at: Place, kept: Kept) -> None:
        del kept
        await self._throttle(at, 0, 0)

    async def _throttle(self, at: Place, bps: int, iops: int) -> None:
        disk = await disk_of(at, self.disk)
        none = dict.fromkeys(OTHERS, 0)
        await at.qmp("block_set_io_throttle", {**disk.words, "bps": bps, "iops": iops, **none})


KIND = DiskSlow
