"""Kinds of checks and of image sources: a frozen dataclass each, whose fields are the keys of its table.

    @dataclass(frozen=True, slots=True)
    class FileCheck(CheckKind):
        kind: ClassVar[str] = "file"
        file: Annotated[str, Key(values.guest_path, "the path exists")]

From the fields follow reading, writing (`orchestrator config`), what is recorded in the state, the JSON Schema and the
documentation. What a kind does is a method of it, in the room where that belongs.
"""

from __future__ import annotations

import json
from abc import ABC
from collections.abc import Mapping
from dataclasses import MISSING, Field, fields, replace
from functools import cache
from ipaddress import IPv4Address
from pathlib import Path
from typing import Annotated, Any, ClassVar, TypeVar, cast, get_args, get_origin, get_type_hints

from orchestrator.codec import Recorded
from orchestrator.plugins import Registry
from orchestrator.topology.document import Node
from orchestrator.topology.keys import FIXED_KEYS, NOTHING, REQUIRED, Key
from orchestrator.topology.tables import Table
from orchestrator.topology.value_types import Array, Command, Entries, HostPath, Value

K = TypeVar("K", bound="Kind")


class Kind(Recorded, ABC):
    """The base of all kinds.

    Attributes:
        kind: its name.
        table: the table that its keys are of (`FIXED_KEYS`).
        examples: each its keys with values, as TOML, for the documentation.
    """

    __slots__ = ()
    kind: ClassVar[str]
    table: ClassVar[str]
    examples: ClassVar[tuple[str, ...]] = ()

    @classmethod
    def own_keys(cls) -> Mapping[str, Key]:
        """Its keys, with the defaults of its fields."""
        return _keys(cls)

    @classmethod
    def read(cls: type[K], table: Table, root: Path) -> K:
        """The kind as a table has it; problems are recorded in the table.

        Args:
            root: the folder that relative paths are meant from.
        """
        before = table.problems.added
        made = cls(**{name: _read(table, name, key, root, _default(cls, name)) for name, key in cls.own_keys().items()})
        if table.problems.added == before:
            made.verify_keys(table)
        return made

    @classmethod
    def unfit(cls, name: str, others: Mapping[str, type[Kind]]) -> str:
        """Why it cannot be one of the kinds of its table; empty if it can."""
        if cls.kind != name:
            return f"the entry point is called {name}, and the kind {cls.kind}"
        if missing := sorted(getattr(cls, "__abstractmethods__", ())):
            return f"{cls.__name__} does not say how to {', '.join(missing)}"
        try:
            keys = cls.own_keys()
        except TypeError as error:
            return str(error)
        taken = [key for key in keys if key in FIXED_KEYS[cls.table] or cls.clashes(key, others)]
        return f"its key {taken[0]} has another meaning already" if taken else ""

    @classmethod
    def clashes(cls, key: str, others: Mapping[str, type[Kind]]) -> bool:
        """Whether a key of its own cannot stand next to those of the others."""
        return bool(owners(key, others))

    @classmethod
    def required_cell(cls, name: str) -> str:
        """What the documentation says in place of the default of a key that has none."""
        del name
        return REQUIRED

    @classmethod
    def of(cls: type[K], *values: Any) -> K:
        """One with these values, in the order of its keys."""
        return cls(*values)

    def verify_keys(self, table: Table) -> None:
        """Complain about keys that are right each by itself, but not together."""

    def written(self) -> dict[str, object]:
        """Its keys and values; what is not there, or goes without saying, is left out."""
        found = {}
        for name in self.own_keys():
            value = getattr(self, name)
            if value is None or (value in ((), {}, True) and value == _default(type(self), name)):
                continue
            found[name] = value
        return found


def plain(value: object, root: Path) -> object:
    """A value of a kind as TOML has it; paths inside ``root`` are relative."""
    if isinstance(value, Path):
        return str(value.relative_to(root)) if value.is_relative_to(root) else str(value)
    if isinstance(value, IPv4Address):
        return str(value)
    if isinstance(value, float):
        return int(value) if value.is_integer() else value
    if isinstance(value, (list, tuple)):
        return [plain(each, root) for each in value]
    return value


def known_kinds(pattern: str, registry: Registry[K], node: Node) -> Mapping[str, type[K]]:
    """The kinds that a table may be of. Those of other packages are looked for only if one of its keys is not ours."""
    own = registry.own()
    known = all_keys(pattern, own)
    return own if all(key in known for key in node.fields or ()) else registry.every()


def all_keys(pattern: str, kinds: Mapping[str, type[Kind]]) -> Mapping[str, Key]:
    """The keys of a table: first those that name the kinds, then those that all have, then the others."""
    found = {name: key for kind in kinds.values() for name, key in kind.own_keys().items() if name == kind.kind}
    found |= FIXED_KEYS[pattern]
    for kind in kinds.values():
        for name, key in kind.own_keys().items():
            found.setdefault(name, key)
    return found


def owners(key: str, kinds: Mapping[str, type[Kind]]) -> tuple[str, ...]:
    """The kinds that have a key."""
    return tuple(name for name, kind in kinds.items() if key in _keys(kind))


@cache
def _keys(kind: type[Kind]) -> Mapping[str, Key]:
    hints = get_type_hints(kind, include_extras=True)
    found = {}
    for field in fields(cast("Any", kind)):
        hint = hints[field.name]
        described = next((each for each in get_args(hint)[1:] if isinstance(each, Key)), None)
        if get_origin(hint) is not Annotated or described is None:
            raise TypeError(f"{kind.__name__}.{field.name} is not Annotated with a Key")
        default = described.default
        if default == NOTHING:
            default = _cell(kind, field, default)
        found[field.name] = replace(described, default=default)
    return found


def _cell(kind: type[Kind], field: Field[Any], otherwise: str) -> str:
    if field.default is MISSING:
        return kind.required_cell(field.name) if field.default_factory is MISSING else otherwise
    value = field.default
    return otherwise if value is None or value == () else f"`{json.dumps(value)}`"


def _default(kind: type[Kind], name: str) -> Any:
    field = next(each for each in fields(cast("Any", kind)) if each.name == name)
    if field.default is not MISSING:
        return field.default
    return field.default_factory() if field.default_factory is not MISSING else MISSING


def _read(table: Table, name: str, key: Key, root: Path, default: Any) -> Any:
    """The value of a key; a stand-in where there is none or a wrong one."""
    if default is MISSING and not table.has(name):
        table.required(name, lambda node: node.value, None)
        return None
    stand_in = None if default is MISSING else default
    match key.type:
        case Value():
            return table.optional(name, key.type.read, stand_in)
        case Array():
            return table.array(name, key.type.item) if table.has(name) else stand_in
        case Entries():
            return table.mapping(name, key.type.item)
        case Command():
            return table.command(name)
        case HostPath():
            return table.path(name, root) if table.has(name) else stand_in
    raise TypeError(f"{name}: a kind cannot have keys of the type {key.type.text}")
