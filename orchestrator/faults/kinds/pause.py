"""The fault ``pause``: the machine is paused, as one whose host is overloaded. Its clock misses the time."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from orchestrator.errors import FaultError
from orchestrator.faults.kinds._shared import NOTHING, found
from orchestrator.topology.fault_kind import FaultKind, Kept, Place, Scope


@dataclass(frozen=True, slots=True, kw_only=True)
class Pause(FaultKind):
    kind: ClassVar[str] = "pause"
    meaning: ClassVar[str] = "the machine is paused and keeps its memory"
    scope: ClassVar[Scope] = Scope.MACHINE
    engine: ClassVar[str] = "QMP stop, cont"
    cuts: ClassVar[bool] = True
    silences: ClassVar[tuple[str, ...]] = ("cpu-stall", "workqueue-lockup", "hung-task")
    examples: ClassVar[tuple[str, ...]] = ('on = "server"\nfor = "10s"\nat = "5s"\nrecovers_within = "10s"',)

    async def begin(self, at: Place) -> Kept:
        await at.qmp("stop")
        return NOTHING

    async def read_back(self, at: Place, kept: Kept) -> str:
        del kept
        state = found(await at.qmp("query-status"), "status")
        if state != "paused":
            raise FaultError(f"fault {at.fault} is not in effect", why=f"QEMU says that {at.machine} is {state}")
        return "QEMU says paused"

    async def end(self, at: Place, kept: Kept) -> None:
        del kept
        await at.qmp("cont")


KIND = Pause
