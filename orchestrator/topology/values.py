"""The words of single values: sizes, times, ports, addresses, URLs.

Each takes a node of the file and returns the value, or raises `InvalidValue` with a
text for people. None of them reads anything but its node. What it takes is also
said as a JSON Schema, and in the words of docs/topology.md.
"""

from __future__ import annotations

import re
from datetime import date, datetime
from ipaddress import IPv4Address
from typing import Final

from orchestrator import patterns
from orchestrator.quantities import DURATION_PATTERN, MIB, SIZE_PATTERN, parse_duration, parse_size
from orchestrator.topology.document import Node, quote
from orchestrator.topology.urls import parse_endpoint, parse_port, parse_url
from orchestrator.topology.value_types import InvalidValue, value
from orchestrator.topology.words import Destination, PortForward

NAME = re.compile(r"[a-z][a-z0-9-]{0,30}")
LONGEST_TIME: Final = 86_400.0  # a day: longer is a slip of a unit
SMALLEST_MEMORY: Final = 256  # MiB: below this a systemd guest does not come up

_MODE = re.compile(r"0?[0-7]{3,4}")
# As systemd's unit_name_is_valid: what stands before the first @ is the template, what follows its instance.
_UNIT = re.compile(
    r"[A-Za-z0-9:_.\\-]+(?:@[A-Za-z0-9:_.\\@-]+)?"
    r"\.(?:service|socket|target|mount|automount|path|timer|device|swap|slice|scope)"
)
_TEMPLATE = re.compile(r"[A-Za-z0-9:_.\\-]+@\.[a-z]+")
_LONGEST_UNIT = 255
_LONGEST_PATH = 4095  # bytes, and of each part 255: what Linux takes
_LONGEST_PART = 255
TOKEN = re.compile(r"[A-Za-z0-9!#$%&'*+.^_`|~-]{1,200}")
_USER = re.compile(r"[a-z_][a-z0-9_-]{0,31}")
_DIGITS = re.compile(r"[0-9.]+")
_LABEL = r"[A-Za-z0-9](?:[A-Za-z0-9-]{0,61}[A-Za-z0-9])?"
_HOST = re.compile(rf"(?=.{{1,253}}$){_LABEL}(?:\.{_LABEL})*")


@value("text", minLength=1)
def nonempty(node: Node) -> str:
    """A string of at least one character, without NUL."""
    if not isinstance(node.value, str):
        raise InvalidValue(f"expected a string, found {node.describe()}")
    if not node.value:
        raise InvalidValue("expected a string, found an empty one")
    if "\0" in node.value:
        raise InvalidValue("a string here cannot hold a NUL character")
    return node.value


def matching(node: Node, pattern: re.Pattern[str], expected: str) -> str:
    """A string of the whole pattern."""
    found = nonempty(node)
    if not pattern.fullmatch(found):
        raise InvalidValue(f"expected {expected}, found {quote(found)}")
    return found


@value("text")
def string(node: Node) -> str:
    """A string, which may be empty."""
    return "" if node.value == "" else nonempty(node)


@value("text", minLength=1)
def single_line(node: Node) -> str:
    """A string of one line."""
    value = nonempty(node)
    if not value.isprintable():
        raise InvalidValue(f"expected one line without control characters, found {quote(value)}")
    return value


@value("true, false", type="boolean")
def flag(node: Node) -> bool:
    if not isinstance(node.value, bool):
        raise InvalidValue(f"expected true or false, found {node.describe()}")
    return node.value


def integer(node: Node, lowest: int, highest: int) -> int:
    """An integer from ``lowest`` to ``highest``, both included."""
    if not isinstance(node.value, int) or isinstance(node.value, bool):
        raise InvalidValue(f"expected an integer from {lowest} to {highest}, found {node.describe()}")
    if not lowest <= node.value <= highest:
        raise InvalidValue(f"expected an integer from {lowest} to {highest}, found {node.describe()}")
    return node.value


@value("1 to 64", type="integer", minimum=1, maximum=64)
def cpus(node: Node) -> int:
    return integer(node, 1, 64)


@value("100 to 599", type="integer", minimum=100, maximum=599)
def status(node: Node) -> int:
    return integer(node, 100, 599)


@value("size", pattern=f"^({SIZE_PATTERN})$")
def memory(node: Node) -> int:
    """``"1GiB"`` or ``"512MiB"`` as MiB."""
    if isinstance(node.value, int) and not isinstance(node.value, bool):
        raise InvalidValue(f'expected a size with its unit, like "512MiB" or "2GiB", found {node.describe()}')
    wrong = f'expected a size like "512MiB" or "2GiB", found {node.describe()}'
    if not isinstance(node.value, str):
        raise InvalidValue(wrong)
    try:
        size = parse_size(node.value)
    except ValueError as error:
        raise InvalidValue(wrong) from error
    if size < SMALLEST_MEMORY * MIB:
        raise InvalidValue(f"expected at least {SMALLEST_MEMORY}MiB, found {node.describe()}")
    if size % MIB:
        raise InvalidValue(f"expected whole MiB, found {node.describe()}")
    return size // MIB


@value("time", type=["number", "string"], exclusiveMinimum=0, maximum=LONGEST_TIME, pattern=f"^({DURATION_PATTERN})$")
def seconds(node: Node) -> float:
    """A number of seconds, or a string like ``"90s"``, ``"10m"``, ``"1m30s"``, ``"500ms"``."""
    wrong = f'expected seconds, as 90 or "90s" or "10m", found {node.describe()}'
    if isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
        found = float(max(-1, min(node.value, 10**9)))  # an integer may be too long for a float; NaN gives -1
    elif isinstance(node.value, str):
        try:
            found = parse_duration(node.value)
        except ValueError as error:
            raise InvalidValue(wrong) from error
    else:
        raise InvalidValue(wrong)
    if not 0 < found <= LONGEST_TIME:
        raise InvalidValue(f"expected a time above 0 and up to 24h, found {node.describe()}")
    return found


@value("list of strings", pattern=r"^(127\.0\.0\.1:)?([0-9]{1,5}:)?[0-9]{1,5}$")
def port_forward(node: Node) -> PortForward:
    """``"80"``, ``"8080:80"`` or ``"127.0.0.1:8080:80"``."""
    if not isinstance(node.value, str):
        hint = f' (did you mean "{node.value}"?)' if isinstance(node.value, int) else ""
        raise InvalidValue(f'expected a port like "80" or "8080:80", found {node.describe()}{hint}')
    *front, guest = node.value.rsplit(":", 2)
    if len(front) == 2 and front[0] != "127.0.0.1":
        raise InvalidValue(
            f"ports are opened on 127.0.0.1 only, not on {quote(front[0])}: "
            "a test machine must not be reachable from the network of its host"
        )
    return PortForward(host=_port(front[-1], node) if front else 0, guest=_port(guest, node))


def _port(word: str, node: Node) -> int:
    try:
        return parse_port(word)
    except ValueError as error:
        raise InvalidValue(f'expected a port from 1 to 65535, as "80" or "8080:80", found {node.describe()}') from error


@value("date", pattern="^[0-9]{4}-?[0-9W]{2,3}-?[0-9]{1,2}$")
def day(node: Node) -> date:
    """A date like ``2027-03-01``, as TOML writes it or as a string."""
    found = node.value
    if isinstance(found, str):
        try:
            return date.fromisoformat(found)
        except ValueError:
            pass
    if not isinstance(found, date) or isinstance(found, datetime):
        raise InvalidValue(f"expected a day like 2027-03-01, found {node.describe()}")
    return found


@value("text", pattern=":[0-9]{1,5}(/tcp|/udp)?$")
def destination(node: Node) -> Destination:
    """``"api.example.org:443"``, ``"192.0.2.7:53/udp"``."""
    example = 'expected a host and port outside, like "api.example.org:443" or "192.0.2.7:53/udp"'
    if not isinstance(node.value, str):
        raise InvalidValue(f"{example}, found {node.describe()}")
    place, slash, protocol = node.value.partition("/")
    host, colon, port = place.rpartition(":")
    if not colon or (slash and protocol not in ("tcp", "udp")):
        raise InvalidValue(f"{example}, found {quote(node.value)}")
    if host == "localhost" or host.startswith("127."):
        raise InvalidValue(f"{quote(host)} is the guest itself; this host's loopback is 10.0.2.2 there")
    if _DIGITS.fullmatch(host):
        try:
            host = str(IPv4Address(host))
        except ValueError as error:
            raise InvalidValue(f"{quote(host)} is not an IPv4 address: {error}") from error
    elif not _HOST.fullmatch(host):
        raise InvalidValue(f"{example}; {quote(host)} is neither a host name nor an IPv4 address")
    try:
        return Destination(host, parse_port(port), protocol or "tcp")
    except ValueError as error:
        raise InvalidValue(f"{example}; the port is from 1 to 65535") from error


@value("octal string", pattern="^0?[0-7]{3,4}$")
def mode(node: Node) -> int:
    """Permission bits from an octal string like ``"0600"``."""
    if not isinstance(node.value, str) or not _MODE.fullmatch(node.value):
        raise InvalidValue(f'expected an octal mode in quotes like "0600", found {node.describe()}')
    return int(node.value, 8)


@value("host path", minLength=1)
def host_path(node: Node) -> str:
    """A path of the host, as it is written: absolute, or relative to some folder."""
    value = single_line(node)
    _path_length(value)
    return value


@value("guest path", pattern="^/")
def guest_path(node: Node) -> str:
    """An absolute path in a guest, without ``..`` and without a slash at its end."""
    value = single_line(node)
    if not value.startswith("/"):
        raise InvalidValue(f"expected an absolute path, found {quote(value)}")
    if value.endswith("/") or any(part in ("", ".", "..") for part in value.split("/")[1:]):
        raise InvalidValue(f"expected a plain path without .., doubled or closing slashes, found {quote(value)}")
    _path_length(value)
    return value


def _path_length(value: str) -> None:
    parts = value.encode().split(b"/")
    if len(value.encode()) > _LONGEST_PATH or any(len(part) > _LONGEST_PART for part in parts):
        raise InvalidValue(
            f"a path has at most {_LONGEST_PATH} bytes, and each of its parts {_LONGEST_PART}: {quote(value)}"
        )


@value("systemd unit", pattern=r"\.[a-z]+$")
def unit(node: Node) -> str:
    value = nonempty(node)
    if _UNIT.fullmatch(value) and len(value) <= _LONGEST_UNIT:
        return value
    if _TEMPLATE.fullmatch(value):
        raise InvalidValue(
            f"{quote(value)} is a template; name one instance of it, like {quote(value.replace('@', '@main'))}"
        )
    hint = f" (did you mean {quote(value + '.service')}?)" if _UNIT.fullmatch(value + ".service") else ""
    raise InvalidValue(f'expected a systemd unit with its suffix, like "nginx.service", found {quote(value)}{hint}')


@value("user of the guest", pattern="^[a-z_][a-z0-9_-]*$")
def user(node: Node) -> str:
    return matching(node, _USER, "the name of a user")


@value("`host:port`", pattern=":[0-9]{1,5}$")
def endpoint(node: Node) -> str:
    """``host:port``."""
    value = nonempty(node)
    try:
        parse_endpoint(value)
    except ValueError as error:
        raise InvalidValue(f'expected host:port like "127.0.0.1:7880", found {quote(value)}: {error}') from error
    return value


@value("URL", pattern="^[hH][tT][tT][pP][sS]?://")
def url(node: Node) -> str:
    """An http or https URL with a host and without credentials."""
    value = nonempty(node)
    if "@" in value.partition("//")[2].partition("/")[0]:  # it is not shown here either
        raise InvalidValue("a URL here cannot contain a user or a password: logs and reports show it")
    try:
        parse_url(value)
    except ValueError as error:
        raise InvalidValue(f'expected a URL like "http://server/health", found {quote(value)}: {error}') from error
    return value


@value("regular expression")
def pattern(node: Node) -> str:
    """A regular expression of RE2, which may be empty."""
    value = string(node)
    try:
        patterns.check(value)
    except patterns.PatternError as error:
        raise InvalidValue(f"{quote(value)} is not a regular expression: {error}") from error
    return value


@value("`DIR#ATTRIBUTE`", pattern="^[^#]+#.+$")
def flake(node: Node) -> str:
    value = single_line(node)
    folder, _, attribute = value.partition("#")
    if not folder or not attribute:
        raise InvalidValue(f'expected DIR#ATTRIBUTE like "nixos-images#server", found {quote(value)}')
    return value
