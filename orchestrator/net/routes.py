"""Who reaches whom: the ways over routers, and the address by which one machine knows another. Pure.

A network with ``nat`` is left and not entered: nobody outside has a way into it.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import TypeVar

from orchestrator.topology.model import Interface, Machine, Network

Address = IPv4Address | IPv6Address
A = TypeVar("A", IPv4Address, IPv6Address)


@dataclass(frozen=True, slots=True)
class Way:
    """How a machine gets to a network it is not on.

    Attributes:
        out: the network over which its packets leave it.
        router: who takes them there.
        hops: routers on the way, this one included.
    """

    out: str
    router: str
    hops: int


@dataclass(frozen=True, slots=True)
class Route:
    """A route as the kernel of a guest has it.

    Attributes:
        out: the network over which the packets leave.
    """

    to: IPv4Network | IPv6Network
    via: Address
    out: str


@dataclass(frozen=True, slots=True)
class Known:
    """The addresses by which a machine knows another; None: it cannot reach it by this family."""

    address: IPv4Address | None = None
    address6: IPv6Address | None = None


def ways(
    machine: Machine, machines: Mapping[str, Machine], networks: Mapping[str, Network], *, six: bool = False
) -> dict[str, Way]:
    """The networks that a machine reaches over routers, the nearest first.

    Of ways of one length it is that over the machine's first network and the first router of the file.

    Args:
        six: by IPv6, so only over networks that have it.
    """
    usable = [name for name, network in networks.items() if not six or network.subnet6 is not None]
    own = [link.network for link in machine.links if link.network in usable]
    found: dict[str, Way] = {}
    waiting = list(own)
    while waiting:
        here = waiting.pop(0)
        for router in machines.values():
            if not router.is_router or router.name == machine.name or link_on(router, here) is None:
                continue
            way = found.get(here)
            for link in router.links:
                if link.network not in usable or link.network in (*own, *found) or networks[link.network].nat:
                    continue
                found[link.network] = (
                    Way(here, router.name, 1) if way is None else Way(way.out, way.router, way.hops + 1)
                )
                waiting.append(link.network)
    return found


def routes(machine: Machine, machines: Mapping[str, Machine], networks: Mapping[str, Network]) -> list[Route]:
    """The routes that a machine needs, IPv4 first."""
    found = []
    for six in (False, True):
        for name, way in ways(machine, machines, networks, six=six).items():
            link = link_on(machines[way.router], way.out)
            if link is None:
                continue
            subnet: IPv4Network | IPv6Network | None = networks[name].subnet
            via: Address | None = link.address
            if six:
                subnet, via = networks[name].subnet6, link.address6
            if subnet is not None and via is not None:
                found.append(Route(subnet, via, way.out))
    return found


def known_as(machine: Machine, machines: Mapping[str, Machine], networks: Mapping[str, Network]) -> dict[str, Known]:
    """The addresses by which a machine reaches each: on a network of both, else over the fewest routers."""
    hops, hops6 = (
        {link.network: 0 for link in machine.links}
        | {name: way.hops for name, way in ways(machine, machines, networks, six=six).items()}
        for six in (False, True)
    )
    found = {}
    for other in machines.values():
        six = {link.network: link.address6 for link in other.links if link.address6 is not None}
        found[other.name] = Known(
            _nearest({link.network: link.address for link in other.links}, hops), _nearest(six, hops6)
        )
    if machine.links:  # its own name is its first address
        found[machine.name] = Known(machine.links[0].address, machine.links[0].address6)
    return found


def _nearest(addresses: Mapping[str, A], hops: Mapping[str, int]) -> A | None:
    reached = [network for network in addresses if network in hops]
    return addresses[min(reached, key=hops.__getitem__)] if reached else None


def link_on(machine: Machine, network: str) -> Interface | None:
    """The machine's interface on a network; None if it is not there."""
    return next((link for link in machine.links if link.network == network), None)
