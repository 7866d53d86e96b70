"""The positions of all keys and values in a TOML text.

``tomllib`` gives values without positions; error messages need them. This
scanner reads a text that ``tomllib`` has already accepted, so it only finds
tokens and does not validate them.
"""

from __future__ import annotations

import re
import tomllib
from bisect import bisect_right
from typing import NamedTuple

KeyPath = tuple[str | int, ...]
"""Keys from the top of the file; a number is the index in an array."""


class Position(NamedTuple):
    """A position in a text, both parts counted from 1, columns in characters."""

    line: int
    column: int

    def __str__(self) -> str:
        return f"{self.line}:{self.column}"


class Positions:
    """The places of one text.

    Attributes:
        keys: offset of the last part of each key path; for an item of an array
            the offset of the item, for an item of an array of tables that of
            the name in its header.
        values: offset of each value; a table under a header has its name's.
    """

    def __init__(self, text: str) -> None:
        self._starts = [0, *(match.end() for match in re.finditer("\n", text))]
        self.keys: dict[KeyPath, int] = {}
        self.values: dict[KeyPath, int] = {}

    def at(self, offset: int) -> Position:
        """The position of a character."""
        line = bisect_right(self._starts, offset)
        return Position(line, offset - self._starts[line - 1] + 1)

    def key(self, path: KeyPath) -> Position:
        """The position of a key; for a key that is not in the file, that of its nearest parent."""
        while path and path not in self.keys:
            path = path[:-1]
        return self.at(self.keys.get(path, 0))

    def value(self, path: KeyPath) -> Position:
        """The position of a value, or of its key if the value has none."""
        return self.at(self.values[path]) if path in self.values else self.key(path)


def scan(text: str) -> Positions:
    """Find all keys and values of ``text``, which must be valid TOML."""
    scanner = _Scanner(text)
    scanner.document()
    return scanner.found


_SPACE = re.compile(r"[ \t]*")
_BLANK = re.compile(r"(?:[ \t\r\n]|#[^\n]*)*")
_BARE = re.compile(r"[A-Za-z0-9_-]+")
_STRINGS = (
    # A closing delimiter may be preceded by up to two quotes that belong to the text.
    re.compile(r'"""(?:\\[\s\S]|[^"\\]|""?(?!"))*"""(?:"{0,2})'),
    re.compile(r"'''(?:[^']|''?(?!'))*'''(?:'{0,2})"),
    re.compile(r'"(?:\\.|[^"\\\n])*"'),
    re.compile(r"'[^'\n]*'"),
)
# A date and its time may be divided by one blank.
_SCALAR = re.compile(r"[^\s,\]}#]+(?: \d\d:[^\s,\]}#]+)?")


class _Scanner:
    def __init__(self, text: str) -> None:
        self.text = text
        self.offset = 0
        self.found = Positions(text)
        self._table_arrays: dict[KeyPath, int] = {}  # path → number of tables so far

    def document(self) -> None:
        table: KeyPath = ()
        while self._skip(_BLANK) < len(self.text):
            if self._next("[["):
                table = self._header(array=True)
            elif self._next("["):
                table = self._header(array=False)
            else:
                self._pair(table)

    def _header(self, *, array: bool) -> KeyPath:
        path: KeyPath = ()
        parts = self._key()
        for number, (part, offset) in enumerate(parts, start=1):
            path += (part,)
            last = number == len(parts)
            if last and not array:
                self.found.keys[path] = offset  # its own header says more than a sub-table's
            else:
                self.found.keys.setdefault(path, offset)
            if last and array:
                self._table_arrays[path] = self._table_arrays.get(path, 0) + 1
            if path in self._table_arrays:
                path += (self._table_arrays[path] - 1,)
                self.found.keys.setdefault(path, offset)
        self.offset += 2 if array else 1
        return path

    def _pair(self, table: KeyPath) -> None:
        path = table
        for part, offset in self._key():
            path += (part,)
            self.found.keys.setdefault(path, offset)
        self.offset += 1  # the equals sign
        self._skip(_SPACE)
        self._value(path)

    def _key(self) -> list[tuple[str, int]]:
        """Each part of a dotted key with its offset; stops before ``=`` or ``]``."""
        parts = []
        while True:
            start = self._skip(_SPACE)
            if self.text[start] in "\"'":
                raw = self._string()
                parts.append((str(tomllib.loads(f"key = {raw}")["key"]), start))
            else:
                self._skip(_BARE)
                parts.append((self.text[start : self.offset], start))
            self._skip(_SPACE)
            if not self._next("."):
                return parts

    def _value(self, path: KeyPath) -> None:
        self.found.values[path] = self.offset
        first = self.text[self.offset]
        if first in "\"'":
            self._string()
        elif first == "[":
            self._array(path)
        elif first == "{":
            self._inline_table(path)
        else:
            self._skip(_SCALAR)

    def _array(self, path: KeyPath) -> None:
        self.offset += 1
        index = 0
        while True:
            self._skip(_BLANK)
            if self._next("]"):
                return
            self.found.keys[(*path, index)] = self.offset
            self._value((*path, index))
            index += 1
            self._skip(_BLANK)
            self._next(",")

    def _inline_table(self, path: KeyPath) -> None:
        self.offset += 1
        while True:
            self._skip(_BLANK)
            if self._next("}"):
                return
            self._pair(path)
            self._skip(_BLANK)
            self._next(",")

    def _string(self) -> str:
        for pattern in _STRINGS:
            if match := pattern.match(self.text, self.offset):
                self.offset = match.end()
                return match.group()
        raise ValueError(f"no string at offset {self.offset}")

    def _next(self, token: str) -> bool:
        if self.text.startswith(token, self.offset):
            self.offset += len(token)
            return True
        return False

    def _skip(self, pattern: re.Pattern[str]) -> int:
        match = pattern.match(self.text, self.offset)
        if match is None:
            raise ValueError(f"unexpected character at offset {self.offset}")
        self.offset = match.end()
        return self.offset
