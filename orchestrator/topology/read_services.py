"""Services and their checks in the topology file."""

from __future__ import annotations

import math
import re
from collections.abc import Iterable, Mapping
from datetime import date, time
from functools import partial
from pathlib import Path
from typing import Final

from orchestrator.topology import values
from orchestrator.topology.dependencies import dependencies
from orchestrator.topology.document import Node, quote
from orchestrator.topology.model import Check, CheckKind, Dependency, Machine, Service, ServiceKind
from orchestrator.topology.tables import Table, absolute
from orchestrator.topology.values import InvalidValue
from orchestrator.topology.variants import Merged

# The keys beside `from` and `timeout` that a check of each kind may have.
_OWN_KEYS: Final[dict[CheckKind, tuple[str, ...]]] = {
    CheckKind.HTTP: ("status", "json", "contains", "headers", "ca", "verify"),
    CheckKind.TCP: (),
    CheckKind.EXEC: ("user", "stdout"),
    CheckKind.FILE: (),
    CheckKind.UNIT: (),
}
IMPLIED_CHECK = "unit"
RENAMED_KINDS = {"gate": ServiceKind.TARGET}
_ENVIRONMENT_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")


def services(file: Table, machines: Mapping[str, Machine], merged: Merged, root: Path) -> dict[str, Service]:
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
        found[name] = _service(name, kinds[name], table, machines, gone, edges[name], root)
        key = (found[name].machine, found[name].unit or "")
        if key[1] and owners.setdefault(key, name) != name:
            table.complain("unit", f"{quote(key[1])} is the unit of service {quote(owners[key])} already")
    return found


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
        checks = (Check(IMPLIED_CHECK, CheckKind.UNIT, machine, target=unit),)
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
        after_restore=command_line(table, "after_restore"),
        environment=environment(table),
        environment_file=table.path("environment_file", root) if table.has("environment_file") else None,
    )


def environment(table: Table) -> Mapping[str, str]:
    """The key ``environment``: names of variables, and their values."""
    found = table.mapping("environment", values.string)
    for name in found:
        if not _ENVIRONMENT_NAME.fullmatch(name):
            table.complain("environment", f"{quote(name)} is not the name of an environment variable")
    return found


def _checks(
    service: Table, machine: str, machines: Mapping[str, Machine], gone: Iterable[str], root: Path
) -> tuple[Check, ...]:
    found = []
    for name, table in service.named("checks", "check", "services.NAME.checks.NAME"):
        check = _check(name, table, machine, root)
        table.refer(table.get("from"), "machine", machines, gone)
        if check is not None:
            found.append(check)
    return tuple(found)


def _check(name: str, table: Table, machine: str, root: Path) -> Check | None:
    kinds = [kind for kind in CheckKind if table.has(kind)]
    if table.node.fields is None:
        return None
    if len(kinds) != 1:
        words = ", ".join(_OWN_KEYS)
        what = f"has {' and '.join(kinds)}" if kinds else "has nothing to check"
        table.problems.add(table.node.key, f"{table.label} {what}; it needs exactly one of {words}")
        return None
    kind = kinds[0]
    for other, keys in _OWN_KEYS.items():
        for key in keys:
            if other is not kind and table.has(key):
                text = f'"{key}" belongs to {other} checks, but {table.label} is of kind {kind}'
                table.problems.add(table.place(key), text)
    target = ""
    command: tuple[str, ...] = ()
    ca: Path | None = None
    match kind:
        case CheckKind.TCP:
            target = table.required(kind, values.endpoint, "")
        case CheckKind.HTTP:
            target = table.required(kind, values.url, "")
            ca = _tls(table, target, root)
        case CheckKind.FILE:
            target = table.required(kind, values.guest_path, "")
        case CheckKind.UNIT:
            target = table.required(kind, values.unit, "")
        case CheckKind.EXEC:
            command = command_line(table, kind)
    return Check(
        name=name,
        kind=kind,
        machine=table.optional("from", values.nonempty, machine),
        target=target,
        command=command,
        user=table.optional("user", values.user, "root"),
        stdout=table.optional("stdout", _pattern, None),
        status=table.optional("status", values.status, 200),
        json=table.optional("json", _json_table, None),
        contains=table.optional("contains", _text, None),
        headers=_headers(table),
        ca=ca,
        verify=table.optional("verify", values.flag, True),
        timeout=table.optional("timeout", values.seconds, 5.0),
    )


def _headers(table: Table) -> dict[str, str]:
    headers = table.mapping("headers", values.string)
    for name in headers:
        if not values.TOKEN.fullmatch(name):
            table.complain("headers", f"{quote(name)} is not the name of a header")
    return headers


def _tls(table: Table, target: str, root: Path) -> Path | None:
    """The file of certificates to trust; complains about keys without an effect."""
    if target and not target.lower().startswith("https:"):
        for key in ("ca", "verify"):
            if table.has(key):
                table.complain(key, "it needs an https:// URL")
        return None
    if table.has("ca") and table.has("verify"):
        table.complain("verify", 'use either "ca" or "verify", not both')
    return table.optional("ca", partial(_authorities, root=root), None)


def _authorities(node: Node, root: Path) -> Path | None:
    """A file of certificates that are trusted."""
    path = absolute(root, values.host_path(node))
    import ssl  # only where a check speaks TLS

    try:
        ssl.create_default_context(cafile=str(path))
    except FileNotFoundError as error:
        raise InvalidValue(f"there is no file {quote(str(path))}") from error
    except OSError as error:  # ssl.SSLError is one
        raise InvalidValue(f"{quote(str(path))} is not a readable file of certificates (PEM): {error}") from error
    return path


def command_line(table: Table, key: str) -> tuple[str, ...]:
    """A command as an array of arguments, the first of them a program."""
    words = table.array(key, values.string)
    node = table.get(key)
    if node is not None and node.items is not None and (not node.items or node.items[0].value == ""):
        table.complain(key, 'expected a command like ["psql", "-c", "select 1"], found no program')
    return words


def _pattern(node: Node) -> str | None:
    return values.pattern(node)


def _text(node: Node) -> str | None:
    return values.nonempty(node)


def _json_table(node: Node) -> Mapping[str, object] | None:
    """A table as the JSON object it stands for."""
    if node.fields is None:
        raise InvalidValue(f"expected a table of fields the body must have, found {node.describe()}")
    return {name: _json(entry) for name, entry in node.fields.items()}


def _json(node: Node) -> object:
    if node.fields is not None:
        return {name: _json(entry) for name, entry in node.fields.items()}
    if node.items is not None:
        return [_json(item) for item in node.items]
    endless = isinstance(node.value, float) and not math.isfinite(node.value)
    if endless or isinstance(node.value, (date, time)):
        raise InvalidValue(f"JSON knows no {node.describe().removeprefix('the ')}; write it as a string")
    return node.value
