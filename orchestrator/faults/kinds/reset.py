"""The fault ``reset``: as if the reset button were pressed. The guest boots again from its disk."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from orchestrator.faults.kinds._shared import NOTHING, found
from orchestrator.topology.fault_kind import FaultKind, Kept, Place, Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Reset(FaultKind):
    kind: ClassVar[str] = "reset"
    meaning: ClassVar[str] = "as if the reset button were pressed: memory is lost, the guest boots again"
    scope: ClassVar[Scope] = Scope.MACHINE
    engine: ClassVar[str] = "QMP system_reset"
    cuts: ClassVar[bool] = True
    reboots: ClassVar[bool] = True
    stays: ClassVar[bool] = False
    examples: ClassVar[tuple[str, ...]] = ('on = "server"',)

    async def begin(self, at: Place) -> Kept:
        await at.qmp("system_reset")
        return NOTHING

    async def read_back(self, at: Place, kept: Kept) -> str:
        del kept
        return f"QEMU says {found(await at.qmp('query-status'), 'status')}"

    async def end(self, at: Place, kept: Kept) -> None:
        """It boots by itself."""


KIND = Reset
