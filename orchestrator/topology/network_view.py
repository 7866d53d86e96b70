"""The networks of a topology as views show them: who is on which, with which addresses. Pure.

Where all machines are on one plain network there is nothing to tell, and the views leave it out.
"""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.topology.model import Machine, Network, Topology


@dataclass(frozen=True, slots=True)
class NetworkRow:
    """A network.

    Attributes:
        what: its subnets, and whether it is masqueraded.
        members: the machines on it, each with its addresses.
    """

    name: str
    what: str
    members: tuple[str, ...]


def network_rows(topology: Topology) -> tuple[NetworkRow, ...]:
    """All networks, in the order of the file; none where there is nothing to tell."""
    if _plain(topology):
        return ()
    return tuple(
        NetworkRow(network.name, ", ".join(_words(network)), tuple(_members(network, topology)))
        for network in topology.networks.values()
    )


def addresses(machine: Machine) -> dict[str, list[str]]:
    """The addresses of a machine by network, IPv4 first."""
    return {link.network: [str(address) for address in link.addresses] for link in machine.links}


def networks_data(topology: Topology) -> list[dict[str, object]]:
    """The networks as JSON-ready data; an empty list where there is nothing to tell."""
    return [
        {
            "name": network.name,
            "kind": network.kind.value,
            "subnet": str(network.subnet),
            "subnet6": str(network.subnet6) if network.subnet6 else None,
            "nat": network.nat,
            "machines": {
                machine.name: {"kind": machine.kind.value, "addresses": [str(one) for one in link.addresses]}
                for machine in topology.machines.values()
                for link in machine.links
                if link.network == network.name
            },
        }
        for network in topology.networks.values()
        if not _plain(topology)
    ]


def _plain(topology: Topology) -> bool:
    special = any(machine.is_router or machine.aliases for machine in topology.machines.values())
    return len(topology.networks) < 2 and not special and not any(n.subnet6 for n in topology.networks.values())


def _words(network: Network) -> list[str]:
    return [
        str(network.subnet),
        *([str(network.subnet6)] if network.subnet6 else []),
        *(["nat"] if network.nat else []),
    ]


def _members(network: Network, topology: Topology) -> list[str]:
    found = []
    for machine in topology.machines.values():
        for link in machine.links:
            if link.network == network.name:
                words = [machine.name, *(str(address) for address in link.addresses)]
                found.append(" ".join(words) + (" (router)" if machine.is_router else ""))
    return found
