"""The destinations outside that a machine may reach: their addresses, their names in the guest, their filter.

See `orchestrator.net.egress_filter` for the filter itself.
"""

from __future__ import annotations

import socket
import sys
from collections.abc import Mapping, Sequence
from ipaddress import ip_address
from pathlib import Path

from orchestrator.deadline import Deadline
from orchestrator.errors import HostError
from orchestrator.net import egress_filter
from orchestrator.process import launch
from orchestrator.process_id import ProcessId
from orchestrator.threads import in_thread
from orchestrator.topology.model import Destination, Machine
from orchestrator.vm.arguments import MachinePaths, kept_variables

RESOLVE_LIMIT = 20.0  # seconds
MARK = "# egress"
HOST = "10.0.2.2"  # this host's loopback, as the guest sees it

Addresses = Mapping[str, tuple[str, ...]]  # name → IPv4 addresses


async def addresses_of(machine: Machine, deadline: Deadline) -> dict[str, tuple[str, ...]]:
    """The IPv4 addresses of all names of a machine's destinations, by the host's resolver.

    Raises:
        HostError: a name has none.
    """
    limit = deadline.earlier(RESOLVE_LIMIT)
    found: dict[str, tuple[str, ...]] = {}
    for name in dict.fromkeys(one.host for one in machine.destinations):
        found[name] = await _lookup(machine.name, name, limit)
    return found


async def _lookup(machine: str, name: str, limit: Deadline) -> tuple[str, ...]:
    def failed(why: str) -> HostError:
        return HostError(
            f"{name} has no address, and machine {machine} needs it",
            subject=machine,
            why=why,
            hint=f"getent ahostsv4 {name}; or remove it from egress of machine {machine}",
        )

    try:
        async with limit.enforce(lambda: failed(f"the host's resolver did not answer within {limit}")):
            answers = await in_thread(socket.getaddrinfo, name, None, socket.AF_INET, socket.SOCK_STREAM)
    except (socket.gaierror, UnicodeError) as error:
        raise failed(str(error)) from error
    found = {str(answer[4][0]) for answer in answers}
    return tuple(sorted(HOST if ip_address(one).is_loopback else one for one in found))


def rules_of(destinations: Sequence[Destination], addresses: Addresses) -> list[str]:
    """What the filter lets pass, as it takes it. Pure."""
    words = {f"{one.protocol}:{address}:{one.port}" for one in destinations for address in addresses.get(one.host, ())}
    return sorted(words)


def names_script(addresses: Addresses) -> str:
    """Shell for the guest: the names into /etc/hosts, instead of those of an earlier start. Pure, idempotent."""
    lines = [f"{address} {name} {MARK}" for name, found in addresses.items() for address in found if address != name]
    return "\n".join(
        [
            "set -e; umask 022",
            f"kept=$(grep -v '{MARK}$' /etc/hosts)",
            " ".join(["{ printf '%s\\n' \"$kept\"", *(f"'{line}'" for line in lines), "; } > /etc/hosts"]),
        ]
    )


def start_filter(
    machine: Machine,
    paths: MachinePaths,
    addresses: Addresses,
    log: Path,
    inherited: Mapping[str, str],
    user: str = "",
) -> ProcessId:
    """Start the egress filter of a machine; it ends with QEMU.

    Args:
        inherited: the caller's environment, of which it gets what QEMU gets.
        user: ``uid:gid`` it becomes once it is connected; empty: it stays who started it.

    Raises:
        HostError: it could not be started.
    """
    program = [sys.executable, "-I", "-S", str(egress_filter.__file__)]
    sockets = [str(paths.egress_out), str(paths.egress_in)]
    words = [*program, *sockets, user, *rules_of(machine.destinations, addresses)]
    return launch(words, log=log, env=kept_variables(inherited))
