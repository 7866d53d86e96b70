"""The fault ``latency``: frames come later."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from orchestrator.faults.kinds._shared import FilterFault
from orchestrator.topology import fault_values
from orchestrator.topology.document import Node
from orchestrator.topology.fault_kind import Place
from orchestrator.topology.keys import Key
from orchestrator.topology.tables import Table
from orchestrator.topology.value_types import InvalidValue, value


@value("`uniform`, `normal`", enum=["uniform", "normal"])
def distribution(node: Node) -> str:
    if node.value not in ("uniform", "normal"):
        raise InvalidValue(f"expected uniform or normal, found {node.describe()}")
    return str(node.value)


@dataclass(frozen=True, slots=True, kw_only=True)
class Latency(FilterFault):
    kind: ClassVar[str] = "latency"
    meaning: ClassVar[str] = "frames come later"
    examples: ClassVar[tuple[str, ...]] = (
        'on = "server.lan"\ndelay = "100ms"\njitter = "20ms"\ndistribution = "normal"',
    )

    delay: Annotated[float, Key(fault_values.delay, "latency: of each direction; a round trip takes twice as long")]
    jitter: Annotated[float, Key(fault_values.delay, "latency: how much the delay varies", "not at all")] = 0.0
    distribution: Annotated[
        str,
        Key(
            distribution,
            "latency: `uniform` in delay ± jitter, or `normal`, jitter its standard deviation; frames stay in order",
        ),
    ] = "uniform"

    def verify_keys(self, table: Table) -> None:
        if self.jitter > self.delay:
            table.complain("jitter", "it is more than the delay: no frame comes before it was sent")

    def settings(self, at: Place) -> Mapping[str, object]:
        del at
        return {"delay": self.delay, "jitter": self.jitter, "normal": self.distribution == "normal"}


KIND = Latency
