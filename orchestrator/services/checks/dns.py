"""The check ``dns``: a name resolves in the guest, as its programs resolve it or as one name server answers.

Without ``nameserver`` the guest's own resolver is asked (getent), /etc/hosts included. With it, one question goes
there over UDP. The guest sends it with its shell: no image needs a tool for that.
"""

from __future__ import annotations

import struct
from collections.abc import Iterator
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address, ip_address
from typing import Annotated, ClassVar, Final

from orchestrator.topology import values
from orchestrator.topology.check_kind import CheckKind, CheckResult, Guest
from orchestrator.topology.document import Node
from orchestrator.topology.keys import Key
from orchestrator.topology.urls import parse_endpoint, parse_host
from orchestrator.topology.value_types import Array, InvalidValue, value

# One datagram out, one back, as hexadecimal digits. Nothing comes back: the limit of the attempt ends it.
SCRIPT: Final = 'exec 3<>"/dev/udp/$1/$2" && printf "$3" >&3 && dd bs=4096 count=1 <&3 2>/dev/null | od -An -v -tx1'
PORT: Final = 53
TYPES: Final = {"A": 1, "AAAA": 28}
CODES: Final = {1: "FORMERR", 2: "SERVFAIL", 3: "NXDOMAIN", 4: "NOTIMP", 5: "REFUSED"}
_ID: Final = 0x6F72  # any number: each question has a socket of its own


@value("host name", minLength=1, maxLength=253)
def host_name(node: Node) -> str:
    text = values.nonempty(node)
    try:
        return parse_host(text)
    except ValueError as error:
        raise InvalidValue(f'expected the name of a host like "server", found {node.describe()}: {error}') from error


@value("list of IP addresses")
def any_address(node: Node) -> str:
    """An IPv4 or IPv6 address, as it is written when it is compared."""
    try:
        return str(ip_address(values.nonempty(node)))
    except ValueError as error:
        raise InvalidValue(f"expected an IP address, found {node.describe()}") from error


@value("IP address, perhaps with `:port`")
def nameserver(node: Node) -> str:
    text = values.nonempty(node)
    try:
        ip_address(address_and_port(text)[0])
    except ValueError as error:
        raise InvalidValue(
            f'expected an address like "10.0.0.1" or "[fd00::1]:5353", found {node.describe()}'
        ) from error
    return text


def address_and_port(server: str) -> tuple[str, int]:
    """Where a name server listens.

    Raises:
        ValueError: it is written in another way.
    """
    plain = server.count(":") > 1 and not server.startswith("[")  # an IPv6 address by itself
    return (server, PORT) if plain or ":" not in server else parse_endpoint(server)


@dataclass(frozen=True, slots=True)
class DnsCheck(CheckKind):
    kind: ClassVar[str] = "dns"
    examples: ClassVar[tuple[str, ...]] = (
        'dns = "server"\naddresses = ["192.168.1.2"]',
        'dns = "api.example.org"\nnameserver = "192.168.1.1"',
    )

    dns: Annotated[str, Key(host_name, "the name resolves in the guest, to at least one address")]
    addresses: Annotated[
        tuple[str, ...],
        Key(Array(any_address, "list of IP addresses"), "dns: the name resolves to all of these, and perhaps others"),
    ] = ()
    nameserver: Annotated[
        str | None,
        Key(nameserver, "dns: who is asked, over UDP; without it the resolver of the guest, /etc/hosts included"),
    ] = None

    @property
    def label(self) -> str:
        return f"DNS {self.dns}" if self.nameserver is None else f"DNS {self.dns} from {self.nameserver}"

    async def run(self, guest: Guest) -> CheckResult:
        if self.nameserver is None:
            result = await guest.run(["getent", "ahosts", self.dns])
            lines = result.text.splitlines() if result.code == 0 else []
            return self.judge({line.split()[0] for line in lines if line}, "")
        found: set[str] = set()
        trouble = ""
        for kind in self._types():
            host, port = address_and_port(self.nameserver)
            question = "".join(f"\\x{byte:02x}" for byte in encode(self.dns, TYPES[kind]))
            result = await guest.run(["bash", "-c", SCRIPT, "bash", host, str(port), question])
            if not result.text:
                return CheckResult.of(False, f"{self.label}: {result.complaint or 'no answer'}")
            try:
                found |= set(decode(bytes.fromhex(result.text)))
            except DnsError as error:
                trouble = str(error)
        return self.judge(found, trouble)

    def judge(self, found: set[str], trouble: str) -> CheckResult:
        """Whether these addresses are what is wanted; ``trouble`` is what a name server said instead."""
        shown = ", ".join(sorted(found)) or trouble or "does not resolve"
        missing = [address for address in self.addresses if address not in found]
        if missing:
            return CheckResult.of(False, f"{self.label}: {shown}; expected {', '.join(missing)}")
        return CheckResult.of(bool(found), f"{self.label}: {shown}")

    def _types(self) -> list[str]:
        """The types of records to ask for."""
        six = [":" in address for address in self.addresses]
        return [*(["A"] if not all(six) or not six else []), *(["AAAA"] if any(six) else [])]


class DnsError(Exception):
    """A name server's answer without addresses; the text says what it is."""


def encode(name: str, kind: int) -> bytes:
    """A question for the records of a type, with the wish that the server asks others (RFC 1035, 4.1)."""
    labels = b"".join(bytes([len(label)]) + label for label in name.rstrip(".").encode("ascii").split(b"."))
    return struct.pack("!6H", _ID, 0x0100, 1, 0, 0, 0) + labels + struct.pack("!BHH", 0, kind, 1)


def decode(message: bytes) -> list[str]:
    """The addresses of an answer.

    Raises:
        DnsError: it is an error, or no answer to our question.
    """
    try:
        number, flags, questions, answers = struct.unpack_from("!4H", message)
        if number != _ID or not flags & 0x8000:
            raise DnsError("an answer to another question")
        if code := flags & 0xF:
            raise DnsError(CODES.get(code, f"error {code}"))
        return list(_addresses(message, questions, answers))
    except (struct.error, IndexError, ValueError) as error:
        raise DnsError("an answer that is none") from error


def _addresses(message: bytes, questions: int, answers: int) -> Iterator[str]:
    at = 12
    for _ in range(questions):
        at = _after_name(message, at) + 4
    for _ in range(answers):
        at = _after_name(message, at)
        kind, _, _, size = struct.unpack_from("!HHIH", message, at)
        data = message[at + 10 : at + 10 + size]
        at += 10 + size
        if kind == TYPES["A"]:
            yield str(IPv4Address(data))
        elif kind == TYPES["AAAA"]:
            yield str(IPv6Address(data))


def _after_name(message: bytes, at: int) -> int:
    """Where a name ends; it may end in a pointer to an earlier one."""
    while size := message[at]:
        if size & 0xC0:
            return at + 2
        at += size + 1
    return at + 1


KIND = DnsCheck
