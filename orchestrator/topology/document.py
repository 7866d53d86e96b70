"""The topology file as a tree in which every node has its position, and the list of problems found in it."""

from __future__ import annotations

import re
import tomllib
from codecs import BOM_UTF8
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import TopologyError
from orchestrator.topology.positions import KeyPath, Position, Positions, scan

START = Position(1, 1)
_AT = re.compile(r" ?\(at (?:line (\d+), column (\d+)|end of document)\)$")


@dataclass(frozen=True, slots=True)
class Node:
    """A value of the file.

    Attributes:
        value: the scalar, None for tables and arrays.
        at: where the value begins.
        key: where its key (or, in an array, the item) begins.
        fields: the entries of a table, None for anything else.
        items: the items of an array, None for anything else.
    """

    value: object
    at: Position
    key: Position
    fields: Mapping[str, Node] | None = None
    items: tuple[Node, ...] | None = None

    def find(self, *path: str | int) -> Node | None:
        """The node below this one, or None."""
        node: Node | None = self
        for part in path:
            if node is None:
                return None
            if isinstance(part, int):
                node = node.items[part] if node.items and part < len(node.items) else None
            else:
                node = node.fields.get(part) if node.fields else None
        return node

    def describe(self) -> str:
        """What this is, for "expected …, found …"."""
        if self.fields is not None:
            return "a table"
        if self.items is not None:
            return "an array"
        if isinstance(self.value, bool):
            return "true" if self.value else "false"
        if isinstance(self.value, str):
            return f"the string {quote(self.value)}"
        if isinstance(self.value, int):
            # Python refuses to print integers of thousands of digits.
            return f"the integer {self.value}" if abs(self.value) < 10**20 else "a huge integer"
        if isinstance(self.value, float):
            return f"the number {self.value}"
        return f"the date or time {self.value}"


def quote(text: str) -> str:
    """A word of the file for a message: one line, at most 60 characters, control characters shown."""
    shown = text if len(text) <= 60 else text[:59] + "…"
    return '"' + "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in shown) + '"'


def suggest(word: str, known: Iterable[str]) -> str:
    """`` (did you mean "…"?)``, or nothing if no known word is similar."""
    from difflib import get_close_matches  # only needed when something is wrong

    near = get_close_matches(word, list(known), n=1)
    return f" (did you mean {quote(near[0])}?)" if near else ""


class Problems:
    """Collects the problems of one file, to raise them as one error."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.added = 0  # how often one was, the same one again too
        self._found: set[tuple[Position, str]] = set()
        self._options: list[str] = []

    def add(self, at: Position, text: str) -> None:
        """A problem at a place of the file."""
        self.added += 1
        self._found.add((at, text))

    def add_option(self, option: str, text: str) -> None:
        """A problem with a command line option, which has no place in the file."""
        self._options.append(f"{option}: {text}")

    def lines(self) -> tuple[str, ...]:
        """One line a problem: options first, then by place in the file."""
        places = (f"{self.path}:{at}: {text}" for at, text in sorted(self._found))
        return (*dict.fromkeys(self._options), *places)

    def raise_if_any(self) -> None:
        """Raise `TopologyError` with all problems as evidence."""
        if lines := self.lines():
            count = "a problem" if len(lines) == 1 else f"{len(lines)} problems"
            raise TopologyError(
                f"the topology {self.path} has {count}",
                where=(str(self.path),),
                hint="correct the lines named here, then run `orchestrator validate`",
                evidence=lines,
            )


def read(path: Path) -> str:
    """The text of the topology file; `TopologyError` if there is none or it is no UTF-8."""
    try:
        raw = path.read_bytes().removeprefix(BOM_UTF8)  # editors of some systems write one
    except FileNotFoundError as error:
        looked = path.absolute()
        above = [folder / path.name for folder in looked.parent.parents if (folder / path.name).is_file()]
        raise TopologyError(
            f"there is no topology file {path}",
            why=f"looked at {looked}",
            where=(str(looked),),
            hint=f"there is one at {above[0]}" if above else "change to the folder that holds it, or name it",
        ) from error
    except OSError as error:
        raise TopologyError(
            f"the topology file {path} cannot be read",
            why=error.strerror or str(error),
            where=(str(path.absolute()),),
            hint="a topology is one readable TOML file",
        ) from error
    try:
        return raw.decode()
    except UnicodeDecodeError as error:
        problems = Problems(path)
        before = raw[: error.start].decode()
        problems.add(_end_of(before), f"byte 0x{raw[error.start]:02x} is not UTF-8")
        problems.raise_if_any()
        raise


def parse(text: str, problems: Problems) -> Node:
    """The tree of a TOML text; raises at once on a syntax error, with its place."""
    try:
        data = tomllib.loads(text)
        positions = scan(text)
        return _node(data, (), positions)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        match = _AT.search(message)
        at = Position(int(match[1]), int(match[2])) if match and match[1] else _end_of(text)
        problems.add(at, f"TOML: {_AT.sub('', message)}")
    except RecursionError:
        problems.add(START, "TOML: tables or arrays are nested too deeply")
    except ValueError as error:  # numbers with thousands of digits
        problems.add(START, f"TOML: {error}")
    problems.raise_if_any()
    raise AssertionError("a problem was added above")


def _end_of(text: str) -> Position:
    return Position(text.count("\n") + 1, len(text) - text.rfind("\n"))


def _node(value: object, path: KeyPath, positions: Positions) -> Node:
    at, key = positions.value(path), positions.key(path)
    if isinstance(value, dict):
        fields = {name: _node(inner, (*path, name), positions) for name, inner in value.items()}
        return Node(None, at, key, fields=fields)
    if isinstance(value, list):
        items = tuple(_node(inner, (*path, index), positions) for index, inner in enumerate(value))
        return Node(None, at, key, items=items)
    return Node(value, at, key)
