"""The fault ``clock-skew``: the guest's clock is wrong by a time. Programs that set it are halted meanwhile."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from orchestrator.errors import FaultError
from orchestrator.topology import fault_values
from orchestrator.topology.fault_kind import FaultKind, Kept, Place, Scope
from orchestrator.topology.keys import Key

SETTERS = "systemd-timesyncd.service chrony.service chronyd.service ntp.service ntpsec.service"
# What the clock is ahead of the time since boot: nothing but a change of the clock changes it.
EPOCH = 'read -r up _ </proc/uptime; date +%s.%N | awk -v up="$up" \'{ printf "%.2f\\n", $1 - up }\''
BEGIN = f"""\
for u in {SETTERS}; do if systemctl is-active -q $u; then systemctl stop $u; on="$on $u"; fi; done
{EPOCH}; echo "$on"
date -s "$1 seconds" >/dev/null
"""
END = 'date -s "$1 seconds" >/dev/null; for u in $2; do systemctl start $u; done'
TOLERANCE = 2.0  # seconds: two processes are started between two readings, under emulation


@dataclass(frozen=True, slots=True, kw_only=True)
class ClockSkew(FaultKind):
    kind: ClassVar[str] = "clock-skew"
    meaning: ClassVar[str] = "the guest's clock is ahead or behind; NTP is halted meanwhile"
    scope: ClassVar[Scope] = Scope.MACHINE
    engine: ClassVar[str] = "date -s in the guest"
    examples: ClassVar[tuple[str, ...]] = ('on = "server"\noffset = "-1h"',)

    offset: Annotated[float, Key(fault_values.offset, "clock-skew: how much the clock is ahead")]

    async def begin(self, at: Place) -> Kept:
        told = (await at.sh(BEGIN, f"{self.offset:+f}")).splitlines()
        return {"epoch": float(told[0]), "setters": told[1].strip() if len(told) > 1 else ""}

    async def read_back(self, at: Place, kept: Kept) -> str:
        off = float(await at.sh(EPOCH)) - float(str(kept["epoch"]))
        if abs(off - self.offset) > TOLERANCE:
            raise FaultError(f"fault {at.fault} is not in effect", why=f"the clock of {at.machine} is {off:+.1f} s off")
        return f"the clock is {off:+.1f} s off"

    async def end(self, at: Place, kept: Kept) -> None:
        if kept:
            await at.sh(END, f"{-self.offset:+f}", str(kept.get("setters", "")))


KIND = ClockSkew
