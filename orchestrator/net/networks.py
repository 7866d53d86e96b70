"""Networks of one environment: what runs on the host for them, what each card is given.

``vde``: one vde_switch per network, its control folder in the environment's own
socket folder. ``socket``: no helper at all; the first machine listens on a UNIX
socket per peer, and bridges them with a hub inside its QEMU. Nothing is shared
between environments: no port, no path, no multicast group.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.deadline import Deadline, wait_until
from orchestrator.errors import HostError
from orchestrator.process import launch, tail
from orchestrator.process_id import ProcessId
from orchestrator.topology.model import Interface, Machine, Network, NetworkKind
from orchestrator.vm.arguments import Nic
from orchestrator.vm.option_values import value

SOCKET_NAME_LIMIT = 107  # bytes, sun_path less its final NUL


@dataclass(frozen=True, slots=True)
class NetworkPaths:
    """A network's places: ``sockets`` is short, ``logs`` is in the run folder."""

    sockets: Path
    logs: Path

    def switch(self, network: str) -> Path:
        return self.sockets / f"{network}.vde"

    def wire(self, network: str, machine: str) -> Path:
        """The socket between the hub's machine and another one."""
        return self.sockets / f"{network}.{machine}"


def nics_of(
    machine: Machine, machines: Mapping[str, Machine], networks: Mapping[str, Network], paths: NetworkPaths
) -> tuple[Nic, ...]:
    """The machine's cards, one per link. Pure."""
    hubs = list(networks)
    return tuple(
        _nic(machine, link, machines, networks[link.network], paths, hubs.index(link.network)) for link in machine.links
    )


def _nic(
    machine: Machine, link: Interface, machines: Mapping[str, Machine], network: Network, paths: NetworkPaths, hub: int
) -> Nic:
    name = f"net-{network.name}"
    if network.kind is NetworkKind.VDE:
        return Nic((f"vde,id={name},sock={value(paths.switch(network.name))}",), name, link.mac)
    members = [m.name for m in machines.values() if any(other.network == network.name for other in m.links)]
    if machine.name != members[0]:
        path = value(paths.wire(network.name, machine.name))
        # The hub's machine may start later, or again.
        return Nic((f"stream,id={name},server=off,addr.type=unix,addr.path={path},reconnect-ms=500",), name, link.mac)
    netdevs = []
    for peer in members[1:]:
        wire = f"{name}_{peer}"  # names of networks and machines hold no underscore
        path = value(paths.wire(network.name, peer))
        netdevs.append(f"stream,id={wire},server=on,addr.type=unix,addr.path={path}")
        netdevs.append(f"hubport,id={wire}_port,hubid={hub},netdev={wire}")
    netdevs.append(f"hubport,id={name},hubid={hub}")
    return Nic(tuple(netdevs), name, link.mac)


def connects_again(nics: Iterable[Nic]) -> bool:
    """Whether QEMU opens a socket of ours also later, which it may do only as who started it. Pure."""
    return any(",reconnect-ms=" in netdev for nic in nics for netdev in nic.netdevs)


def check_lengths(paths: NetworkPaths, network: Network, members: list[str]) -> None:
    """Raise a `HostError` where a socket's name would not fit."""
    names = [
        paths.switch(network.name) / "ctl",
        *(paths.wire(network.name, m) for m in members),
        *(paths.sockets / m / "egress-out" for m in members),  # the longest in a machine's folder
    ]
    longest = max(names, key=lambda path: len(os.fsencode(path)))
    if len(os.fsencode(longest)) > SOCKET_NAME_LIMIT:
        raise HostError(
            f"the socket name of network {network.name} is longer than {SOCKET_NAME_LIMIT} bytes",
            where=[str(longest)],
            hint="set XDG_RUNTIME_DIR to a shorter path, or use a shorter --name",
        )


async def start_switch(network: Network, paths: NetworkPaths, deadline: Deadline) -> ProcessId:
    """Start the vde_switch of a network and wait until it takes connections.

    Raises:
        HostError: vde_switch is missing, or ended.
    """
    folder = paths.switch(network.name)
    log = paths.logs / f"{network.name}.log"
    argv = ["vde_switch", "--sock", str(folder), "--dirmode", "0700", "--mode", "0600"]
    identity = launch(argv, log=log, endless_stdin=True)
    if not await wait_until(lambda: (folder / "ctl").exists() or not identity.alive, deadline):
        raise HostError(f"the switch of network {network.name} did not start", where=[str(log)])
    if not identity.alive:
        raise HostError(f"the switch of network {network.name} ended at once", where=[str(log)], evidence=tail(log, 5))
    return identity
