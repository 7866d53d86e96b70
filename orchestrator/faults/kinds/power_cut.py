"""The fault ``power-cut``: the machine is off until the fault ends, and boots then with the disk it had.

QEMU is not ended: its CPUs are stopped at one instruction, then everything but the disk is reset. For the guest and
its peers that is the same, and sockets of the host stay where they are.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from orchestrator.errors import FaultError
from orchestrator.faults.kinds._shared import NOTHING, found
from orchestrator.topology.fault_kind import FaultKind, Kept, Place, Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class PowerCut(FaultKind):
    kind: ClassVar[str] = "power-cut"
    meaning: ClassVar[str] = "the machine is off, memory and what the guest had not written to its disk are lost"
    scope: ClassVar[Scope] = Scope.MACHINE
    engine: ClassVar[str] = "QMP stop, system_reset, cont"
    cuts: ClassVar[bool] = True
    reboots: ClassVar[bool] = True
    examples: ClassVar[tuple[str, ...]] = ('on = "server"\nfor = "5s"',)

    async def begin(self, at: Place) -> Kept:
        await at.qmp("stop")
        await at.qmp("system_reset")
        return NOTHING

    async def read_back(self, at: Place, kept: Kept) -> str:
        del kept
        state = found(await at.qmp("query-status"), "status")
        if state == "running":
            raise FaultError(f"fault {at.fault} is not in effect", why=f"QEMU says that {at.machine} runs")
        return f"QEMU says {state}"

    async def end(self, at: Place, kept: Kept) -> None:
        del kept
        await at.qmp("cont")


KIND = PowerCut
