"""The fault ``kill``: all processes of a service get a signal. What systemd leaves dead is started at the end."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from orchestrator.errors import FaultError
from orchestrator.faults.kinds._shared import active, start_unit
from orchestrator.topology import fault_values
from orchestrator.topology.fault_kind import FaultKind, Kept, Place, Scope
from orchestrator.topology.keys import Key

RUN = 'systemctl show -P InvocationID -- "$1"'
KILL = RUN + '; systemctl kill --signal="$2" -- "$1"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Kill(FaultKind):
    kind: ClassVar[str] = "kill"
    meaning: ClassVar[str] = "its processes get a signal; what systemd does not start again stays dead until the end"
    scope: ClassVar[Scope] = Scope.SERVICE
    engine: ClassVar[str] = "systemctl kill"
    silences: ClassVar[tuple[str, ...]] = ("unit-loop", "core-dump", "segfault")
    examples: ClassVar[tuple[str, ...]] = ('on = "web"', 'on = "web"\nsignal = "SIGHUP"')

    signal: Annotated[str, Key(fault_values.signal_name, "kill: which signal")] = "SIGKILL"

    async def begin(self, at: Place) -> Kept:
        return {"run": await at.sh(KILL, at.unit, self.signal)}

    async def read_back(self, at: Place, kept: Kept) -> str:
        state, run = await active(at), await at.sh(RUN, at.unit)
        if self.signal == "SIGKILL" and state == "active" and run == kept.get("run"):
            raise FaultError(f"fault {at.fault} is not in effect", why=f"{at.unit} is the same run as before")
        return f"{at.unit} is {state}"

    async def end(self, at: Place, kept: Kept) -> None:
        del kept
        await start_unit(at)


KIND = Kill
