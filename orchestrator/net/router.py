"""What makes a guest a router: rules for nftables, and forwarding. Pure.

A router passes packets between its networks and nowhere else: nothing comes from QEMU's user network or goes
there, else one machine with egress would open the world to all.

The guest may still be booting, and the firewall of an image usually begins with ``flush ruleset``. So systemd loads
the rules, after that, and again whenever it restarts that firewall.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterable, Mapping
from types import MappingProxyType
from typing import Final

from orchestrator.topology.model import Network

NO_NFT: Final = 72
RULES_REFUSED: Final = 73
TABLE: Final = "orchestrator_router"
UNIT: Final = "orchestrator-router"
RULES: Final = "/run/orchestrator/router.nft"
FIREWALL: Final = "nftables.service"
PROPERTIES: Final = (
    "Type=oneshot",
    "RemainAfterExit=yes",
    "DefaultDependencies=no",
    f"After={FIREWALL}",
    "After=systemd-sysctl.service",
    f"PartOf={FIREWALL}",
)
# Forwarding comes last: until the rules are there, it would pass on whatever comes.
LOAD: Final = (
    f"PATH=$PATH:/run/current-system/sw/bin; nft -f {RULES}; echo 1 > /proc/sys/net/ipv4/ip_forward; "
    "if [ -e /proc/sys/net/ipv6 ]; then echo 1 > /proc/sys/net/ipv6/conf/all/forwarding; fi"
)
LACKS: Final[Mapping[int, tuple[str, str]]] = MappingProxyType(
    {
        NO_NFT: (
            "cannot be a router",
            "add the package nftables to the recipe of its image; in NixOS, networking.nftables.enable = true",
        ),
        RULES_REFUSED: (
            "cannot be a router",
            "its kernel needs the modules nf_tables, nft_ct, nft_masq and nft_chain_nat: Debian's "
            "linux-image-cloud-amd64 and linux-image-amd64 have them",
        ),
    }
)


def script(cards: Mapping[str, str], networks: Mapping[str, Network]) -> str:
    """Shell for the guest, idempotent.

    Args:
        cards: the router's networks, each with the shell variable that holds the name of its card.
    """
    nat = [name for name in cards if name in networks and networks[name].nat]
    start = [
        "systemd-run",
        "--quiet",
        "--expand-environment=no",
        f"--unit={UNIT}",
        *(f"--property={one}" for one in PROPERTIES),
    ]
    return "\n".join(
        [
            f'command -v nft >/dev/null || {{ echo "the image has no program nft" >&2; exit {NO_NFT}; }}',
            "mkdir -p -m 0755 /run/orchestrator",
            f"cat > {RULES} <<RULES",
            f"table inet {TABLE}",  # else there is none to delete
            f"delete table inet {TABLE}",
            *_table(cards, nat),
            "RULES",
            f"nft -c -f {RULES} || exit {RULES_REFUSED}",  # says here what systemd would tell its journal
            f"if [ -e /run/systemd/transient/{UNIT}.service ]; then systemctl restart {UNIT}.service",
            f"else {shlex.join([*start, '/bin/sh', '-ec', LOAD])}; fi || exit {RULES_REFUSED}",
        ]
    )


def _table(cards: Mapping[str, str], nat: list[str]) -> list[str]:
    every = _set(cards.values())
    entered = [card for name, card in cards.items() if name not in nat]
    lines = [
        f"table inet {TABLE} {{",
        "  chain forward {",
        "    type filter hook forward priority filter; policy drop;",
    ]
    if nat:
        lines.append(f"    iifname {every} oifname {every} ct state established,related accept")
    if entered:
        lines.append(f"    iifname {every} oifname {_set(entered)} accept")
    lines.append("  }")
    if nat:
        lines += ["  chain postrouting {", "    type nat hook postrouting priority srcnat;"]
        for name in nat:
            others = [card for other, card in cards.items() if other != name]
            lines.append(f'    iifname "${cards[name]}" oifname {_set(others)} masquerade')
        lines.append("  }")
    return [*lines, "}"]


def _set(cards: Iterable[str]) -> str:
    return "{ " + ", ".join(f'"${card}"' for card in cards) + " }"
