"""Addresses of machines that have none in the file. Pure.

IPv4: the machines in the order of their names, each the lowest address that is free. IPv6: the number that the IPv4
address has in its subnet; where that is taken, the lowest that is free. What is written in the file is never given to
another machine. The order of the file does not matter: a machine that is added moves those after it in the
alphabet, and no other.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network


def assign(subnet: IPv4Network, written: Collection[IPv4Address], machines: Iterable[str]) -> dict[str, IPv4Address]:
    """An address for each of these machines, by name; those at the end get none if there are not enough.

    Args:
        written: addresses that are taken.

    >>> assign(IPv4Network("10.1.0.0/29"), [IPv4Address("10.1.0.1")], ["web", "db"])
    {'db': IPv4Address('10.1.0.2'), 'web': IPv4Address('10.1.0.3')}
    """
    taken = set(written)
    free = (address for address in subnet.hosts() if address not in taken)
    return dict(zip(sorted(machines), free, strict=False))


def assign6(
    subnet: IPv6Network, written: Collection[IPv6Address], numbers: Mapping[str, int]
) -> dict[str, IPv6Address]:
    """An address for each of these machines, by name; those at the end get none if there are not enough.

    Args:
        written: addresses that are taken.
        numbers: per machine, the number that its IPv4 address has in the IPv4 subnet.

    >>> assign6(IPv6Network("fd00:1::/64"), [IPv6Address("fd00:1::2")], {"db": 2, "web": 10})
    {'db': IPv6Address('fd00:1::1'), 'web': IPv6Address('fd00:1::a')}
    """
    taken = set(written)
    found: dict[str, IPv6Address] = {}
    for machine in sorted(numbers):
        number = numbers[machine]
        # Number 0 is every router of the subnet (RFC 4291, 2.6.1).
        if 0 < number < subnet.num_addresses and (address := subnet[number]) not in taken:
            found[machine] = address
            taken.add(address)
    free = (address for address in _numbered(subnet) if address not in taken)
    for machine in sorted(numbers):
        if machine not in found and (lowest := next(free, None)) is not None:
            found[machine] = lowest
    return {machine: found[machine] for machine in sorted(found)}


def _numbered(subnet: IPv6Network) -> Iterator[IPv6Address]:
    return (subnet[number] for number in range(1, subnet.num_addresses))
