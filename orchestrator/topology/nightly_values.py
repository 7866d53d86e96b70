"""The words of single values of ``[nightly]``: ages, sizes, counts, a time of day."""

from __future__ import annotations

import re

from orchestrator.quantities import (
    DURATION_EXAMPLES,
    DURATION_PATTERN,
    SIZE_EXAMPLES,
    SIZE_PATTERN,
    parse_duration,
    parse_size,
)
from orchestrator.topology.document import Node
from orchestrator.topology.value_types import InvalidValue, value
from orchestrator.topology.values import integer, matching, nonempty

LONGEST_AGE = 3_650 * 86_400.0
_TIME = re.compile(r"([01][0-9]|2[0-3]):[0-5][0-9]")


@value("time", pattern=f"^({DURATION_PATTERN})$")
def age(node: Node) -> float:
    """A time in seconds, as ``"30d"``: up to ten years."""
    text = nonempty(node)
    try:
        found = parse_duration(text)
    except ValueError as error:
        raise InvalidValue(f"expected a time as {DURATION_EXAMPLES}, found {node.describe()}") from error
    if not 0 < found <= LONGEST_AGE:
        raise InvalidValue(f"expected a time above 0 and up to ten years, found {node.describe()}")
    return found


@value("size", pattern=f"^({SIZE_PATTERN})$")
def size(node: Node) -> int:
    """A size in bytes."""
    try:
        return parse_size(nonempty(node))
    except ValueError as error:
        raise InvalidValue(f"expected a size as {SIZE_EXAMPLES}, found {node.describe()}") from error


@value("0 to 100", type="integer", minimum=0, maximum=100)
def repeats(node: Node) -> int:
    return integer(node, 0, 100)


@value("time of day", pattern="^([01][0-9]|2[0-3]):[0-5][0-9]$")
def clock_time(node: Node) -> str:
    """``"02:00"``."""
    return matching(node, _TIME, "a time of day as 02:00")
