"""Stages: points of a start at which a state is saved, so that a later start repeats only what rests on a change. Pure.

Each stage has more services than the one before. ``base`` has every service that rests on no layer; ``healthy``, the
last, has all. A service with ``stage = true`` makes one more, with all that it depends on.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

from orchestrator.topology.dependants import needed_by, with_dependants
from orchestrator.topology.model import Topology

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
    layered = frozenset(with_dependants(services, (name for name in services if services[name].uses)))
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
