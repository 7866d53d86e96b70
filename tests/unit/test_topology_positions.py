"""Every key that tomllib yields is found, at a place where it really stands."""

from __future__ import annotations

import string
import tomllib
from collections.abc import Iterator
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from orchestrator.topology.positions import KeyPath, Position, scan

KEYS = st.one_of(
    st.text(string.ascii_letters + string.digits + "-_", min_size=1, max_size=6),
    st.text(max_size=5).filter(lambda key: all(not 0xD800 <= ord(c) <= 0xDFFF for c in key)),
)
SCALARS = st.sampled_from(
    (
        *("1", "0x0f", "3.5e-2", "inf", "true", "1979-05-27 07:32:00Z", "07:32:00"),
        *('""', '"a # ] } = [x]"', '"\\"q\\\\"', "'C:\\path'", "''", '"""one\n[two]\n\\"""three""""'),
        *('"""\\\n   x"""', "'''a\nk = 'v' ''''", '""""quoted" """', "''''''", '"""a\\\\"""'),
    )
)
BLANKS = st.sampled_from(("", "\n", "# comment = [1]\n", "  \t\n", "\r\n", "# \"quote'\n\n"))
GAPS = st.sampled_from(("", " ", "\n", " # ]\n  "))
Draw = st.DrawFn


def quoted(key: str) -> str:
    escaped = "".join(c if c.isprintable() and c not in '"\\' else f"\\U{ord(c):08x}" for c in key)
    return f'"{escaped}"'


def write_key(draw: Draw, key: str) -> str:
    bare = key and all(c in string.ascii_letters + string.digits + "-_" for c in key)
    forms = [quoted(key)]
    if bare:
        forms.append(key)
    if "'" not in key and key.isprintable():
        forms.append(f"'{key}'")
    return draw(st.sampled_from(forms))


def write_value(draw: Draw, depth: int) -> str:
    kind = draw(st.sampled_from(("scalar", "scalar", "array", "table") if depth else ("scalar",)))
    if kind == "scalar":
        return draw(SCALARS)
    if kind == "array":
        items = [draw(GAPS) + write_value(draw, depth - 1) + draw(GAPS) for _ in range(draw(st.integers(0, 3)))]
        return "[" + ",".join(items) + (draw(st.sampled_from(("", ","))) if items else "") + draw(GAPS) + "]"
    keys = draw(st.lists(KEYS, max_size=3, unique=True))
    pairs = [f"{write_dotted(draw, key)} = {write_value(draw, depth - 1)}" for key in keys]
    return "{ " + " , ".join(pairs) + " }"


def write_dotted(draw: Draw, key: str) -> str:
    inner = draw(st.lists(KEYS, max_size=1))
    gap = draw(st.sampled_from(("", " ")))
    return f"{gap}.{gap}".join(write_key(draw, part) for part in (key, *inner))


@st.composite
def documents(draw: Draw) -> str:
    """TOML texts; some define a key twice and are left out by the test."""
    text = draw(BLANKS)
    for number in range(draw(st.integers(0, 4))):
        if number or draw(st.booleans()):
            # A few common names, so that tables meet each other.
            path = draw(st.lists(st.sampled_from(("a", "b", "c d")) | KEYS, min_size=1, max_size=3))
            header = ".".join(write_key(draw, part) for part in path)
            text += draw(st.sampled_from((f"[{header}]", f"[[ {header} ]]"))) + draw(GAPS).replace("]", "") + "\n"
        for key in draw(st.lists(KEYS, max_size=3, unique=True)):
            text += f"{write_dotted(draw, key)} = {write_value(draw, 2)}{draw(BLANKS)}\n"
    return text


def leaves(value: object, path: KeyPath = ()) -> Iterator[KeyPath]:
    """The paths of everything in a document, tables and arrays too."""
    if path:
        yield path
    entries: Any = ()
    if isinstance(value, dict):
        entries = value.items()
    elif isinstance(value, list):
        entries = enumerate(value)
    for key, inner in entries:
        yield from leaves(inner, (*path, key))


def key_at(text: str, offset: int) -> str:
    """The key that begins at an offset, read by other means than the scanner's."""
    if text[offset] in "\"'":
        end = offset + 1
        while text[end] != text[offset]:
            end += 2 if text[end] == "\\" and text[offset] == '"' else 1
        return next(iter(tomllib.loads(text[offset : end + 1] + " = 1")))
    end = offset
    while text[end] in string.ascii_letters + string.digits + "-_":
        end += 1
    return text[offset:end]


@given(documents())
@example('[[a]]\nb.c = 1\n[a.d]\ne = 2\n[[a]]\n[[a."x y".z]]\nk = [ [1, { q = "]" }], 2 ]\n')
@example("x = 1\r\ny = '''\r\nz = 2'''\r\nw = 3\r\n")
def test_every_key_has_its_place(text: str) -> None:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    found = scan(text)
    lines = text.split("\n")
    for path in leaves(data):
        offset = found.keys[path]
        named = [part for part in path if isinstance(part, str)][-1]
        at = found.key(path)
        assert lines[at.line - 1][at.column - 1] == text[offset]
        if isinstance(path[-1], str):
            assert key_at(text, offset) == named
        elif path in found.values:  # an item of a written array
            assert found.values[path] == offset
        else:  # a table of an array of tables: its header
            assert key_at(text, offset) == named


@given(documents())
def test_a_value_begins_where_it_is_said_to(text: str) -> None:
    try:
        data = tomllib.loads(text)
    except tomllib.TOMLDecodeError:
        return
    found = scan(text)
    for path, offset in found.values.items():
        value: Any = data
        for part in path:
            value = value[part]
        rest = text[offset:]
        # The shortest beginning that is a value, up to its end, must be this value.
        ends = (end for end in range(1, len(rest) + 1) if parses_as(rest[:end], value))
        assert next(ends, None) is not None, (path, rest)


def parses_as(text: str, value: object) -> bool:
    try:
        return bool(tomllib.loads(f"k = {text}\n")["k"] == value)
    except tomllib.TOMLDecodeError:
        return False


@pytest.mark.parametrize(
    ("path", "at"),
    [
        (("machines", "server"), Position(4, 11)),
        (("machines", "server", "cpus"), Position(5, 1)),
        (("machines", "server", "networks", "lan", "kind"), Position(3, 11)),
        (("list", 1), Position(1, 12)),
        (("again", "first"), Position(7, 1)),
        (("never", "written"), Position(1, 1)),
        (("machines", "server", "never", "written"), Position(4, 11)),
    ],
)
def test_places_by_hand(path: KeyPath, at: Position) -> None:
    text = 'list = [1, "two"]\n[machines.server.networks]\n  lan  .  kind = 1\n[machines.server]\ncpus = 2\n'
    text += "[again]\nfirst.a = 1\nfirst.b = 2\n"
    assert scan(text).key(path) == at
