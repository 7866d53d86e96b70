"""Where a check knocks: hosts, ``host:port`` and URLs. Pure.

The validator and the code that connects read an address with these functions, and
with nothing else: what is accepted here is what is sent, byte for byte.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from ipaddress import IPv4Address, IPv6Address
from typing import Final
from urllib.parse import quote

LONGEST_URL: Final = 2000
_LABEL = re.compile(r"[A-Za-z0-9_](?:[A-Za-z0-9_-]{0,61}[A-Za-z0-9_])?")
_URL = re.compile(r"(https?)://([^/?#]*)([^#]*)(?:#.*)?", re.IGNORECASE | re.DOTALL)
_KEPT = "/?%:@!$&'()*+,;=~-._[]"  # stays as it is in path and query; everything else is escaped
_PORTS: Final = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True)
class Url:
    """An http or https URL, ready to be sent.

    Attributes:
        host: a name or an address, an IPv6 one without its brackets.
        target: path and query, escaped.
    """

    scheme: str
    host: str
    port: int
    target: str

    @property
    def authority(self) -> str:
        """What the header Host says."""
        host = f"[{self.host}]" if ":" in self.host else self.host
        return host if self.port == _PORTS[self.scheme] else f"{host}:{self.port}"


def parse_host(text: str) -> str:
    """A name or an address as it is resolved; ``[::1]`` loses its brackets.

    Raises:
        ValueError: in words for people.
    """
    if text.startswith("["):
        if not text.endswith("]"):
            raise ValueError("the bracket of its address is not closed")
        try:
            return str(IPv6Address(text[1:-1] if "%" not in text else ""))  # a zone means nothing here
        except ValueError as error:
            raise ValueError(f"{text} is not an IPv6 address in brackets") from error
    if ":" in text:
        raise ValueError("write an IPv6 address in brackets, like [::1]")
    if not text:
        raise ValueError("it has no host")
    if not text.isascii():
        raise ValueError("a host name is ASCII; write an international one as xn--…")
    labels = text.split(".")
    if labels[-1].isdigit():  # as every resolver takes it: the end of an address
        try:
            return str(IPv4Address(text))
        except ValueError as error:
            raise ValueError(f"{text[:60]} is not an IPv4 address: {error}") from error
    if len(text) > 253 or not all(_LABEL.fullmatch(label) for label in labels):
        raise ValueError(f"{text[:60]} is not a host name")
    return text


def parse_port(text: str) -> int:
    """A port from 1 to 65535.

    Raises:
        ValueError: in words for people.
    """
    if text.isascii() and text.isdigit() and len(text) <= 5 and 1 <= int(text) <= 65535:
        return int(text)
    raise ValueError("a port is a number from 1 to 65535")


def parse_endpoint(text: str) -> tuple[str, int]:
    """``host:port``.

    Raises:
        ValueError: in words for people.
    """
    host, colon, port = text.rpartition(":")
    if not colon or text.endswith("]"):
        raise ValueError("it has no port")
    return parse_host(host), parse_port(port)


def parse_url(text: str) -> Url:
    """An http or https URL; what stands behind ``#`` is not sent.

    Raises:
        ValueError: in words for people.
    """
    if len(text) > LONGEST_URL:
        raise ValueError(f"it is longer than {LONGEST_URL} characters")
    if any(c.isspace() or not c.isprintable() for c in text):
        raise ValueError("it contains a blank or a control character; write it as %20, %0A")
    match = _URL.fullmatch(text)
    if match is None:
        raise ValueError("it does not begin with http:// or https://")
    scheme, authority, rest = match[1].lower(), match[2], match[3]
    if "@" in authority:
        raise ValueError("it contains a user or a password, which logs and reports would show")
    if re.search(r"%(?![0-9A-Fa-f]{2})", rest):
        raise ValueError("a % in it is not followed by two hexadecimal digits; write it as %25")
    has_port = ":" in authority.rpartition("]")[2]
    host, _, port = authority.rpartition(":") if has_port else (authority, "", "")
    target = quote(rest, safe=_KEPT)
    return Url(
        scheme,
        parse_host(host),
        parse_port(port) if has_port else _PORTS[scheme],
        target if target.startswith("/") else f"/{target}",
    )
