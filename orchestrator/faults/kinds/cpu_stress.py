"""The fault ``cpu-stress``: something else in the machine uses its processors."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from orchestrator.faults.kinds._shared import NOTHING, end_helper, helper_runs, run_helper
from orchestrator.topology import fault_values
from orchestrator.topology.fault_kind import FaultKind, Kept, Place, Scope
from orchestrator.topology.keys import Key

LOOPS = "for i in $(seq $(nproc)); do while :; do :; done & done; wait"


@dataclass(frozen=True, slots=True, kw_only=True)
class CpuStress(FaultKind):
    kind: ClassVar[str] = "cpu-stress"
    meaning: ClassVar[str] = "loops use all processors of the machine, or a part of their time"
    scope: ClassVar[Scope] = Scope.MACHINE
    engine: ClassVar[str] = "systemd-run in the guest"
    silences: ClassVar[tuple[str, ...]] = ("cpu-stall", "workqueue-lockup")
    examples: ClassVar[tuple[str, ...]] = ('on = "server"\nload = 80',)

    load: Annotated[float, Key(fault_values.percent, "cpu-stress: of 100 parts of the time of all processors")] = 100.0

    async def begin(self, at: Place) -> Kept:
        count = int(await at.sh("nproc"))
        await run_helper(
            at, LOOPS, properties={"CPUQuota": f"{max(1, round(self.load * count))}%", "CPUWeight": "1000"}
        )
        return NOTHING

    async def read_back(self, at: Place, kept: Kept) -> str:
        del kept
        return await helper_runs(at)

    async def end(self, at: Place, kept: Kept) -> None:
        del kept
        await end_helper(at)


KIND = CpuStress
