"""A connection to the history that takes every text that Python has.

Names of files and tests may be no UTF-8. Python holds such a byte as a lone surrogate, which SQLite refuses. In the
database it is one of the last 128 characters of Unicode, which no text uses, and on the way out it is what it was.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

FIRST, LAST = 0xDC80, 0xDCFF  # the surrogates of the bytes 0x80 to 0xff
STORED = 0x10FF00
_IN = {code: STORED + code - 0xDC00 for code in range(FIRST, LAST + 1)}
_OUT = {stored: code for code, stored in _IN.items()}


class Connection(sqlite3.Connection):
    """What `sqlite3.connect` makes, with texts of any bytes."""

    def __init__(self, *arguments: Any, **keywords: Any) -> None:
        super().__init__(*arguments, **keywords)
        self.text_factory = _text

    def execute(self, sql: str, parameters: Any = ()) -> sqlite3.Cursor:
        """As the library's."""
        return super().execute(sql, _stored(parameters))

    def executemany(self, sql: str, parameters: Iterable[Any]) -> sqlite3.Cursor:
        """As the library's."""
        return super().executemany(sql, (_stored(one) for one in parameters))


def _text(raw: bytes) -> str:
    text = raw.decode()
    return text if text.isascii() else text.translate(_OUT)


def _stored(parameters: Sequence[Any] | Mapping[str, Any]) -> Sequence[Any] | Mapping[str, Any]:
    if isinstance(parameters, Mapping):
        return {name: _value(value) for name, value in parameters.items()}
    return [_value(value) for value in parameters]


def _value(value: object) -> object:
    return value.translate(_IN) if isinstance(value, str) and not value.isascii() else value
