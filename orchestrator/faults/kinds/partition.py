"""The fault ``partition``: machines of a network that are not in one group do not reach each other."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Annotated, ClassVar

from orchestrator.faults.kinds._shared import FilterFault
from orchestrator.topology.document import Node, quote
from orchestrator.topology.fault_kind import Place, Scope
from orchestrator.topology.keys import Key
from orchestrator.topology.tables import Table
from orchestrator.topology.value_types import Array, InvalidValue, value


@value("list of lists of machines", type="array", items={"type": "string"})
def group(node: Node) -> tuple[str, ...]:
    if not node.items or not all(isinstance(item.value, str) for item in node.items):
        raise InvalidValue(f'expected the machines of a group, like ["node1", "node2"], found {node.describe()}')
    return tuple(str(item.value) for item in node.items)


@dataclass(frozen=True, slots=True, kw_only=True)
class Partition(FilterFault):
    kind: ClassVar[str] = "partition"
    meaning: ClassVar[str] = "machines that are not in one group do not reach each other; one in no group is alone"
    scope: ClassVar[Scope] = Scope.NETWORK
    examples: ClassVar[tuple[str, ...]] = ('on = "lan"\ngroups = [["server"], ["client"]]',)

    groups: Annotated[
        tuple[tuple[str, ...], ...],
        Key(
            Array(group, "list of lists of machines"), "partition: who still reaches whom; a machine may be in several"
        ),
    ]

    def verify_keys(self, table: Table) -> None:
        if not self.groups:
            table.complain("groups", "there is no group")
        for own in self.groups:
            for name in own:
                if own.count(name) > 1:
                    table.complain("groups", f"{quote(name)} is twice in one group")

    def unreached(self, machine: str, others: Mapping[str, str]) -> tuple[str, ...]:
        """The addresses, of those given, that a machine does not reach. Pure."""
        mine = {name for own in self.groups if machine in own for name in own}
        return tuple(mac for name, mac in others.items() if name not in mine)

    def settings(self, at: Place) -> Mapping[str, object]:
        return {"unreached": list(self.unreached(at.machine, at.others))}


KIND = Partition
