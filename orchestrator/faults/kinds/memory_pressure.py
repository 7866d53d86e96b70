"""The fault ``memory-pressure``: something else in the machine holds memory."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from orchestrator.deadline import Deadline, pause
from orchestrator.errors import FaultError
from orchestrator.faults.kinds._shared import NOTHING, end_helper, helper_runs, helper_unit, run_helper
from orchestrator.topology import fault_values
from orchestrator.topology.fault_kind import FaultKind, Kept, Place, Scope
from orchestrator.topology.keys import Key

# tail keeps the whole of the last line, and zeros are one.
HOLD = 'd=$(mktemp -d) && mkfifo $d/end && { head -c "$1" /dev/zero; exec cat $d/end; } | tail -n1 >/dev/null'
HELD = 'systemctl show -P MemoryCurrent -- "$1"'
FILLED = 60.0  # seconds until an emulated guest has written it


@dataclass(frozen=True, slots=True, kw_only=True)
class MemoryPressure(FaultKind):
    kind: ClassVar[str] = "memory-pressure"
    meaning: ClassVar[str] = "a process holds so much memory; it is the first that the kernel ends"
    scope: ClassVar[Scope] = Scope.MACHINE
    engine: ClassVar[str] = "systemd-run in the guest"
    silences: ClassVar[tuple[str, ...]] = ("oom-kill", "hung-task")
    examples: ClassVar[tuple[str, ...]] = ('on = "server"\nbytes = "256MiB"',)

    bytes: Annotated[int, Key(fault_values.size, "memory-pressure: how much is held")]

    async def begin(self, at: Place) -> Kept:
        await run_helper(at, HOLD, str(self.bytes), properties={"OOMScoreAdjust": "1000", "MemorySwapMax": "0"})
        return NOTHING

    async def read_back(self, at: Place, kept: Kept) -> str:
        del kept
        limit = Deadline.after(FILLED)
        while True:
            state = await helper_runs(at)
            held = await at.sh(HELD, helper_unit(at))
            if held.isdigit() and int(held) >= self.bytes * 0.9:
                return f"{state} and holds {int(held) >> 20} MiB"
            if limit.expired:
                raise FaultError(f"fault {at.fault} is not in effect", why=f"its unit holds {held} bytes")
            await pause(0.3, limit)

    async def end(self, at: Place, kept: Kept) -> None:
        del kept
        await end_helper(at)


KIND = MemoryPressure
