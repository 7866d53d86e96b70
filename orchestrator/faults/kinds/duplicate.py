"""The fault ``duplicate``: frames come twice."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from orchestrator.faults.kinds._shared import PERCENT, FilterFault
from orchestrator.topology.fault_kind import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Duplicate(FilterFault):
    kind: ClassVar[str] = "duplicate"
    meaning: ClassVar[str] = "frames come twice"
    examples: ClassVar[tuple[str, ...]] = ('on = "server.lan"\npercent = 5',)

    percent: Annotated[float, PERCENT]

    def settings(self, at: Place) -> Mapping[str, object]:
        del at
        return {"duplicate": self.percent}


KIND = Duplicate
