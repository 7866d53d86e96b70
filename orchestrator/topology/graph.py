"""The order of services: levels, dependants, the critical path, and drawings of them.

Everything here is a pure function of a loaded topology, which has no cycles.
"""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.text import json_text
from orchestrator.topology.model import Condition, Service, ServiceKind, Topology
from orchestrator.topology.network_view import network_rows, networks_data

_WORDS = {Condition.STARTED: "started", Condition.HEALTHY: "healthy", Condition.COMPLETED: "completed"}


def order(topology: Topology) -> tuple[tuple[str, ...], ...]:
    """Levels of services: those of one level may start at the same time.

    A service is one level below its deepest dependency; within a level
    the order is that of the file.
    """
    depth: dict[str, int] = {}
    for name in _sorted(topology):
        above = (depth[dependency.service] for dependency in topology.services[name].depends_on)
        depth[name] = max(above, default=-1) + 1
    levels: list[list[str]] = [[] for _ in range(max(depth.values(), default=-1) + 1)]
    for name in topology.services:
        levels[depth[name]].append(name)
    return tuple(tuple(level) for level in levels)


def dependants(topology: Topology, name: str) -> tuple[str, ...]:
    """All that need a service, directly or not, in start order; without the service itself.

    Raises:
        KeyError: there is no such service.
    """
    topology.services[name]
    found = {name}
    for level in order(topology):
        for each in level:
            if any(dependency.service in found for dependency in topology.services[each].depends_on):
                found.add(each)
    return tuple(each for level in order(topology) for each in level if each in found and each != name)


def as_text(topology: Topology) -> str:
    """The levels with machine, kind and conditions, one service a line; then networks that tell something."""
    rows = [(row.name, row.what, ", ".join(row.members) or "-") for row in network_rows(topology)]
    networks = "\n" + _table([("NETWORK", "SUBNETS", "MACHINES"), *rows]) if rows else ""
    return _services_text(topology) + networks


def _services_text(topology: Topology) -> str:
    if not topology.services:
        return "no services\n"
    rows = [
        (str(number) if index == 0 else "", name, *_columns(topology.services[name]))
        for number, level in enumerate(order(topology), start=1)
        for index, name in enumerate(level)
    ]
    return _table([("LEVEL", "SERVICE", "MACHINE", "KIND", "WAITS FOR"), *rows])


def _table(rows: Sequence[tuple[str, ...]]) -> str:
    """Rows of cells as lines, the columns below each other."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]
    lines = ("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() for row in rows)
    return "\n".join(lines) + "\n"


def _columns(service: Service) -> tuple[str, str, str]:
    waits = ", ".join(f"{each.service} ({_WORDS[each.condition]})" for each in service.depends_on)
    return service.machine, service.kind, waits or "-"


def as_mermaid(topology: Topology) -> str:
    """A Mermaid flow chart: a box around each machine, the condition on each edge; lines to its networks."""
    lines = ["flowchart TD"]
    for machine in topology.machines:
        inside = topology.services_on(machine)
        if inside:
            lines.append(f'    subgraph {_node("m", machine)}["{machine}"]')
            lines += [f"        {_shape(service)}" for service in inside]
            lines.append("    end")
    for service in topology.services.values():
        lines += [
            f"    {_node('s', each.service)} -->|{_WORDS[each.condition]}| {_node('s', service.name)}"
            for each in service.depends_on
        ]
    return "\n".join([*lines, *_mermaid_networks(topology)]) + "\n"


def _mermaid_networks(topology: Topology) -> list[str]:
    rows = network_rows(topology)
    boxes = {service.machine for service in topology.services.values()}
    lines = [f'    {_node("m", name)}["{name}"]' for name in topology.machines if rows and name not in boxes]
    lines += [f'    {_node("n", row.name)}(("{row.name}<br>{row.what}"))' for row in rows]
    return lines + [
        f"    {_node('m', machine.name)} --- {_node('n', link.network)}"
        for machine in topology.machines.values()
        for link in machine.links
        if rows
    ]


def _node(prefix: str, name: str) -> str:
    # Bare names may be words of Mermaid ("end"), and hyphens begin arrows.
    return f"{prefix}_{name.replace('-', '_')}"


def _shape(service: Service) -> str:
    node = _node("s", service.name)
    if service.kind is ServiceKind.TARGET:
        return f'{node}{{{{"{service.name}"}}}}'
    if service.kind is ServiceKind.ONESHOT:
        return f'{node}(["{service.name}"])'
    return f'{node}["{service.name}"]'


def as_json(topology: Topology) -> str:
    """One JSON document: ``levels`` (lists of names), ``services`` (with ``level``, from 1) and ``layers``.

    ``networks`` is there where the text has them.
    """
    levels = order(topology)
    level = {name: number for number, names in enumerate(levels, start=1) for name in names}
    services = [
        {
            "name": service.name,
            "machine": service.machine,
            "kind": service.kind.value,
            "unit": service.unit,
            "level": level[service.name],
            "depends_on": {each.service: each.condition.value for each in service.depends_on},
            "dependants": list(dependants(topology, service.name)),
            "uses": list(service.uses),
        }
        for service in topology.services.values()
    ]
    layers = [
        {
            "name": layer.name,
            "target": layer.target,
            "machines": [name for name in topology.machines if layer in topology.layers_of(name)],
        }
        for layer in topology.layers.values()
    ]
    data = {
        "topology": topology.name,
        "variant": topology.variant,
        "levels": levels,
        "services": services,
        "layers": layers,
    }
    if networks := networks_data(topology):
        data["networks"] = networks
    return json_text(data, indent=2) + "\n"


def _sorted(topology: Topology) -> tuple[str, ...]:
    """All services, each after its dependencies."""
    found: dict[str, None] = {}
    waiting = dict(topology.services)
    while waiting:
        ready = [
            name
            for name, service in waiting.items()
            if all(dependency.service in found for dependency in service.depends_on)
        ]
        if not ready:
            raise ValueError(f"services wait for each other: {', '.join(waiting)}")
        for name in ready:
            found[name] = None
            del waiting[name]
    return tuple(found)
