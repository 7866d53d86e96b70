"""Services and their checks in the topology file."""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import replace
from pathlib import Path

from orchestrator.topology import values
from orchestrator.topology.check_kind import CHECK_KINDS, CHECKS_TABLE, check_keys
from orchestrator.topology.dependencies import dependencies
from orchestrator.topology.document import quote
from orchestrator.topology.keys import ENVIRONMENT_NAME
from orchestrator.topology.kinds import known_kinds, owners
from orchestrator.topology.model import Check, Dependency, Layer, Machine, Service, ServiceKind
from orchestrator.topology.tables import Table
from orchestrator.topology.variants import Merged

IMPLIED_CHECK = "unit"
RENAMED_KINDS = {"gate": ServiceKind.TARGET}


def services(
    file: Table, machines: Mapping[str, Machine], layers: Mapping[str, Layer], merged: Merged, root: Path
) -> dict[str, Service]:
    """All services; dependencies on removed ones are replaced by what those depended on."""
    tables = dict(file.named("services", "service", "services.NAME"))
    kinds = {
        name: table.choice("kind", ServiceKind, ServiceKind.DAEMON, RENAMED_KINDS) for name, table in tables.items()
    }
    edges = dependencies(tables, kinds, merged)
    gone = merged.removed_names("machines")
    found = {}
    owners: dict[tuple[str, str], str] = {}
    for name, table in tables.items():
        service = _service(name, kinds[name], table, machines, gone, edges[name], root)
        uses = _uses(table, layers, merged.removed_names("layers"))
        found[name] = replace(service, uses=uses, stage=table.optional("stage", values.flag, False))
        key = (found[name].machine, found[name].unit or "")
        if key[1] and owners.setdefault(key, name) != name:
            table.complain("unit", f"{quote(key[1])} is the unit of service {quote(owners[key])} already")
    return found


def _uses(table: Table, layers: Mapping[str, Layer], gone: Iterable[str]) -> tuple[str, ...]:
    found: list[str] = []
    for node, layer in table.placed("uses", values.nonempty):
        table.unknown(node.at, "layer", layer, layers, gone)
        if layer in found:
            table.problems.add(node.at, f"{table.label} uses {quote(layer)} twice")
        found.append(layer)
    return tuple(found)


def _service(
    name: str,
    kind: ServiceKind,
    table: Table,
    machines: Mapping[str, Machine],
    gone: Iterable[str],
    depends_on: tuple[Dependency, ...],
    root: Path,
) -> Service:
    machine = table.required("machine", values.nonempty, "")
    table.refer(table.get("machine"), "machine", machines, gone)
    unit = table.optional("unit", values.unit, "") or None
    checks = _checks(table, machine, machines, gone, root)
    if kind is ServiceKind.TARGET:
        if table.has("unit"):
            table.complain("unit", "a target has no unit; leave it out, or make this a daemon or oneshot")
        for key in ("environment", "environment_file"):
            if table.has(key):
                table.complain(key, "a target has no unit that could have an environment")
        if not checks and not depends_on:
            table.problems.add(table.node.key, f"{table.label} is a target, so it needs checks or dependencies")
    elif not table.has("unit"):
        table.problems.add(table.node.key, f'{table.label} has no "unit" (only a target goes without)')
    elif kind is ServiceKind.DAEMON and unit and not checks:
        checks = (Check(IMPLIED_CHECK, machine, CHECK_KINDS.own()[IMPLIED_CHECK].of(unit)),)
    return Service(
        name=name,
        machine=machine,
        kind=kind,
        unit=unit,
        depends_on=depends_on,
        checks=checks,
        timeout=table.optional("timeout", values.seconds, 60.0),
        logs=table.array("logs", values.guest_path),
        description=table.optional("description", values.single_line, ""),
        after_restore=table.command("after_restore"),
        environment=environment(table),
        environment_file=table.path("environment_file", root) if table.has("environment_file") else None,
    )


def environment(table: Table) -> Mapping[str, str]:
    """The key ``environment``: names of variables, and their values."""
    found = table.mapping("environment", values.string)
    for name in found:
        if not re.fullmatch(ENVIRONMENT_NAME, name):
            table.complain("environment", f"{quote(name)} is not the name of an environment variable")
    return found


def _checks(
    service: Table, machine: str, machines: Mapping[str, Machine], gone: Iterable[str], root: Path
) -> tuple[Check, ...]:
    found = []
    for name, table in service.named("checks", "check", CHECKS_TABLE, check_keys):
        check = _check(name, table, machine, root)
        table.refer(table.get("from"), "machine", machines, gone)
        if check is not None:
            found.append(check)
    return tuple(found)


def _check(name: str, table: Table, machine: str, root: Path) -> Check | None:
    if table.node.fields is None:
        return None
    kinds = known_kinds(CHECKS_TABLE, CHECK_KINDS, table.node)
    present = [kind for kind in kinds if table.has(kind)]
    if len(present) != 1:
        what = f"has {' and '.join(present)}; it can be of one kind only"
        if not present:
            what = f"has nothing to check; it needs exactly one of {', '.join(CHECK_KINDS.every())}"
        table.problems.add(table.node.key, f"{table.label} {what}")
        return None
    kind = kinds[present[0]]
    for key in table.node.fields:
        others = owners(key, kinds)
        if others and kind.kind not in others:
            text = f'"{key}" belongs to {" and ".join(others)} checks, but {table.label} is of kind {kind.kind}'
            table.problems.add(table.place(key), text)
    return Check(
        name=name,
        machine=table.optional("from", values.nonempty, machine),
        spec=kind.read(table, root),
        timeout=table.optional("timeout", values.seconds, 5.0),
    )
