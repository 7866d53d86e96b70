"""Dependencies of services: the two forms of `depends_on`, removed services, cycles."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import pairwise

from orchestrator.topology.document import Node, Problems, quote
from orchestrator.topology.model import Condition, Dependency, ServiceKind
from orchestrator.topology.positions import Position
from orchestrator.topology.tables import Table
from orchestrator.topology.variants import Merged


@dataclass(frozen=True, slots=True)
class _Wish:
    """A dependency as written.

    Attributes:
        condition: None if the file leaves it to the kind of the dependency.
        at: where the condition, or else the name, is written.
    """

    service: str
    condition: Condition | None
    at: Position


def dependencies(
    tables: Mapping[str, Table], kinds: Mapping[str, ServiceKind], merged: Merged
) -> dict[str, tuple[Dependency, ...]]:
    """The dependencies of each service.

    A dependency on a service that the variant removed is replaced by that
    service's own dependencies: the remaining services keep their order.

    Args:
        tables: the services that are there.
        kinds: their kinds.
    """
    wishes = {name: _wishes(table) for name, table in tables.items()}
    removed = merged.removed_names("services")
    # Problems of removed tables are not this variant's: they go to a list of their own.
    aside = Problems(next(iter(tables.values())).problems.path) if tables else None
    bridges = {
        name: _wishes(Table(node, aside, "services.NAME", f"service {quote(name)}"))
        for name, node in removed.items()
        if aside is not None
    }
    found = {}
    for name, table in tables.items():
        written = {wish.service for wish in wishes[name]}
        kept: dict[str, Dependency] = {}
        for wish in _without(wishes[name], bridges, ()):
            if wish.service in kept:
                continue
            if wish.service == name:
                if name in written:
                    table.problems.add(wish.at, f"{table.label} depends on itself")
                continue
            inherited = wish.service not in written
            if inherited and wish.service not in tables:
                continue  # the removed service named nothing: not this one's fault
            if not table.unknown(wish.at, "service", wish.service, tables):
                kept[wish.service] = _dependency(wish, kinds[wish.service], table)
        found[name] = tuple(kept.values())
    _report_cycles(found, wishes, tables)
    return found


def _wishes(table: Table) -> tuple[_Wish, ...]:
    node = table.get("depends_on")
    if node is None:
        return ()
    if node.fields is None and node.items is None:
        table.complain("depends_on", f"expected a list of services, or a table of them, found {node.describe()}")
        return ()
    if node.items is not None:
        return _listed(table, node.items)
    found = []
    for name, entry in table.entries("depends_on"):
        label = f"dependency {quote(name)} of {table.label}"
        condition = Table(entry, table.problems, "services.NAME.depends_on.NAME", label)
        wanted = condition.choice("condition", Condition, Condition.HEALTHY)
        written = condition.has("condition")
        found.append(_Wish(name, wanted if written else None, condition.place("condition")))
    return tuple(found)


def _listed(table: Table, items: tuple[Node, ...]) -> tuple[_Wish, ...]:
    found: dict[str, _Wish] = {}
    for item in items:
        if not isinstance(item.value, str):
            table.problems.add(item.at, f'"depends_on" in {table.label}: expected a service, found {item.describe()}')
        elif item.value in found:
            table.problems.add(item.at, f"{table.label} names {quote(item.value)} twice")
        else:
            found[item.value] = _Wish(item.value, None, item.at)
    return tuple(found.values())


def _without(
    wishes: tuple[_Wish, ...], bridges: Mapping[str, tuple[_Wish, ...]], crossed: tuple[str, ...]
) -> list[_Wish]:
    """The dependencies; each on a removed service is replaced by that service's own.

    Written ones come first, so that their condition wins over an inherited one.
    """
    direct = [wish for wish in wishes if wish.service not in bridges]
    for wish in wishes:
        if wish.service in bridges and wish.service not in crossed:
            direct += _without(bridges[wish.service], bridges, (*crossed, wish.service))
    return direct


def _dependency(wish: _Wish, kind: ServiceKind, table: Table) -> Dependency:
    default = Condition.COMPLETED if kind is ServiceKind.ONESHOT else Condition.HEALTHY
    if wish.condition is Condition.COMPLETED and kind is not ServiceKind.ONESHOT:
        reason = "keeps running" if kind is ServiceKind.DAEMON else "has nothing that could complete"
        table.problems.add(
            wish.at,
            f"{table.label} waits for {quote(wish.service)} to complete, which never happens: "
            f"it is a {kind} and {reason} (did you mean {quote(Condition.HEALTHY)}?)",
        )
    return Dependency(wish.service, wish.condition or default)


def _report_cycles(
    edges: Mapping[str, tuple[Dependency, ...]],
    wishes: Mapping[str, tuple[_Wish, ...]],
    tables: Mapping[str, Table],
) -> None:
    """One problem for each group of services that wait for each other."""
    done: set[str] = set()
    for start in edges:
        trail: dict[str, None] = {}  # the services being followed, in order
        stack = [(start, iter(edges[start]))] if start not in done else []
        trail.update({name: None for name, _ in stack})
        while stack:
            name, rest = stack[-1]
            edge = next(rest, None)
            if edge is None:
                stack.pop()
                trail.pop(name)
                done.add(name)
            elif edge.service in trail:
                way = list(trail)
                cycle = [*way[way.index(edge.service) :], edge.service]
                # The edge written last is the one that closed the circle; a variant's is often it.
                at = max(
                    (
                        wish.at
                        for service, needed in pairwise(cycle)
                        for wish in wishes[service]
                        if wish.service == needed
                    ),
                    default=tables[name].place("depends_on"),
                )
                tables[name].problems.add(at, f"services wait for each other: {' → '.join(cycle)}")
            elif edge.service not in done:
                trail[edge.service] = None
                stack.append((edge.service, iter(edges[edge.service])))
