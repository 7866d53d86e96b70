"""The words of networks: subnets, addresses, MAC addresses, names of machines. As `orchestrator.topology.values`."""

from __future__ import annotations

import re
from hashlib import sha256
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network, ip_address, ip_network
from typing import Final, TypeVar

from orchestrator.topology.document import Node, quote
from orchestrator.topology.value_types import InvalidValue, value
from orchestrator.topology.values import nonempty

_MAC = re.compile(r"[0-9a-f]{2}(?::[0-9a-f]{2}){5}")
_RESERVED_MAC = "12:34:56"  # the end of QEMU's own default: what forgets its address gets it
_LABEL = r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?"
_ALIAS = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*")
_N = TypeVar("_N", IPv4Network, IPv6Network)
_A = TypeVar("_A", IPv4Address, IPv6Address)
_UNFIT6: Final = {
    IPv6Network("fe80::/10"): "every interface has such an address of its own",
    IPv6Network("ff00::/8"): "these are addresses of groups",
    IPv6Network("::/96"): "these addresses have a meaning of their own",
    IPv6Network("::ffff:0:0/96"): "these are IPv4 addresses",
}


@value("IPv4 network", pattern="^[0-9.]+/[0-9]+$")
def subnet(node: Node) -> IPv4Network:
    """An IPv4 network like ``"192.168.1.0/24"`` with room for at least two machines."""
    return _network(node, IPv4Network, "192.168.1.0/24", longest=30)


@value("IPv4 address", pattern="^[0-9.]+$")
def address(node: Node) -> IPv4Address:
    return _address(node, IPv4Address, "192.168.1.2")


@value("IPv6 network", pattern="^[0-9a-fA-F:.]+/[0-9]+$")
def subnet6(node: Node) -> IPv6Network:
    """An IPv6 network like ``"fd00:1::/64"`` with room for at least two machines."""
    network = _network(node, IPv6Network, "fd00:1::/64", longest=126)
    for unfit, why in _UNFIT6.items():
        if network.overlaps(unfit):
            raise InvalidValue(f"{quote(nonempty(node))} overlaps {unfit}: {why}; private networks begin with fd")
    return network


@value("IPv6 address", pattern="^[0-9a-fA-F:.]+$")
def address6(node: Node) -> IPv6Address:
    return _address(node, IPv6Address, "fd00:1::2")


def _network(node: Node, kind: type[_N], example: str, longest: int) -> _N:
    """A network of a family, with its length and without an address inside it."""
    text = nonempty(node)
    try:
        network = ip_network(text, strict=False)
    except ValueError as error:
        raise InvalidValue(f"expected a network like {quote(example)}, found {quote(text)}") from error
    if not isinstance(network, kind):
        raise InvalidValue(f"expected an {_family(kind)} network, found {quote(text)}")
    if "/" not in text:
        meant = f"{text}/{example.partition('/')[2]}"
        raise InvalidValue(f"expected a network with its length, found {quote(text)} (did you mean {quote(meant)}?)")
    if ip_address(text.partition("/")[0]) != network.network_address:
        raise InvalidValue(f"{quote(text)} is an address inside a network (did you mean {quote(str(network))}?)")
    if network.prefixlen > longest:
        raise InvalidValue(f"{quote(text)} has no room for two machines; the length may be {longest} at most")
    return network


def _address(node: Node, kind: type[_A], example: str) -> _A:
    text = nonempty(node)
    try:
        found = ip_address(text if "%" not in text else "")
    except ValueError as error:
        raise InvalidValue(f"expected an {_family(kind)} address like {quote(example)}, found {quote(text)}") from error
    if not isinstance(found, kind):
        raise InvalidValue(f"expected an {_family(kind)} address, found {quote(text)}")
    return found


def _family(kind: type) -> str:
    return kind.__name__[: len("IPv4")]


@value("list of host names", pattern="^[a-z0-9.-]{1,253}$")
def alias(node: Node) -> str:
    """A host name in lower case, with or without a domain."""
    text = nonempty(node)
    if not _ALIAS.fullmatch(text):
        hint = f" (did you mean {quote(text.lower())}?)" if _ALIAS.fullmatch(text.lower()) else ""
        raise InvalidValue(f'expected a host name like "db" or "db.example", found {quote(text)}{hint}')
    if text.rpartition(".")[2].isdigit():
        raise InvalidValue(f"{quote(text)} ends in a number, so programs take it for an address")
    if text == "localhost" or text.endswith(".localhost"):
        raise InvalidValue(f"{quote(text)} is every machine itself")
    return text


@value("MAC address", pattern="^[0-9a-fA-F]{2}(:[0-9a-fA-F]{2}){5}$")
def mac(node: Node) -> str:
    """A unicast MAC address, in lower case."""
    value = nonempty(node).lower()
    if not _MAC.fullmatch(value):
        raise InvalidValue(f'expected an address like "52:54:00:1a:2b:3c", found {node.describe()}')
    if int(value[:2], 16) & 1:
        raise InvalidValue(f"{quote(value)} is a multicast address; a machine needs one whose first byte is even")
    if value == "00:00:00:00:00:00" or value.endswith(_RESERVED_MAC):
        raise InvalidValue(f"{quote(value)} is what broken or default set-ups use; choose another")
    return value


def derived_mac(topology: str, machine: str, network: str, taken: frozenset[str]) -> str:
    """The fixed address of a machine on a network: the same in every run, none of ``taken``."""
    seed = f"{topology}/{machine}/{network}"
    attempt = 0
    while True:
        tail = sha256(f"{seed}/{attempt}".encode() if attempt else seed.encode()).digest()[:3].hex(":")
        if tail != _RESERVED_MAC and (found := f"52:54:00:{tail}") not in taken:
            return found
        attempt += 1
