"""The fault ``mtu``: the interface takes only small packets, as at the end of a tunnel."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from orchestrator.errors import FaultError
from orchestrator.faults.kinds._shared import INTERFACE
from orchestrator.topology import fault_values
from orchestrator.topology.fault_kind import FaultKind, Kept, Place, Scope
from orchestrator.topology.keys import Key

READ = INTERFACE + 'cat "/sys/class/net/$i/mtu"'
SET = INTERFACE + 'ip link set dev "$i" mtu "$2"'


@dataclass(frozen=True, slots=True, kw_only=True)
class Mtu(FaultKind):
    kind: ClassVar[str] = "mtu"
    meaning: ClassVar[str] = "the interface sends no packet above this size"
    scope: ClassVar[Scope] = Scope.LINK
    engine: ClassVar[str] = "ip link in the guest"
    examples: ClassVar[tuple[str, ...]] = ('on = "server.lan"\nmtu = 1280',)

    mtu: Annotated[int, Key(fault_values.mtu, "mtu: bytes of the largest packet")]

    async def begin(self, at: Place) -> Kept:
        before = await at.sh(READ, at.mac)
        await at.sh(SET, at.mac, str(self.mtu))
        return {"before": before}

    async def read_back(self, at: Place, kept: Kept) -> str:
        del kept
        now = await at.sh(READ, at.mac)
        if now != str(self.mtu):
            raise FaultError(f"fault {at.fault} is not in effect", why=f"the MTU is {now}")
        return f"the MTU is {now}"

    async def end(self, at: Place, kept: Kept) -> None:
        if kept:
            await at.sh(SET, at.mac, str(kept["before"]))


KIND = Mtu
