"""The fault ``freeze``: the processes of a service do not run. Connections stay open, nothing answers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from orchestrator.errors import FaultError
from orchestrator.faults.kinds._shared import NOTHING
from orchestrator.topology.fault_kind import FaultKind, Kept, Place, Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Freeze(FaultKind):
    kind: ClassVar[str] = "freeze"
    meaning: ClassVar[str] = "its processes do not run: connections stay open, nothing answers"
    scope: ClassVar[Scope] = Scope.SERVICE
    engine: ClassVar[str] = "systemctl freeze, thaw"
    examples: ClassVar[tuple[str, ...]] = ('on = "web"\nfor = "10s"',)

    async def begin(self, at: Place) -> Kept:
        await at.sh('systemctl freeze -- "$1"', at.unit)
        return NOTHING

    async def read_back(self, at: Place, kept: Kept) -> str:
        del kept
        state = await at.sh('systemctl show -P FreezerState -- "$1"', at.unit)
        if state != "frozen":
            raise FaultError(f"fault {at.fault} is not in effect", why=f"{at.unit} is {state}")
        return f"{at.unit} is frozen"

    async def end(self, at: Place, kept: Kept) -> None:
        del kept
        await at.sh('systemctl thaw -- "$1"', at.unit)


KIND = Freeze
