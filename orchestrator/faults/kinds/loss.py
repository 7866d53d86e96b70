"""The fault ``loss``: frames are lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from orchestrator.faults.kinds._shared import PERCENT, FilterFault
from orchestrator.topology import fault_values
from orchestrator.topology.fault_kind import Place
from orchestrator.topology.keys import Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Loss(FilterFault):
    kind: ClassVar[str] = "loss"
    meaning: ClassVar[str] = "frames are lost"
    examples: ClassVar[tuple[str, ...]] = ('on = "server.lan"\npercent = 20\nburst = 3\ndirection = "in"\nseed = 7',)

    percent: Annotated[float, PERCENT]
    burst: Annotated[
        int, Key(fault_values.whole, "loss: how many frames are lost at a time, on average; `percent` stays the share")
    ] = 1

    def settings(self, at: Place) -> Mapping[str, object]:
        del at
        return {"loss": self.percent, "burst": self.burst}


KIND = Loss
