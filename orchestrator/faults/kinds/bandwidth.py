"""The fault ``bandwidth``: frames pass at a limited rate; what does not fit into a queue is lost."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from orchestrator.faults.kinds._shared import FilterFault
from orchestrator.topology import fault_values
from orchestrator.topology.fault_kind import Place
from orchestrator.topology.keys import Key
from orchestrator.topology.tables import Table

FASTEST = 200e6  # bits per second: what the filter was measured to pass, docs/faults.md


@dataclass(frozen=True, slots=True, kw_only=True)
class Bandwidth(FilterFault):
    kind: ClassVar[str] = "bandwidth"
    meaning: ClassVar[str] = "frames pass at a limited rate; what does not fit into a queue is lost"
    examples: ClassVar[tuple[str, ...]] = ('on = "server.lan"\nrate = "1mbit"\nqueue = "200ms"',)

    rate: Annotated[
        float, Key(fault_values.rate, "bandwidth: of each direction; `bit`, `kbit`, `mbit` or `gbit` a second")
    ]
    queue: Annotated[float, Key(fault_values.delay, "bandwidth: how long a frame may wait for its turn")] = 0.5

    def verify_keys(self, table: Table) -> None:
        if self.rate > FASTEST:
            table.complain(
                "rate", f"the frame filter passes {FASTEST / 1e6:g}mbit at most; a higher rate changes nothing"
            )

    def settings(self, at: Place) -> Mapping[str, object]:
        del at
        return {"rate": self.rate, "queue": self.queue}


KIND = Bandwidth
