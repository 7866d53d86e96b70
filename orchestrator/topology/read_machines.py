"""Networks, images and machines of the topology file."""

from __future__ import annotations

from collections.abc import Mapping
from ipaddress import IPv4Address, IPv4Network
from pathlib import Path

from orchestrator.topology import values
from orchestrator.topology.document import quote
from orchestrator.topology.image_source import IMAGES_TABLE, image_keys, image_kinds
from orchestrator.topology.model import (
    Destination,
    GuestFile,
    Image,
    Interface,
    Machine,
    Network,
    NetworkKind,
    PortForward,
)
from orchestrator.topology.positions import Position
from orchestrator.topology.tables import Table, absolute
from orchestrator.topology.variants import Merged

_NOWHERE = IPv4Address(0)  # stand-ins: what is read with problems is never handed out
_NO_SUBNET = IPv4Network("0.0.0.0/0")
_USER_NETWORK = IPv4Network("10.0.2.0/24")  # QEMU's own, which every machine has for SSH and egress


def networks(file: Table) -> dict[str, Network]:
    found: dict[str, Network] = {}
    for name, table in file.named("networks", "network", "networks.NAME"):
        subnet = table.required("subnet", values.subnet, _NO_SUBNET)
        if subnet != _NO_SUBNET and subnet.overlaps(_USER_NETWORK):
            table.complain("subnet", f"{subnet} overlaps {_USER_NETWORK}, QEMU's user network of every machine")
        for other in found.values():
            if _NO_SUBNET not in (subnet, other.subnet) and subnet.overlaps(other.subnet):
                table.complain("subnet", f"{subnet} overlaps {other.subnet} of network {quote(other.name)}")
        found[name] = Network(name, table.choice("kind", NetworkKind, NetworkKind.VDE), subnet)
    return found


def images(file: Table, root: Path) -> dict[str, Image]:
    found = {}
    for name, table in file.named("images", "image", IMAGES_TABLE, image_keys):
        kinds = image_kinds(table.node)
        present = {provider: kind for provider, kind in kinds.items() if any(table.has(key) for key in kind.own_keys())}
        if not present:
            names = {name: kind.own_keys() for name, kind in kinds.items()}
            # The others say more of a source, and alone make none.
            keys = ", ".join(quote(key) for name, own in names.items() for key in own if key.startswith(name))
            table.problems.add(table.node.key, f"{table.label} needs one of {keys}")
        found[name] = Image(name, {provider: kind.read(table, root) for provider, kind in present.items()})
    return found


def machines(
    file: Table,
    topology: str,
    root: Path,
    known: Mapping[str, Network],
    images: Mapping[str, Image],
    merged: Merged,
) -> dict[str, Machine]:
    """All machines.

    Args:
        topology: its name; the derived MAC addresses depend on it.
        known: the networks.
        images: the images.
    """
    found = {}
    opened: dict[int, str] = {}  # fixed ports of the host, with the machine that has them
    gone = merged.removed_names("images")
    tables = dict(file.named("machines", "machine", "machines.NAME"))
    links = _links(tables, topology, known, merged)
    for name, table in tables.items():
        image = table.required("image", values.nonempty, "")
        table.refer(table.get("image"), "image", images, gone)
        egress, destinations = _egress(table)
        found[name] = Machine(
            name=name,
            image=image,
            cpus=table.optional("cpus", values.cpus, 1),
            memory=table.optional("memory", values.memory, 1024),
            links=links[name],
            egress=egress,
            destinations=destinations,
            ports=_ports(table, opened),
            files=_files(table, root),
        )
    return found


def _egress(table: Table) -> tuple[bool, tuple[Destination, ...]]:
    """Everything, nothing, or only these."""
    node = table.get("egress")
    if node is None:
        return False, ()
    if isinstance(node.value, bool):
        return node.value, ()
    if node.items is None:
        table.complain("egress", f"expected true, false or a list of hosts and ports, found {node.describe()}")
        return False, ()
    return False, tuple(dict.fromkeys(one for _, one in table.placed("egress", values.destination)))


def _ports(table: Table, opened: dict[int, str]) -> tuple[PortForward, ...]:
    found: list[PortForward] = []
    for node, forward in table.placed("ports", values.port_forward):
        if forward.host in opened:
            owner = opened[forward.host]
            table.problems.add(node.at, f"{table.label} opens host port {forward.host}, which {owner} opens already")
        elif forward.host:
            opened[forward.host] = table.label
        elif forward in found:
            table.problems.add(node.at, f"{table.label} forwards guest port {forward.guest} twice")
        found.append(forward)
    return tuple(found)


def _files(table: Table, root: Path) -> tuple[GuestFile, ...]:
    found: list[GuestFile] = []
    for index, node in enumerate(table.items("files")):
        entry = Table(node, table.problems, "machines.NAME.files", f"file {index + 1} of {table.label}")
        source = entry.required("source", values.host_path, "")
        target = entry.required("target", values.guest_path, "")
        if target and any(target == other.target for other in found):
            entry.complain("target", f"{quote(target)} is the target of another file")
        mode = entry.optional("mode", values.mode, 0o600)
        required = entry.optional("required", values.flag, True)
        found.append(GuestFile(absolute(root, source), target, mode, required))
    return tuple(found)


def _links(
    machines: Mapping[str, Table], topology: str, known: Mapping[str, Network], merged: Merged
) -> dict[str, tuple[Interface, ...]]:
    """The links of each machine. Addresses written in the file are read first: derived ones avoid them."""
    gone = merged.removed_names("networks")
    written: dict[str, Position] = {}
    tables: dict[str, list[tuple[str, Table, str]]] = {name: [] for name in machines}
    for machine, owner in machines.items():
        for network, node in owner.entries("networks"):
            label = f"network {quote(network)} of {owner.label}"
            table = Table(node, owner.problems, "machines.NAME.networks.NAME", label)
            if network not in known:
                owner.unknown(node.key, "network", network, known, gone)
                continue
            mac = table.optional("mac", values.mac, "")
            if mac and mac in written:
                table.complain("mac", f"{mac} is taken by the machine at line {written[mac].line}")
            elif mac:
                written[mac] = table.place("mac")
            tables[machine].append((network, table, mac))
    taken = set(written)
    addresses: dict[tuple[str, IPv4Address], str] = {}
    found = {}
    for machine, entries in tables.items():
        links = []
        for network, table, mac in entries:
            own = mac or values.derived_mac(topology, machine, network, frozenset(taken))
            taken.add(own)
            address = _address(table, machine, known[network], addresses)
            links.append(Interface(network, address, known[network].subnet.prefixlen, own))
        found[machine] = tuple(links)
    return found


def _address(table: Table, machine: str, network: Network, taken: dict[tuple[str, IPv4Address], str]) -> IPv4Address:
    address = table.required("address", values.address, _NOWHERE)
    subnet = network.subnet
    if address == _NOWHERE or subnet == _NO_SUBNET:
        return address
    if address not in subnet:
        table.complain("address", f"{address} is outside {subnet}")
    elif address == subnet.network_address:
        table.complain("address", f"{address} is the first address of {subnet}, which means the network itself")
    elif address == subnet.broadcast_address:
        table.complain("address", f"{address} is the last address of {subnet}, which is for broadcast")
    elif owner := taken.get((network.name, address)):
        table.complain("address", f"{address} is the address of machine {quote(owner)}")
    else:
        taken[network.name, address] = machine
    return address
