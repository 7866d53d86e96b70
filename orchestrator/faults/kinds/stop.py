"""The fault ``stop``: a service is stopped in order, and started again at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from orchestrator.errors import FaultError
from orchestrator.faults.kinds._shared import NOTHING, active, start_unit
from orchestrator.topology.fault_kind import FaultKind, Kept, Place, Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop(FaultKind):
    kind: ClassVar[str] = "stop"
    meaning: ClassVar[str] = "it is stopped in order, and started again at the end"
    scope: ClassVar[Scope] = Scope.SERVICE
    engine: ClassVar[str] = "systemctl stop, start"
    examples: ClassVar[tuple[str, ...]] = ('on = "web"\nfor = "20s"',)

    async def begin(self, at: Place) -> Kept:
        await at.sh('systemctl stop -- "$1"', at.unit)
        return NOTHING

    async def read_back(self, at: Place, kept: Kept) -> str:
        del kept
        state = await active(at)
        if state == "active":
            raise FaultError(f"fault {at.fault} is not in effect", why=f"{at.unit} is active")
        return f"{at.unit} is {state}"

    async def end(self, at: Place, kept: Kept) -> None:
        del kept
        await start_unit(at)


KIND = Stop
