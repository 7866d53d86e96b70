"""Durations and sizes as people write them: one grammar for the command line, the topology and the recipes. Pure.

>>> parse_duration("1m30s"), parse_duration("90"), parse_duration("500ms")
(90.0, 90.0, 0.5)
>>> parse_size("2GiB") // MIB
2048
"""

from __future__ import annotations

import re
from typing import Final

MIB: Final = 1 << 20
SIZES: Final = {"KiB": 1 << 10, "MiB": MIB, "GiB": 1 << 30, "TiB": 1 << 40}
DURATIONS: Final = {"d": 86_400.0, "h": 3_600.0, "m": 60.0, "s": 1.0, "ms": 0.001}

# Nine digits are more than anybody means; more of them would only be too much for a float.
_NUMBER: Final = r"[0-9]{1,9}(?:\.[0-9]{1,9})?"
DURATION_PATTERN: Final = rf"{_NUMBER}|(?=[0-9]){''.join(f'(?:{_NUMBER}{unit})?' for unit in DURATIONS)}"
SIZE_PATTERN: Final = r"[0-9]{1,9} ?[KMGT]iB"

_DURATION = re.compile(DURATION_PATTERN)
_PART = re.compile(rf"({_NUMBER})(d|h|ms|m|s)")
_SIZE = re.compile(rf"([0-9]{{1,9}}) ?({'|'.join(SIZES)})")

DURATION_EXAMPLES: Final = "90, 90s, 10m, 1h30m, 7d or 500ms"
SIZE_EXAMPLES: Final = "512MiB or 2GiB"


def parse_duration(text: str) -> float:
    """A duration in seconds: a number, or numbers with ``d``, ``h``, ``m``, ``s``, ``ms`` in this order.

    Raises:
        ValueError: it is written in another way.
    """
    if not _DURATION.fullmatch(text):
        raise ValueError(f"{text!r} is not a duration; write {DURATION_EXAMPLES}")
    parts = _PART.findall(text)
    return sum(float(number) * DURATIONS[unit] for number, unit in parts) if parts else float(text)


def parse_size(text: str) -> int:
    """A size in bytes: a whole number and its unit, ``KiB``, ``MiB``, ``GiB`` or ``TiB``.

    Raises:
        ValueError: it is written in another way.
    """
    found = _SIZE.fullmatch(text)
    if not found:
        raise ValueError(f"{text!r} is no size; write {SIZE_EXAMPLES}")
    return int(found[1]) * SIZES[found[2]]
