"""The fault ``reorder``: frames are overtaken by those behind them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from orchestrator.faults.kinds._shared import PERCENT, FilterFault
from orchestrator.topology import fault_values
from orchestrator.topology.fault_kind import Place
from orchestrator.topology.keys import Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Reorder(FilterFault):
    kind: ClassVar[str] = "reorder"
    meaning: ClassVar[str] = "frames are overtaken by those behind them"
    examples: ClassVar[tuple[str, ...]] = ('on = "server.lan"\npercent = 10\ngap = "20ms"',)

    percent: Annotated[float, PERCENT]
    gap: Annotated[float, Key(fault_values.delay, "reorder: how long such a frame is held")] = 0.02

    def settings(self, at: Place) -> Mapping[str, object]:
        del at
        return {"reorder": self.percent, "gap": self.gap}


KIND = Reorder
