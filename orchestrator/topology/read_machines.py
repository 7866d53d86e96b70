"""Networks, images and machines of the topology file."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from ipaddress import IPv4Network, IPv6Network
from pathlib import Path

from orchestrator.topology import network_values, values
from orchestrator.topology.document import quote
from orchestrator.topology.image_source import IMAGES_TABLE, image_keys, image_kinds
from orchestrator.topology.model import (
    Cpu,
    Destination,
    GuestFile,
    Image,
    Machine,
    MachineKind,
    Network,
    NetworkKind,
    PortForward,
)
from orchestrator.topology.read_links import NO_SUBNET, NO_SUBNET6, links
from orchestrator.topology.tables import Table, absolute
from orchestrator.topology.variants import Merged

# QEMU's own, which every machine has for SSH and egress.
_USER_NETWORK = IPv4Network("10.0.2.0/24")
_USER_NETWORK6 = IPv6Network("fec0::/64")


def networks(file: Table) -> dict[str, Network]:
    found: dict[str, Network] = {}
    for name, table in file.named("networks", "network", "networks.NAME"):
        subnet = table.required("subnet", network_values.subnet, NO_SUBNET)
        if subnet != NO_SUBNET and subnet.overlaps(_USER_NETWORK):
            table.complain("subnet", f"{subnet} overlaps {_USER_NETWORK}, QEMU's user network of every machine")
        for other in found.values():
            if NO_SUBNET not in (subnet, other.subnet) and subnet.overlaps(other.subnet):
                table.complain("subnet", f"{subnet} overlaps {other.subnet} of network {quote(other.name)}")
        subnet6 = _subnet6(table, found)
        nat = table.optional("nat", values.flag, False)
        found[name] = Network(name, table.choice("kind", NetworkKind, NetworkKind.VDE), subnet, subnet6, nat)
    return found


def _subnet6(table: Table, others: Mapping[str, Network]) -> IPv6Network | None:
    if not table.has("subnet6"):
        return None
    subnet = table.optional("subnet6", network_values.subnet6, NO_SUBNET6)
    if subnet != NO_SUBNET6 and subnet.overlaps(_USER_NETWORK6):
        table.complain("subnet6", f"{subnet} overlaps {_USER_NETWORK6}, QEMU's user network of every machine")
    for other in others.values():
        if other.subnet6 is not None and NO_SUBNET6 not in (subnet, other.subnet6) and subnet.overlaps(other.subnet6):
            table.complain("subnet6", f"{subnet} overlaps {other.subnet6} of network {quote(other.name)}")
    return subnet


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
    cpu = file.choice("cpu", Cpu, Cpu.HOST)
    tables = dict(file.named("machines", "machine", "machines.NAME"))
    interfaces = links(tables, topology, known, merged)
    aliases = _aliases(tables)
    for name, table in tables.items():
        image = table.required("image", values.nonempty, "")
        table.refer(table.get("image"), "image", images, gone)
        egress, destinations = _egress(table)
        found[name] = Machine(
            name=name,
            image=image,
            cpus=table.optional("cpus", values.cpus, 1),
            memory=table.optional("memory", values.memory, 1024),
            links=interfaces[name],
            egress=egress,
            destinations=destinations,
            ports=_ports(table, opened),
            files=_files(table, root),
            kind=table.choice("kind", MachineKind, MachineKind.PLAIN),
            aliases=aliases[name],
            dns=table.optional("dns", values.flag, False),
            cpu=table.choice("cpu", Cpu, cpu),
        )
        if found[name].is_router and len(_networks_written(table)) < 2:
            table.complain("kind", "a router needs at least two networks")
    _check_nat(file, known, found)
    return found


def _networks_written(table: Table) -> Collection[object]:
    """What the machine has as networks, those with mistakes included: they have their own problems."""
    node = table.get("networks")
    return () if node is None else node.items or node.fields or ()


def _check_nat(file: Table, known: Mapping[str, Network], machines: Mapping[str, Machine]) -> None:
    routed = {link.network for machine in machines.values() if machine.is_router for link in machine.links}
    for network in known.values():
        node = file.node.find("networks", network.name, "nat")
        if network.nat and network.name not in routed and node is not None:
            file.problems.add(node.at, f"network {quote(network.name)} has nat, but no machine of kind router is on it")


def _aliases(tables: Mapping[str, Table]) -> dict[str, tuple[str, ...]]:
    """The aliases of each machine: no name means two machines."""
    owners: dict[str, str] = {}
    found = {}
    for name, table in tables.items():
        own = table.placed("aliases", network_values.alias)
        for node, alias in own:
            if alias in tables:
                table.problems.add(node.at, f"alias {quote(alias)} of {table.label} is the name of a machine")
            elif alias in owners:
                where = "there already" if owners[alias] == name else f"an alias of machine {quote(owners[alias])}"
                table.problems.add(node.at, f"alias {quote(alias)} of {table.label} is {where}")
            owners.setdefault(alias, name)
        found[name] = tuple(alias for _, alias in own)
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
