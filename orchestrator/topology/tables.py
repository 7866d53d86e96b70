"""Tables of the topology file: which keys each accepts, and how they are read.

A `Table` records every problem with its place and goes on with a stand-in, so
that one pass finds all of them. The result is thrown away if there was any.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from enum import StrEnum
from os.path import normpath
from pathlib import Path
from typing import Final, TypeVar

from orchestrator.topology.document import Node, Problems, quote, suggest
from orchestrator.topology.keys import FIXED_KEYS, RENAMED
from orchestrator.topology.positions import Position
from orchestrator.topology.value_types import InvalidValue
from orchestrator.topology.values import NAME, host_path, string

T = TypeVar("T")
E = TypeVar("E", bound=StrEnum)
Reader = Callable[[Node], T]


class Table:
    """One table, read key by key.

    Args:
        node: the node of the table; anything but a table is a problem.
        pattern: the entry of `FIXED_KEYS` that lists its keys.
        label: what the table is, for messages: ``service "client"``; empty for the file.
        keys: what it may have, where that is more than its pattern lists.
    """

    def __init__(
        self, node: Node, problems: Problems, pattern: str, label: str, keys: Collection[str] | None = None
    ) -> None:
        self.node = node
        self.problems = problems
        self.label = label
        self._pattern = pattern
        self.keys = FIXED_KEYS[pattern].keys() if keys is None else keys
        if node.fields is None:
            problems.add(node.at, f"{label}: expected a table, found {node.describe()}")
        for key, entry in (node.fields or {}).items():
            if new := RENAMED.get(pattern, {}).get(key):
                problems.add(entry.key, f"{quote(key)} of {self._own} is called {quote(new)} now")
            elif key not in self.keys:
                problems.add(entry.key, f"{quote(key)} is not a key of {self._own}{suggest(key, self.keys)}")

    @property
    def _own(self) -> str:
        return self.label or "a topology"

    def has(self, key: str) -> bool:
        return self.get(key) is not None

    def get(self, key: str) -> Node | None:
        """The node under a key, or None."""
        if key not in self.keys:
            raise KeyError(f"{key} is not declared for {self._pattern!r}")
        return self.node.fields.get(key) if self.node.fields else None

    def place(self, key: str) -> Position:
        """Where the value of a key is, or the table if it has no such key."""
        entry = self.get(key)
        return entry.at if entry else self.node.key

    def name_of(self, key: str) -> str:
        return f'"{key}" in {self.label}' if self.label else f'"{key}"'

    def complain(self, key: str, text: str) -> None:
        """A problem with the value of a key."""
        self.problems.add(self.place(key), f"{self.name_of(key)}: {text}")

    def optional(self, key: str, reader: Reader[T], default: T) -> T:
        """The value of a key, or the default if it is not there or wrong."""
        entry = self.get(key)
        return default if entry is None else self._read(entry, self.name_of(key), reader, default)

    def required(self, key: str, reader: Reader[T], stand_in: T) -> T:
        """The value of a key that must be there."""
        if not self.has(key) and self.node.fields is not None:
            self.problems.add(self.node.key, f'{self._own} has no "{key}"')
        return self.optional(key, reader, stand_in)

    def choice(self, key: str, words: type[E], default: E, renamed: Mapping[str, E] | None = None) -> E:
        """One of the words of an enumeration; what one was called in earlier versions is refused with its new name."""

        def reader(node: Node) -> E:
            known = [str(word) for word in words]
            if isinstance(node.value, str) and node.value in known:
                return words(node.value)
            new = (renamed or {}).get(node.value) if isinstance(node.value, str) else None
            if new is not None:
                raise InvalidValue(f"{quote(str(node.value))} is called {quote(str(new))} now")
            hint = suggest(node.value, known) if isinstance(node.value, str) else ""
            raise InvalidValue(f"expected one of {', '.join(known)}, found {node.describe()}{hint}")

        return self.optional(key, reader, default)

    def path(self, key: str, root: Path) -> Path | None:
        """A host path, made absolute from ``root``."""
        value = self.optional(key, host_path, "")
        return absolute(root, value) if value else None

    def array(self, key: str, reader: Reader[T]) -> tuple[T, ...]:
        """The items of an array; each wrong one is a problem of its own."""
        return tuple(value for _, value in self.placed(key, reader))

    def placed(self, key: str, reader: Reader[T]) -> tuple[tuple[Node, T], ...]:
        """The good items of an array, each with its node."""
        found = []
        for index, item in enumerate(self.items(key)):
            try:
                found.append((item, reader(item)))
            except InvalidValue as error:
                self.problems.add(item.at, f"item {index + 1} of {self.name_of(key)}: {error}")
        return tuple(found)

    def items(self, key: str) -> tuple[Node, ...]:
        """The nodes of an array, none if it is not there or no array."""
        entry = self.get(key)
        if entry is None:
            return ()
        if entry.items is None:
            self.complain(key, f"expected an array, found {entry.describe()}")
            return ()
        return entry.items

    def entries(self, key: str) -> Iterator[tuple[str, Node]]:
        """The entries of a table whose keys the author chose freely."""
        entry = self.get(key)
        if entry is None:
            return
        if entry.fields is None:
            self.complain(key, f"expected a table, found {entry.describe()}")
            return
        yield from entry.fields.items()

    def mapping(self, key: str, reader: Reader[T]) -> dict[str, T]:
        """A table of free keys with values of one type."""
        found = {}
        for name, node in self.entries(key):
            try:
                found[name] = reader(node)
            except InvalidValue as error:
                self.problems.add(node.at, f"{quote(name)} of {self.name_of(key)}: {error}")
        return found

    def command(self, key: str) -> tuple[str, ...]:
        """A command as an array of words, the first of them a program."""
        words = self.array(key, string)
        node = self.get(key)
        if node is not None and node.items is not None and (not node.items or node.items[0].value == ""):
            self.complain(key, 'expected a command like ["psql", "-c", "select 1"], found no program')
        return words

    def named(
        self, key: str, word: str, pattern: str, keys: Callable[[Node], Collection[str]] | None = None
    ) -> Iterator[tuple[str, Table]]:
        """The tables under a key, each with its name, which must be one.

        Args:
            word: what they are: machine, service, …
            keys: what one may have, where that is more than the pattern lists.
        """
        owner = f" in {self.label}" if self.label else ""
        for name, node in self.entries(key):
            if not NAME.fullmatch(name):
                self.problems.add(node.key, f"{word} {quote(name)}{owner}: {NAME_RULE}")
            own = keys(node) if keys else None
            yield name, Table(node, self.problems, pattern, f"{word} {quote(name)}{owner}", own)

    def refer(self, node: Node | None, word: str, known: Iterable[str], gone: Iterable[str] = ()) -> None:
        """A problem unless the node is a string among ``known``.

        Args:
            word: what is meant: machine, service, image, network.
            gone: names that a variant has removed, for a better message.
        """
        if node is None or not isinstance(node.value, str) or not node.value:
            return  # missing or no string: the reader has said so
        self.unknown(node.at, word, node.value, known, gone)

    def unknown(self, at: Position, word: str, name: str, known: Iterable[str], gone: Iterable[str] = ()) -> bool:
        """Whether ``name`` is not among ``known``; if so, it is a problem."""
        names = tuple(known)
        if name in names:
            return False
        why = "was removed by the variant" if name in gone else f"is not defined{suggest(name, names)}"
        self.problems.add(at, f"{word} {quote(name)} in {self._own} {why}")
        return True

    def _read(self, node: Node, what: str, reader: Reader[T], default: T) -> T:
        try:
            return reader(node)
        except InvalidValue as error:
            self.problems.add(node.at, f"{what}: {error}")
            return default


NAME_RULE: Final = "a name is 1 to 31 of a-z, 0-9 and -, and begins with a letter"


def name(node: Node) -> str:
    """A name as machines, services and networks have them."""
    if not isinstance(node.value, str):
        raise InvalidValue(f"expected a string, found {node.describe()}")
    if not NAME.fullmatch(node.value):
        raise InvalidValue(f"{NAME_RULE}; found {node.describe()}")
    return node.value


def absolute(root: Path, value: str) -> Path:
    """A path of the file as an absolute one, without ``..``, links left alone."""
    return Path(normpath(root / value))
