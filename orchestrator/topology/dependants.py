"""What services rest on, and what rests on them. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orchestrator.topology.model import Service


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


def direct_dependants(services: Mapping[str, Service], name: str) -> tuple[str, ...]:
    """The services that name this one as what they depend on, in the order of the file."""
    return tuple(other for other, service in services.items() if any(one.service == name for one in service.depends_on))


def with_dependants(services: Mapping[str, Service], names: Iterable[str]) -> tuple[str, ...]:
    """These services and everything that rests on them, in the order of the file."""
    found = set(names)
    while True:
        more = {other for name in found for other in direct_dependants(services, name)} - found
        if not more:
            return tuple(name for name in services if name in found)
        found |= more
