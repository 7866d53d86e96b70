"""Adding tables to a TOML text, in which everything else stays as it is. Pure.

tomlkit keeps comments and layout. What it made is read again and compared with what was meant before it is given out.
"""

from __future__ import annotations

import copy
import tomllib
from collections.abc import Iterator, Mapping, Sequence
from difflib import unified_diff
from typing import Any

import tomlkit
from tomlkit.container import OutOfOrderTableProxy
from tomlkit.exceptions import TOMLKitError
from tomlkit.items import Comment, InlineTable, Item, Table, Whitespace

from orchestrator.errors import UsageError
from orchestrator.scaffold.entries import Entry

_ONE_INLINE_TABLE = 1  # lines that may change: a table within braces cannot grow otherwise


def added(text: str, entry: Entry) -> str:
    """The text with the tables of ``entry`` at the end of those of their kind.

    Raises:
        UsageError: the form of the file does not allow it; the table to be written by hand is shown.
    """
    wanted = tomllib.loads(text)
    lines = text
    for one in (*entry.before, entry):
        _put(wanted, one)
        lines = _added_one(lines, one, wanted)
    return lines


def diff(before: str, after: str, name: str) -> str:
    """What changes, as ``diff -u`` shows it."""
    return "".join(unified_diff(before.splitlines(True), after.splitlines(True), name, name))


def block(entry: Entry) -> str:
    """The table as it is written in a file of its own."""
    document = tomlkit.document()
    _insert(document, entry)
    return document.as_string().strip("\n") + "\n"


def _added_one(text: str, entry: Entry, wanted: Mapping[str, Any]) -> str:
    # A table at the very end is what people write by hand; tomlkit is asked where one of its kind is there already.
    candidates = [_by_tomlkit, _at_the_end] if _has_sibling(text, entry) else [_at_the_end, _by_tomlkit]
    for make in candidates:
        try:
            made = _spaced(make(text, entry), block(entry))
            if tomllib.loads(made) == wanted and _changed_lines(text, made) <= _ONE_INLINE_TABLE:
                return made
        except (TOMLKitError, tomllib.TOMLDecodeError, TypeError, KeyError, AttributeError):
            continue
    raise UsageError(
        f"{'.'.join(entry.path)} cannot be added to a file of this form",
        why="its tables are written in a way that cannot be extended without changing other lines",
        evidence=block(entry).splitlines(),
        hint="write these lines into the file",
    )


def _has_sibling(text: str, entry: Entry) -> bool:
    node: Any = tomllib.loads(text)
    for part in entry.path[:-1]:
        node = node.get(part) if isinstance(node, Mapping) else None
    return bool(node)


def _at_the_end(text: str, entry: Entry) -> str:
    head = text.rstrip("\n")
    return f"{head}\n\n{block(entry)}" if head else block(entry)


def _by_tomlkit(text: str, entry: Entry) -> str:
    document = tomlkit.parse(text)
    _insert(document, entry)
    return document.as_string()


def _changed_lines(before: str, after: str) -> int:
    """How many lines of the file are not there any more, empty ones not counted."""
    lines = list(unified_diff(before.splitlines(), after.splitlines(), n=0))[2:]
    return sum(line.startswith("-") and bool(line[1:].strip()) for line in lines)


def _spaced(text: str, new: str) -> str:
    """One empty line before and after the new table."""
    head, found, tail = text.partition(new)
    if not found:
        return text
    after = f"\n{tail.lstrip(chr(10))}" if tail.strip() else ""
    before = f"{head.rstrip(chr(10))}\n\n" if head.strip() else ""
    return f"{before}{new}{after}"


def _insert(document: tomlkit.TOMLDocument, entry: Entry) -> None:
    node: Any = document
    for part in entry.path[:-1]:
        if part not in node:
            node[part] = tomlkit.table(is_super_table=True)
        node = node[part]
    if isinstance(node, InlineTable) or _is_dotted(document, entry.path[:-1]):
        node[entry.path[-1]] = _value(entry.keys)
        return
    if isinstance(node, OutOfOrderTableProxy):
        raise TypeError("tables of one kind are apart; a new one could land between others")
    siblings = [value for value in node.values() if isinstance(value, Table)]
    rest = _cut_rest(siblings[-1]) if siblings else []
    if rest and rest[0].as_string().count("\n") != len(rest[0].as_string()):
        raise TypeError("there is no empty line that the new table could follow")
    table = tomlkit.table()
    for key, value in entry.keys.items():
        for path, inner in _flat(key, value):
            table.append(tomlkit.key(path), _value(inner))
    for one in rest or [tomlkit.nl()]:
        table.add(one)
    node[entry.path[-1]] = table


def _is_dotted(document: tomlkit.TOMLDocument, path: Sequence[str]) -> bool:
    """Whether the last table of the path is written as ``checks.NAME = …`` in the table above."""
    node: Any = document
    for part in path[:-1]:
        node = node[part]
    body = getattr(getattr(node, "value", None), "body", [])
    return any(key is not None and key.is_dotted() and key.key == path[-1] for key, _ in body)


def _cut_rest(table: Table) -> list[Whitespace | Comment]:
    """Take what follows the last key of a table, from the first empty line on: it is about what comes next."""
    body = table.value.body
    while (last := next(((key, item) for key, item in reversed(body) if key is not None), None)) is not None:
        if last[0].is_dotted() or not isinstance(last[1], Table):
            break
        table, body = last[1], last[1].value.body
    start = len(body)
    while start and isinstance(body[start - 1][1], (Whitespace, Comment)):
        start -= 1
    while start < len(body) and not isinstance(body[start][1], Whitespace):
        start += 1
    rest = [item for _, item in body[start:] if isinstance(item, (Whitespace, Comment))]
    del body[start:]
    table.add(tomlkit.nl())
    return rest


def _flat(key: str, value: object) -> Iterator[tuple[list[str], object]]:
    """``networks`` with dots, as people write it; anything else as one value."""
    if key == "networks" and isinstance(value, Mapping):
        for name, interface in value.items():
            for inner, one in interface.items():
                yield [key, name, inner], one
    else:
        yield [key], value


def _value(value: object) -> Item:
    """A value on one line, tables with blanks inside their braces."""
    return tomlkit.value(_text(value))


def _text(value: object) -> str:
    if isinstance(value, Mapping):
        inside = ", ".join(f"{tomlkit.key(key).as_string()} = {_text(inner)}" for key, inner in value.items())
        return f"{{ {inside} }}" if inside else "{}"
    return tomlkit.item(value).as_string()


def _put(data: dict[str, Any], entry: Entry) -> None:
    node = data
    for part in entry.path[:-1]:
        node = node.setdefault(part, {})
    node[entry.path[-1]] = copy.deepcopy(dict(entry.keys))
