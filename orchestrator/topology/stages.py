"""Stages: points of a start at which a state is saved, so that a later start repeats only what rests on a change. Pure.

Each stage has more services than the one before. ``base`` has every service that rests on no layer; ``healthy``, the
last, has all. A service with ``stage = true`` makes one more, with all that it depends on.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Final

from orchestrator.topology.model import Service, Topology

BASE: Final = "base"
HEALTHY: Final = "healthy"


@dataclass(frozen=True, slots=True)
class Stage:
    """A point of a start.

    Attributes:
        services: those that are up there.
    """

    name: str
    services: frozenset[str]


def stages_of(topology: Topology) -> tuple[Stage, ...]:
    """The stages of a start, the first one first; at least ``healthy``."""
    services = topology.services
    layered = _resting_on_layers(services)
    stages: list[Stage] = []
    reached: frozenset[str] = frozenset()
    wanted = [name for name in services if services[name].stage]
    early = sorted((name for name in wanted if name not in layered), key=lambda name: len(needed_by(services, [name])))
    late = sorted((name for name in wanted if name in layered), key=lambda name: len(needed_by(services, [name])))
    marks = [(name, needed_by(services, [name])) for name in early]
    if topology.layers:
        marks.append((BASE, frozenset(services) - layered))
    marks += [(name, needed_by(services, [name])) for name in late]
    for name, found in marks:
        grown = reached | found
        if grown != frozenset(services) and (grown != reached or not stages):
            stages.append(Stage(name, grown))
            reached = grown
    return (*stages, Stage(HEALTHY, frozenset(services)))


def _resting_on_layers(services: Mapping[str, Service]) -> frozenset[str]:
    """The services that use a layer, and all that depend on them."""
    found = {name for name, service in services.items() if service.uses}
    while True:
        more = {
            name
            for name, service in services.items()
            if name not in found and any(one.service in found for one in service.depends_on)
        }
        if not more:
            return frozenset(found)
        found |= more


def needed_by(services: Mapping[str, Service], names: Iterable[str]) -> frozenset[str]:
    """These services and all that they depend on."""
    found: set[str] = set()
    waiting = list(names)
    while waiting:
        name = waiting.pop()
        if name not in found:
            found.add(name)
            waiting += [one.service for one in services[name].depends_on]
    return frozenset(found)


def layers_of_stage(topology: Topology, stage: Stage, machine: str) -> tuple[str, ...]:
    """The layers that services of a stage use on a machine, in the order of the file."""
    used = {
        layer
        for name in stage.services
        if topology.services[name].machine == machine
        for layer in topology.services[name].uses
    }
    return tuple(name for name in topology.layers if name in used)
