"""The fault ``disconnect``: the cable is pulled. The guest sees that the carrier is lost."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from orchestrator.errors import FaultError
from orchestrator.faults.kinds._shared import NOTHING
from orchestrator.topology.fault_kind import FaultKind, Kept, Place, Scope

CARRIER = 'for d in /sys/class/net/*; do read -r a <$d/address; [ "$a" != "$1" ] || cat $d/carrier; done'


@dataclass(frozen=True, slots=True, kw_only=True)
class Disconnect(FaultKind):
    kind: ClassVar[str] = "disconnect"
    meaning: ClassVar[str] = "the cable is pulled: the guest loses the carrier"
    scope: ClassVar[Scope] = Scope.LINK
    engine: ClassVar[str] = "QMP set_link"
    examples: ClassVar[tuple[str, ...]] = ('on = "server.lan"',)

    async def begin(self, at: Place) -> Kept:
        await _set(at, up=False)
        return NOTHING

    async def read_back(self, at: Place, kept: Kept) -> str:
        del kept
        carrier = await at.sh(CARRIER, at.mac)
        if carrier == "1":
            raise FaultError(f"fault {at.fault} is not in effect", why=f"machine {at.machine} still has a carrier")
        return "the guest has no carrier"

    async def end(self, at: Place, kept: Kept) -> None:
        del kept
        await _set(at, up=True)


async def _set(at: Place, *, up: bool) -> None:
    await at.qmp("set_link", {"name": f"net-{at.network}", "up": up})


KIND = Disconnect
