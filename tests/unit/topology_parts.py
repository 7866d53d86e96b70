"""Parts of a topology for tests that need no file."""

from __future__ import annotations

from ipaddress import IPv4Address, IPv4Network
from pathlib import Path
from typing import Any

from orchestrator.topology.model import Interface, Machine, Network, NetworkKind, PortForward, Topology


def machine(
    name: str = "server",
    *,
    links: tuple[Interface, ...] = (),
    egress: bool = False,
    ports: tuple[tuple[int, int], ...] = (),
    memory: int = 1024,
    cpus: int = 2,
) -> Machine:
    forwards = tuple(PortForward(host, guest) for host, guest in ports)
    return Machine(name, "image", cpus, memory, links, egress, forwards)


def link(network: str, last: int, subnet: int = 1) -> Interface:
    return Interface(network, IPv4Address(f"192.168.{subnet}.{last}"), 24, f"52:54:00:00:{subnet:02x}:{last:02x}")


def network(name: str, kind: NetworkKind = NetworkKind.VDE, subnet: int = 1) -> Network:
    return Network(name, kind, IPv4Network(f"192.168.{subnet}.0/24"))


def topology(path: Path, *machines: Machine, **parts: Any) -> Topology:
    """A topology of these machines; ``parts`` replaces fields."""
    fields: dict[str, Any] = {
        "name": "shop",
        "path": path / "orchestrator.toml",
        "variant": "",
        "variants": (),
        "networks": {},
        "images": {},
        "machines": {m.name: m for m in machines},
        "services": {},
        "suite": None,
    }
    return Topology(**{**fields, **parts})
