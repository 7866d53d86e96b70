"""Frozen dataclasses as JSON-ready data and back, from their annotations: state.json, manifests, topologies."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import MISSING, fields, is_dataclass
from datetime import date
from enum import StrEnum
from functools import cache
from ipaddress import IPv4Address, IPv4Network, IPv6Address, IPv6Network
from pathlib import Path
from types import NoneType, UnionType
from typing import Any, ClassVar, TypeVar, Union, cast, get_args, get_origin, get_type_hints

from orchestrator.errors import OrchestratorError

T = TypeVar("T")


class Recorded:
    """A base whose subclasses are recorded with their ``kind``, so that they are read again as what they were."""

    __slots__ = ()
    kind: ClassVar[str]

    @classmethod
    def of_kind_named(cls, name: str) -> type[Any] | None:
        """The subclass with this ``kind``; None if there is none.

        Raises:
            OrchestratorError: it cannot be used.
        """
        raise NotImplementedError

    @classmethod
    def unreadable(cls, data: Mapping[str, object]) -> object:
        """What stands for data that no subclass here can be read from, so that its environment can be taken down."""
        raise NotImplementedError


def encode(value: object) -> Any:
    """JSON-ready data of a value: dataclasses, mappings, sequences, enumerations, paths, addresses, days, plain values.

    Raises:
        TypeError: there is a value of another type in it.
    """
    if is_dataclass(value) and not isinstance(value, type):
        tag = {"kind": value.kind} if isinstance(value, Recorded) else {}
        return tag | {field.name: encode(getattr(value, field.name)) for field in fields(value)}
    if isinstance(value, Mapping):
        return {str(key): encode(entry) for key, entry in value.items()}
    if isinstance(value, (list, tuple)):
        return [encode(entry) for entry in value]
    if isinstance(value, StrEnum):
        return value.value
    if isinstance(value, (Path, IPv4Address, IPv4Network, IPv6Address, IPv6Network, date)):
        return str(value)
    if value is None or isinstance(value, (bool, int, float, str)):
        return value
    raise TypeError(f"{value!r} cannot be recorded")


def decode(data: object, wanted: type[T], where: str) -> T:
    """What `encode` made of a value of the type ``wanted``, as that value again.

    Fields unknown here are skipped, and missing ones take their default.

    Args:
        where: what the data is called in messages.

    Raises:
        ValueError, TypeError: it is something else; the text names the field.
    """
    return cast("T", _decode(data, wanted, where))


def _decode(data: object, wanted: Any, where: str) -> object:
    origin = get_origin(wanted)
    if origin in (Union, UnionType):
        inner = next(each for each in get_args(wanted) if each is not NoneType)
        return None if data is None else _decode(data, inner, where)
    if origin is tuple:
        entries = _expect(data, list, where)
        return tuple(_decode(each, get_args(wanted)[0], f"{where}[{i}]") for i, each in enumerate(entries))
    if origin is not None and issubclass(origin, Mapping):
        table = _expect(data, dict, where)
        of_key, of_value = get_args(wanted)
        return {
            int(key) if of_key is int else key: _decode(each, of_value, f"{where}.{key}") for key, each in table.items()
        }
    if isinstance(wanted, type) and issubclass(wanted, Recorded):
        return _recorded(_expect(data, dict, where), wanted, where)
    if is_dataclass(wanted) and isinstance(wanted, type):
        return _fields(_expect(data, dict, where), wanted, where)
    if wanted is object:
        return data
    if wanted is float:
        return float(_expect(data, (int, float), where))
    if wanted in (bool, int, str):
        return _expect(data, wanted, where)
    word = _expect(data, str, where)
    try:
        # a day, a path, an address or a word of an enumeration
        return date.fromisoformat(word) if wanted is date else wanted(word)
    except ValueError as error:
        raise ValueError(f"{where}: {error}") from error


def _recorded(table: Mapping[str, object], wanted: type[Recorded], where: str) -> object:
    try:
        kind = wanted.of_kind_named(str(table.get("kind")))
        if kind is not None:
            return _fields(table, kind, where)
    except (OrchestratorError, TypeError, ValueError):
        pass
    return wanted.unreadable(table)


def _fields(table: Mapping[str, object], wanted: type[Any], where: str) -> object:
    hints = _hints(wanted)  # type: ignore[arg-type]  # a class is hashable
    found = {}
    for field in fields(wanted):
        here = f"{where}.{field.name}"
        if field.name in table:
            found[field.name] = _decode(table[field.name], hints[field.name], here)
        elif isinstance(hints[field.name], type) and issubclass(hints[field.name], Recorded):
            found[field.name] = hints[field.name].unreadable(table)  # an earlier version had its keys here
        elif field.default is MISSING and field.default_factory is MISSING:
            raise ValueError(f"{here} is missing")
    return wanted(**found)


@cache
def _hints(wanted: Hashable) -> dict[str, Any]:
    return get_type_hints(wanted)


def _expect(data: object, kinds: type | tuple[type, ...], where: str) -> Any:
    if not isinstance(data, kinds) or (isinstance(data, bool) and kinds is not bool):
        raise TypeError(f"{where} holds {type(data).__name__} data")
    return data
