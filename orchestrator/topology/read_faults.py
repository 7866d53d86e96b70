"""Faults of the topology file, and what each of them is on."""

from __future__ import annotations

import json
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import TopologyError, UsageError
from orchestrator.topology import values
from orchestrator.topology.document import Problems, parse, quote, suggest
from orchestrator.topology.fault_kind import FAULT_KINDS, Fault, FaultKind, Scope, fault_keys
from orchestrator.topology.model import Interface, Machine, Network, Service, Topology
from orchestrator.topology.tables import Table
from orchestrator.topology.variants import Merged


@dataclass(frozen=True, slots=True)
class Known:
    """What faults can be on."""

    machines: Mapping[str, Machine]
    services: Mapping[str, Service]
    networks: Mapping[str, Network]

    @classmethod
    def of(cls, topology: Topology) -> Known:
        return cls(topology.machines, topology.services, topology.networks)


@dataclass(frozen=True, slots=True)
class Spot:
    """One machine, link or service that a fault is on.

    Attributes:
        link: the interface, for faults of links and networks.
        unit: the unit, for faults of services.
    """

    machine: str
    link: Interface | None = None
    unit: str = ""


def faults(file: Table, known: Known, merged: Merged, root: Path) -> dict[str, Fault]:
    """All faults of a file. One on something that the variant removed is left out."""
    found = {}
    for name, table in file.named("faults", "fault", "faults.NAME", fault_keys):
        fault = _fault(name, table, root)
        if fault is None:
            continue
        if any(merged.was_removed(section, fault.on.partition(".")[0]) for section in ("machines", "services")):
            continue
        found[name] = fault
        if why := misplaced(fault, known):
            table.complain("on", why)
    return found


def _fault(name: str, table: Table, root: Path) -> Fault | None:
    word = table.required("kind", values.nonempty, "")
    on = table.required("on", values.nonempty, "")
    kind = FAULT_KINDS.find(word) if word else None
    if kind is None:
        if word:
            names = list(FAULT_KINDS.every())
            table.complain("kind", f"there is no fault {quote(word)}{suggest(word, names)}; {', '.join(names)}")
        return None
    return Fault(
        name=name,
        on=on,
        spec=kind.read(table, root),
        lasts=table.optional("for", values.seconds, 0.0) or None,
        at=table.optional("at", values.seconds, 0.0),
        recovers_within=table.optional("recovers_within", values.seconds, 0.0) or None,
    )


def used(phase: Table, known: Mapping[str, Fault], machine: str, merged: Merged) -> tuple[str, ...]:
    """The faults of a phase.

    Args:
        machine: where the suite runs: a fault must not take it away.
    """
    found: list[str] = []
    for item, name in phase.placed("faults", values.nonempty):
        if merged.was_removed("faults", name):
            continue
        if not phase.unknown(item.at, "fault", name, known):
            fault = known[name]
            if name in found:
                phase.problems.add(item.at, f"{phase.label} begins {quote(name)} twice")
            if fault.spec.cuts and fault.on == machine:
                phase.problems.add(
                    item.at, f"{quote(name)} would take away machine {quote(machine)}, which runs the tests"
                )
        found.append(name)
    return tuple(found)


def made_of(kind: str, on: str, lines: Sequence[str], topology: Topology) -> Fault:
    """A fault that no file declares.

    Args:
        lines: its keys and values, as TOML.

    Raises:
        UsageError: there is no such kind, or something is wrong with its keys or what it is on.
    """
    name = re.sub("[^a-z0-9]+", "-", f"{kind}-{on}".lower())[:31].strip("-")
    text = "\n".join([f"[faults.{name}]", f"kind = {json.dumps(kind)}", f"on = {json.dumps(on)}", *lines, ""])
    problems = Problems(Path("the command line"))
    try:
        file = Table(parse(text, problems), problems, "", "")
    except TopologyError as error:
        raise UsageError(f"fault {kind} cannot be made of these keys", evidence=error.evidence) from error
    found = faults(file, Known.of(topology), Merged(file.node, "", {}), topology.root)
    if problems.lines() or name not in found:
        told = [re.sub(r"^.*?:\d+:\d+: ", "", line) for line in problems.lines()]
        hint = "orchestrator fault kinds; docs/faults.md has all keys"
        raise UsageError(f"fault {kind} cannot be made of these keys", evidence=told, hint=hint)
    return found[name]


def toml_lines(keys: Mapping[str, object]) -> list[str]:
    """Keys and values of a program as lines of TOML."""
    return [f"{key} = {json.dumps(value)}" for key, value in keys.items()]


def misplaced(fault: Fault, known: Known) -> str:
    """Why a fault cannot be on what it says; empty if it can. Pure."""
    spec, on = fault.spec, fault.on
    match spec.scope:
        case Scope.NETWORK:
            return "" if on in known.networks else _unknown("network", on, known.networks)
        case Scope.SERVICE:
            if on not in known.services:
                return _unknown("service", on, known.services)
            return "" if known.services[on].unit else f"{quote(on)} is a target: it has no unit"
        case Scope.MACHINE:
            return "" if on in known.machines else _unknown("machine", on, known.machines)
    machine, _, network = on.partition(".")
    if machine not in known.machines:
        return _unknown("machine", machine, known.machines)
    names = [link.network for link in known.machines[machine].links]
    if not network and len(names) != 1:
        what = f"{len(names)} networks" if names else "no network"
        return f"machine {quote(machine)} is in {what}; write machine.network"
    if network and network not in names:
        return f"machine {quote(machine)} is not in network {quote(network)}{suggest(network, names)}"
    return ""


def _unknown(word: str, name: str, known: Mapping[str, object]) -> str:
    return f"{word} {quote(name)} is not defined{suggest(name, tuple(known))}"


def spots(fault: Fault, topology: Topology) -> tuple[Spot, ...]:
    """Where a fault is, one entry for each machine. Pure."""
    match fault.spec.scope:
        case Scope.SERVICE:
            service = topology.services[fault.on]
            return (Spot(service.machine, unit=str(service.unit)),)
        case Scope.MACHINE:
            return (Spot(fault.on),)
        case Scope.NETWORK:
            return tuple(
                Spot(machine.name, link)
                for machine in topology.machines.values()
                for link in machine.links
                if link.network == fault.on
            )
    machine, _, network = fault.on.partition(".")
    links = topology.machines[machine].links
    return (Spot(machine, next(link for link in links if network in ("", link.network))),)


def services_hit(fault: Fault, topology: Topology) -> tuple[str, ...]:
    """The services that a fault is on, without those that depend on them. Pure."""
    if fault.spec.scope is Scope.SERVICE:
        return (fault.on,)
    machines = {spot.machine for spot in spots(fault, topology)}
    return tuple(
        name
        for name, service in topology.services.items()
        if service.machine in machines or any(check.machine in machines for check in service.checks)
    )


def described(spec: FaultKind) -> str:
    """A fault's own keys and values, for people. Pure."""
    return ", ".join(f"{key} {_shown(value)}" for key, value in spec.written().items())


def _shown(value: object) -> str:
    if isinstance(value, float):
        return f"{value:g}"
    if isinstance(value, (list, tuple)):
        return (
            " | ".join(_shown(each) for each in value)
            if value and isinstance(value[0], tuple)
            else ",".join(map(_shown, value))
        )
    return str(value)
