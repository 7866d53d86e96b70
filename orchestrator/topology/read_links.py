"""The interfaces of machines: which networks they are on, with which addresses."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from typing import Final

from orchestrator.topology import network_values, values
from orchestrator.topology.addresses import assign, assign6
from orchestrator.topology.document import Node, quote
from orchestrator.topology.model import Interface, Network
from orchestrator.topology.positions import Position
from orchestrator.topology.tables import Table
from orchestrator.topology.variants import Merged

# Stand-ins: what is read with problems is never handed out.
NO_SUBNET: Final = IPv4Network("0.0.0.0/0")
NO_SUBNET6: Final = IPv6Network("::/0")
_NOWHERE: Final = IPv4Address(0)

Address = IPv4Address | IPv6Address


@dataclass(slots=True)
class _Entry:
    """An interface as it is written; an address that is None is still to be chosen."""

    machine: str
    network: Network
    table: Table
    mac: str
    address: IPv4Address | None
    address6: IPv6Address | None


def links(
    machines: Mapping[str, Table], topology: str, known: Mapping[str, Network], merged: Merged
) -> dict[str, tuple[Interface, ...]]:
    """The interfaces of each machine. What is written in the file is read first: what is chosen avoids it.

    Args:
        topology: its name; the derived MAC addresses depend on it.
        known: the networks.
    """
    entries = list(_written(machines, known, merged))
    for network in known.values():
        own = [entry for entry in entries if entry.network is network]
        if network.subnet != NO_SUBNET:
            _choose(network, own)
            _choose6(network, own)
    taken = {entry.mac for entry in entries if entry.mac}
    found: dict[str, tuple[Interface, ...]] = dict.fromkeys(machines, ())
    for entry in entries:
        network = entry.network
        mac = entry.mac or network_values.derived_mac(topology, entry.machine, network.name, frozenset(taken))
        taken.add(mac)
        link = Interface(network.name, entry.address or _NOWHERE, network.subnet.prefixlen, mac)
        if network.subnet6 is not None and entry.address6 is not None:
            link = Interface(link.network, link.address, link.prefix, mac, entry.address6, network.subnet6.prefixlen)
        found[entry.machine] = (*found[entry.machine], link)
    return found


def _written(machines: Mapping[str, Table], known: Mapping[str, Network], merged: Merged) -> Iterator[_Entry]:
    gone = merged.removed_names("networks")
    macs: dict[str, Position] = {}
    addresses: dict[tuple[str, Address], str] = {}
    for machine, owner in machines.items():
        for name, node in _networks(owner):
            label = f"network {quote(name)} of {owner.label}"
            table = Table(node, owner.problems, "machines.NAME.networks.NAME", label)
            if name not in known:
                owner.unknown(node.key, "network", name, known, gone)
                continue
            mac = table.optional("mac", network_values.mac, "")
            if mac and mac in macs:
                table.complain("mac", f"{mac} is taken by the machine at line {macs[mac].line}")
            elif mac:
                macs[mac] = table.place("mac")
            network = known[name]
            address = table.optional("address", network_values.address, None)
            address6 = table.optional("address6", network_values.address6, None)
            if address is not None and network.subnet != NO_SUBNET:
                _check(table, machine, network, address, addresses)
            if address6 is not None and network.subnet6 != NO_SUBNET6:
                _check6(table, machine, network, address6, addresses)
            yield _Entry(machine, network, table, mac, address, address6)


def _networks(owner: Table) -> Iterator[tuple[str, Node]]:
    """The networks of a machine, each with its table: those of a list have an empty one."""
    node = owner.get("networks")
    if node is None or node.items is None:
        yield from owner.entries("networks")
        return
    seen: set[str] = set()
    for item, name in owner.placed("networks", values.nonempty):
        if name in seen:
            owner.problems.add(item.at, f"{owner.label} is on network {quote(name)} already")
        else:
            yield name, Node(None, item.at, item.key, fields={})
        seen.add(name)


def _check(
    table: Table, machine: str, network: Network, address: IPv4Address, taken: dict[tuple[str, Address], str]
) -> None:
    subnet = network.subnet
    if address not in subnet:
        table.complain("address", f"{address} is outside {subnet}")
    elif address == subnet.network_address:
        table.complain("address", f"{address} is the first address of {subnet}, which means the network itself")
    elif address == subnet.broadcast_address:
        table.complain("address", f"{address} is the last address of {subnet}, which is for broadcast")
    else:
        _take(table, "address", machine, (network.name, address), taken)


def _check6(
    table: Table, machine: str, network: Network, address: IPv6Address, taken: dict[tuple[str, Address], str]
) -> None:
    subnet = network.subnet6
    if subnet is None:
        table.complain("address6", f"network {quote(network.name)} has no subnet6")
    elif address not in subnet:
        table.complain("address6", f"{address} is outside {subnet}")
    elif address == subnet.network_address:
        table.complain("address6", f"{address} is the first address of {subnet}, which means every router on it")
    else:
        _take(table, "address6", machine, (network.name, address), taken)


def _take(
    table: Table, key: str, machine: str, place: tuple[str, Address], taken: dict[tuple[str, Address], str]
) -> None:
    if owner := taken.get(place):
        table.complain(key, f"{place[1]} is the address of machine {quote(owner)}")
    else:
        taken[place] = machine


def _choose(network: Network, entries: list[_Entry]) -> None:
    written = {entry.address for entry in entries if entry.address is not None}
    chosen = assign(network.subnet, written, [entry.machine for entry in entries if entry.address is None])
    for entry in entries:
        if entry.address is None:
            entry.address = chosen.get(entry.machine)
            if entry.address is None:
                _full(entry, str(network.subnet), len(entries))


def _choose6(network: Network, entries: list[_Entry]) -> None:
    subnet = network.subnet6
    if subnet is None or subnet == NO_SUBNET6:
        return
    written = {entry.address6 for entry in entries if entry.address6 is not None}
    first = int(network.subnet.network_address)
    numbers = {
        entry.machine: int(entry.address) - first
        for entry in entries
        if entry.address6 is None and entry.address is not None
    }
    chosen = assign6(subnet, written, numbers)
    for entry in entries:
        if entry.machine in numbers:
            entry.address6 = chosen.get(entry.machine)
            if entry.address6 is None:
                _full(entry, str(subnet), len(entries))


def _full(entry: _Entry, subnet: str, machines: int) -> None:
    label = entry.table.label
    entry.table.problems.add(entry.table.node.key, f"{label}: no address of {subnet} is left for {machines} machines")
