"""Fields of data that others wrote, whatever type they have: nothing here raises because of content."""

from __future__ import annotations

import math
from collections.abc import Mapping

from orchestrator.text import SENTENCE, TEXT, WORD, clean

__all__ = [
    "SENTENCE",
    "TEXT",
    "WORD",
    "as_number",
    "as_text",
    "as_whole",
    "entries",
    "number",
    "tables",
    "text",
    "whole",
]

ENTRIES = 5_000  # of one list


def as_text(value: object) -> str | None:
    """A text; numbers become text, everything else None."""
    if isinstance(value, bool) or not isinstance(value, str | int | float):
        return None
    try:
        return str(value)
    except ValueError:  # an integer of too many digits
        return None


def as_number(value: object) -> float | None:
    """A finite number; everything else None."""
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    try:
        result = float(value)
    except OverflowError:
        return None
    return result if math.isfinite(result) and abs(result) < 1e12 else None


def as_whole(value: object) -> int | None:
    """A number without its fraction; everything else None."""
    number = as_number(value)
    return None if number is None else int(number)


def text(data: Mapping[str, object], key: str, limit: int = WORD, *, multiline: bool = False) -> str:
    """A field as clean text; numbers become text, everything else ``""``."""
    return clean(as_text(data.get(key)) or "", limit, multiline=multiline)


def number(data: Mapping[str, object], key: str) -> float | None:
    """A field as a finite float, None when it is no such number."""
    return as_number(data.get(key))


def whole(data: Mapping[str, object], key: str) -> int | None:
    return as_whole(data.get(key))


def entries(data: Mapping[str, object], key: str) -> list[object]:
    """A field as a list; a single text becomes a list of one."""
    value = data.get(key)
    if isinstance(value, list | tuple):
        return list(value[:ENTRIES])
    return [value] if isinstance(value, str) and value else []


def tables(data: Mapping[str, object], key: str) -> list[Mapping[str, object]]:
    return [entry for entry in entries(data, key) if isinstance(entry, Mapping)]
