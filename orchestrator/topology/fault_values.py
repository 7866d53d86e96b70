"""Values that only faults have: shares, rates, sizes, signed times. Pure."""

from __future__ import annotations

import re
from typing import Final

from orchestrator.quantities import parse_duration, parse_size
from orchestrator.topology import values
from orchestrator.topology.document import Node
from orchestrator.topology.value_types import InvalidValue, value

RATES: Final = {"bit": 1, "kbit": 1_000, "mbit": 1_000_000, "gbit": 1_000_000_000}
LONGEST_DELAY: Final = 60.0  # seconds
_RATE = re.compile(r"([0-9]{1,9}(?:\.[0-9]{1,6})?) ?(bit|kbit|mbit|gbit)")
_SIGNAL = re.compile(r"SIG[A-Z0-9]{2,8}")


@value("above 0, up to 100", type="number", exclusiveMinimum=0, maximum=100)
def percent(node: Node) -> float:
    if isinstance(node.value, bool) or not isinstance(node.value, (int, float)) or not 0 < node.value <= 100:
        raise InvalidValue(f"expected a number above 0 and up to 100, found {node.describe()}")
    return float(node.value)


@value("rate", pattern=r"^[0-9.]+ ?(bit|kbit|mbit|gbit)$")
def rate(node: Node) -> float:
    """``"10mbit"`` as bits per second."""
    found = _RATE.fullmatch(node.value) if isinstance(node.value, str) else None
    bits = float(found[1]) * RATES[found[2]] if found else 0.0
    if bits < 1_000:
        raise InvalidValue(f'expected a rate of at least 1kbit, like "500kbit" or "10mbit", found {node.describe()}')
    return bits


@value("size", pattern=r"^[0-9]{1,9} ?[KMGT]iB$")
def size(node: Node) -> int:
    """``"64KiB"`` as bytes."""
    try:
        if isinstance(node.value, str):
            return parse_size(node.value)
    except ValueError:
        pass
    raise InvalidValue(f'expected a size like "64KiB" or "2GiB", found {node.describe()}')


@value("time up to 60s", type=["number", "string"])
def delay(node: Node) -> float:
    found = values.seconds(node)
    if found > LONGEST_DELAY:
        raise InvalidValue(f"expected at most 60s, found {node.describe()}")
    return found


@value("time, perhaps with `-` before it", type=["number", "string"])
def offset(node: Node) -> float:
    """``"-1h"`` or ``"90s"`` as seconds."""
    wrong = f'expected a time other than 0, like "2h" or "-90s", found {node.describe()}'
    found = 0.0
    if isinstance(node.value, str):
        sign = -1.0 if node.value.startswith("-") else 1.0
        try:
            found = sign * parse_duration(node.value.removeprefix("-"))
        except ValueError as error:
            raise InvalidValue(wrong) from error
    elif isinstance(node.value, (int, float)) and not isinstance(node.value, bool):
        found = float(node.value)
    if not 0 < abs(found) <= 10 * 365 * values.LONGEST_TIME:
        raise InvalidValue(wrong)
    return found


@value("signal", pattern="^SIG[A-Z0-9]{2,8}$")
def signal_name(node: Node) -> str:
    return values.matching(node, _SIGNAL, 'a signal like "SIGKILL"')


@value("1 to 1000000", type="integer", minimum=1, maximum=1_000_000)
def whole(node: Node) -> int:
    return values.integer(node, 1, 1_000_000)


@value("0 to 4294967295", type="integer", minimum=0, maximum=2**32 - 1)
def seed(node: Node) -> int:
    return values.integer(node, 0, 2**32 - 1)


@value("guest path", pattern="^/")
def folder(node: Node) -> str:
    """A folder of the guest, `/` too."""
    return "/" if node.value == "/" else values.guest_path(node)


@value("68 to 9000", type="integer", minimum=68, maximum=9000)
def mtu(node: Node) -> int:
    return values.integer(node, 68, 9000)


@value("0 to 255", type="integer", minimum=0, maximum=255)
def exit_code(node: Node) -> int:
    return values.integer(node, 0, 255)
