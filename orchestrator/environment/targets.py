"""Which services and machines a command's words mean. Pure."""

from __future__ import annotations

from collections.abc import Sequence

from orchestrator.errors import UsageError
from orchestrator.topology.model import Topology

MACHINE = "machine:"


def services_of(topology: Topology, names: Sequence[str]) -> tuple[str, ...]:
    """The services meant by names of services, or by ``machine:NAME``, or by names of machines.

    A name that is both means the service; ``machine:`` tells the machine.

    Raises:
        UsageError: with every name that is neither.
    """
    machines = machines_of(topology, names)
    unknown = [n for n in names if n not in topology.services and n.removeprefix(MACHINE) not in machines]
    if unknown:
        known = ", ".join([*topology.services, *(f"{MACHINE}{name}" for name in topology.machines)])
        raise UsageError(f"no service or machine is named {', '.join(unknown)}", why=f"known names are {known}")
    return tuple(
        service.name for service in topology.services.values() if service.name in names or service.machine in machines
    )


def machines_of(topology: Topology, names: Sequence[str]) -> list[str]:
    """The machines among the names."""
    return [
        name
        for name in topology.machines
        if f"{MACHINE}{name}" in names or (name in names and name not in topology.services)
    ]
