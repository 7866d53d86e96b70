"""The fault ``corrupt``: a bit of a frame is wrong."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from orchestrator.faults.kinds._shared import PERCENT, FilterFault
from orchestrator.topology.fault_kind import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Corrupt(FilterFault):
    kind: ClassVar[str] = "corrupt"
    meaning: ClassVar[str] = "a bit of a frame is wrong"
    examples: ClassVar[tuple[str, ...]] = ('on = "server.lan"\npercent = 1',)

    percent: Annotated[float, PERCENT]

    def settings(self, at: Place) -> Mapping[str, object]:
        del at
        return {"corrupt": self.percent}


KIND = Corrupt
