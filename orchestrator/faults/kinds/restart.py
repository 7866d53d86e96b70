"""The fault ``restart``: a service is restarted, as by somebody who changed its configuration."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from orchestrator.errors import FaultError
from orchestrator.faults.kinds._shared import active, start_unit
from orchestrator.topology.fault_kind import FaultKind, Kept, Place, Scope

RUN = 'systemctl show -P InvocationID -- "$1"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Restart(FaultKind):
    kind: ClassVar[str] = "restart"
    meaning: ClassVar[str] = "it is restarted"
    scope: ClassVar[Scope] = Scope.SERVICE
    engine: ClassVar[str] = "systemctl restart"
    silences: ClassVar[tuple[str, ...]] = ("unit-loop", "core-dump", "segfault")
    stays: ClassVar[bool] = False
    examples: ClassVar[tuple[str, ...]] = ('on = "web"',)

    async def begin(self, at: Place) -> Kept:
        return {"run": await at.sh(RUN + '; systemctl restart -- "$1"', at.unit)}

    async def read_back(self, at: Place, kept: Kept) -> str:
        if await at.sh(RUN, at.unit) == kept.get("run"):
            raise FaultError(f"fault {at.fault} is not in effect", why=f"{at.unit} is the same run as before")
        return f"{at.unit} is {await active(at)}, in another run"

    async def end(self, at: Place, kept: Kept) -> None:
        del kept
        await start_unit(at)


KIND = Restart
