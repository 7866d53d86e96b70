"""The kind ``capture``: no fault, but with the same life: the frames of a link go into a pcap file."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, ClassVar

from orchestrator.topology import fault_values
from orchestrator.topology.fault_kind import FaultKind, Kept, Place, Scope
from orchestrator.topology.keys import Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Capture(FaultKind):
    kind: ClassVar[str] = "capture"
    meaning: ClassVar[str] = "nothing fails: the frames of the link are written to a pcap file of the run folder"
    scope: ClassVar[Scope] = Scope.LINK
    engine: ClassVar[str] = "QEMU's filter-dump"
    harmless: ClassVar[bool] = True
    examples: ClassVar[tuple[str, ...]] = ('on = "server.lan"\nsnaplen = 256',)

    snaplen: Annotated[int, Key(fault_values.whole, "capture: bytes of each frame that are kept")] = 65536

    async def begin(self, at: Place) -> Kept:
        return await at.capture(self.snaplen)

    async def read_back(self, at: Place, kept: Kept) -> str:
        del at
        return f"frames go to {kept['path']}"

    async def end(self, at: Place, kept: Kept) -> None:
        await at.end_capture(kept)


KIND = Capture
