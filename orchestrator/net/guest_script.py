"""The shell that sets up a guest's network: its name, addresses, routes, and everybody's names. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

from orchestrator.net import name_server, router
from orchestrator.net.routes import Known, known_as, routes
from orchestrator.topology.model import Interface, Machine, Network

QEMU_NAME_SERVER: Final = "10.0.2.3"  # answers in a machine with egress
LACKS: Final[Mapping[int, tuple[str, str]]] = MappingProxyType({**router.LACKS, **name_server.LACKS})
"""Exit code → what a machine cannot be, and what to do: the script's stderr says why."""


def guest_network_script(
    machine: Machine, machines: Mapping[str, Machine], networks: Mapping[str, Network] = MappingProxyType({})
) -> str:
    """Shell for the guest: its name, its addresses by MAC, its routes, everybody's names. Pure, idempotent.

    The image knows nothing of the topology: the same image can be two machines,
    and both providers' guests are set up alike. ``/etc/hosts`` may be a link into
    a read-only store, so a link is replaced, not written through. What the shell can
    do itself starts no program: each costs an emulated CPU tens of milliseconds,
    while the guest still boots.
    """
    lines = ["umask 022", f"echo {machine.name} > /proc/sys/kernel/hostname"]
    if machine.links:
        lines += _addresses(machine)
        lines += [
            f'changes="${{changes}}route replace {one.to} via {one.via} dev ${card(one.out)}\n"'
            for one in routes(machine, machines, networks)
        ]
        lines += ["ip -batch - <<CHANGES", "$changes", "CHANGES"]
    if machine.is_router:
        lines.append(router.script({link.network: card(link.network) for link in machine.links}, networks))
    hosts = hosts_lines(machine, machines, networks)
    lines += [
        "[ ! -L /etc/hosts ] || rm -f /etc/hosts",
        " ".join(["printf '%s\\n'", *(f"'{line}'" for line in hosts), "> /etc/hosts"]),
    ]
    lines += _resolver(machine)
    return "\n".join(lines) + "\n"


def card(network: str) -> str:
    """The shell variable with the name of the network's card."""
    return f"found_{network.replace('-', '_')}"


def _addresses(machine: Machine) -> list[str]:
    lines = ["changes="]
    for link in machine.links:
        found = card(link.network)
        lines += [
            f"{found}=",
            "for card in /sys/class/net/*; do",
            f'  if {{ read -r mac < "$card/address"; }} 2>/dev/null && [ "$mac" = "{link.mac}" ]; then',
            f"    {found}=${{card##*/}}",
            "  fi",
            "done",
            f'[ -n "${found}" ] || {{ echo "no network card with the address {link.mac}" >&2; exit 71; }}',
            f'changes="${{changes}}address replace {link.address}/{link.prefix} dev ${found}',
            *_address6(link),
            f"link set ${found} up",
            '"',
        ]
    six = [link.network for link in machine.links if link.address6 is not None]
    if six:
        why = f"network {six[0]} has subnet6, and the kernel of the image has no IPv6"
        lines.append(f'[ -e /proc/net/if_inet6 ] || {{ echo "{why}" >&2; exit 71; }}')
    return lines


def _address6(link: Interface) -> list[str]:
    # Nobody else has it: to wait whether somebody objects would keep it unusable for a second.
    return [f"address replace {link.address6}/{link.prefix6} dev ${card(link.network)} nodad"] if link.address6 else []


def hosts_lines(machine: Machine, machines: Mapping[str, Machine], networks: Mapping[str, Network]) -> list[str]:
    """The lines of a machine's ``/etc/hosts``: those that it reaches, by the address at which it does."""
    lines = ["127.0.0.1 localhost", "::1 localhost ip6-localhost ip6-loopback"]
    # A machine's own first address is its name too; without a link it is loopback.
    if not machine.links:
        lines.append(f"127.0.1.1 {_names(machine)}")
    known = known_as(machine, machines, networks)
    for other in machines.values():
        found = known[other.name]
        if not machine.links and other.links:
            found = Known(other.links[0].address)  # it reaches nobody, and knows their names
        lines += [f"{each} {_names(other)}" for each in (found.address, found.address6) if each is not None]
    return lines


def _names(machine: Machine) -> str:
    """All names of a machine; its full name is first, as ``hostname -f`` wants it."""
    full = [alias for alias in machine.aliases if alias.startswith(f"{machine.name}.")][:1]
    return " ".join(dict.fromkeys((*full, machine.name, *machine.aliases)))


def _resolver(machine: Machine) -> list[str]:
    """Who is asked for names that are not in ``/etc/hosts``."""
    replace = "[ ! -L /etc/resolv.conf ] || rm -f /etc/resolv.conf"
    if machine.dns:
        servers = [name_server.ADDRESS, *([QEMU_NAME_SERVER] if machine.egress else [])]
        words = " ".join(f"'nameserver {server}'" for server in servers)
        return [replace, f"printf '%s\\n' {words} > /etc/resolv.conf", name_server.script(forwarded=machine.egress)]
    if machine.egress:
        return []
    # Nobody answers there, and every lookup of an IPv6 address would wait for it: seconds for each test.
    return [replace, "echo '# no egress: names outside have no address here' > /etc/resolv.conf"]
