"""What a type of values is: how it is read, its JSON Schema, its words for the documentation. Pure."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Generic, TypeVar

from orchestrator.topology.document import Node

T = TypeVar("T")
Schema = Mapping[str, object]


class InvalidValue(ValueError):
    """A value that cannot be used; the text says what was expected and what was found."""


@dataclass(frozen=True, slots=True)
class Value(Generic[T]):
    """A type of single values.

    Attributes:
        read: a node's value; raises `InvalidValue`.
        text: the type in the tables of docs/topology.md.
        schema: the type as JSON Schema (draft 7). It takes whatever ``read`` takes, and perhaps more.
    """

    read: Callable[[Node], T]
    text: str
    schema: Mapping[str, object]

    def __call__(self, node: Node) -> T:
        return self.read(node)


def value(text: str, **schema: object) -> Callable[[Callable[[Node], T]], Value[T]]:
    """Make a `Value` of a reader; ``schema`` are keywords of JSON Schema, a string unless it says otherwise."""
    return lambda read: Value(read, text, {"type": "string", **schema})


@dataclass(frozen=True, slots=True)
class Shape:
    """A type whose values are not read here: tables, words of an enumeration, what may be one thing or another."""

    text: str
    schema: Schema


@dataclass(frozen=True, slots=True)
class Array:
    """An array of values of one type, read as a tuple. Each wrong item is a problem of its own."""

    item: Value[Any]
    text: str = "list of strings"

    @property
    def schema(self) -> Schema:
        return {"type": "array", "items": self.item.schema}


@dataclass(frozen=True, slots=True)
class Entries:
    """A table of free keys with values of one type, read as a mapping.

    Attributes:
        names: what the keys match, as JSON Schema has it.
    """

    item: Value[Any]
    text: str = "table of strings"
    names: str = ""

    @property
    def schema(self) -> Schema:
        names = {"propertyNames": {"pattern": self.names}} if self.names else {}
        return {"type": "object", **names, "additionalProperties": self.item.schema}


@dataclass(frozen=True, slots=True)
class Command:
    """A program and its arguments, read as a tuple of words."""

    text: str = "list of strings"

    @property
    def schema(self) -> Schema:
        return {"type": "array", "items": {"type": "string"}, "minItems": 1}


@dataclass(frozen=True, slots=True)
class HostPath:
    """A path of the host, read as an absolute `Path`: what is relative is meant from the folder of the topology."""

    text: str = "host path"

    @property
    def schema(self) -> Schema:
        return {"type": "string", "minLength": 1}


def words(kinds: type[StrEnum]) -> Shape:
    """One word of an enumeration."""
    return Shape(", ".join(f'`"{kind}"`' for kind in kinds), {"enum": [str(kind) for kind in kinds]})


def tables(pattern: str) -> Shape:
    """Tables by names that the author chooses, of the keys of ``pattern``."""
    entries = {"propertyNames": {"$ref": "#/definitions/name"}, "additionalProperties": reference(pattern)}
    return Shape("tables", {"type": "object", **entries})


def table_list(pattern: str) -> Shape:
    return Shape("list of tables", {"type": "array", "items": reference(pattern)})


def reference(pattern: str) -> Schema:
    """Where the schema of a table of these keys is."""
    return {"$ref": f"#/definitions/{pattern}"}


Type = Value[Any] | Shape | Array | Entries | Command | HostPath
