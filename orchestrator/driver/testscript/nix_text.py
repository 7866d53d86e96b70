"""The testScript of a Nix file, as Nix would make it of its text. Pure.

Only a script that is one string without antiquotations can be taken out; nothing of Nix is evaluated.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass

# Code in which a testScript is looked for: comments and strings are stepped over.
_STEP = re.compile(r'#[^\n]*|/\*.*?\*/|"(?:[^"\\]|\\.)*"|\'\'|\btestScript\b', re.DOTALL)
# What may be between the name and the string: `=`, and the head of a function.
_HEAD = re.compile(r"\s*=\s*(?:(?:\{[^{}]*\}(?:\s*@\s*\w+)?|\w+(?:\s*@\s*\{[^{}]*\})?)\s*:\s*)?(?:''|(\"))")
_MARK = "\0"  # where an escape was, while lines are cut
_ESCAPES = {"n": "\n", "r": "\r", "t": "\t"}


@dataclass(frozen=True, slots=True)
class Problem:
    """Why a script cannot be taken out."""

    line: int
    symbol: str
    why: str


@dataclass(frozen=True, slots=True)
class Extracted:
    """A script of a Nix file.

    Attributes:
        text: the script, below as many empty lines as it has lines above it in the file.
        problems: what hinders to run it.
    """

    text: str
    problems: tuple[Problem, ...] = ()


class Escaped(str):
    """A character that was written as an escape: content of its line, never indentation or the end of a line."""

    __slots__ = ()


def extract(source: str) -> Extracted:
    """The one testScript of a Nix file.

    >>> extract("{ testScript = ''\\n    start_all()\\n      # deeper\\n  ''; }").text
    '\\nstart_all()\\n  # deeper\\n'
    """
    places = list(_places(source))
    if not places:
        why = "there is no `testScript = ''…''` in this file"
        return Extracted("", (Problem(1, "testScript", f"{why}; a script that is made by Nix code has to be built"),))
    if len(places) > 1:
        lines = ", ".join(str(_line(source, place)) for place in places)
        problem = Problem(
            _line(source, places[1]), "testScript", f"there are several, in lines {lines}; one file, one script"
        )
        return Extracted("", (problem,))
    return _taken(source, places[0])


def _places(source: str) -> Iterator[int]:
    """Where the text of each testScript begins, behind the quotes."""
    place = 0
    while (step := _STEP.search(source, place)) is not None:
        place = step.end()
        if step[0] == "''":
            place = _end(source, place)[0]
        elif step[0] == "testScript" and (head := _HEAD.match(source, place)) is not None and head[1] is None:
            yield head.end()
            place = _end(source, head.end())[0]


def _end(source: str, place: int) -> tuple[int, list[str | int]]:
    """Where the code goes on behind an indented string, and its parts: texts, and places of antiquotations."""
    parts: list[str | int] = []
    while place < len(source):
        here = source[place : place + 3]
        if here == "'''":
            parts.append(Escaped("''"))
            place += 3
        elif here == "''$":
            parts.append(Escaped("$"))
            place += 3
        elif here == "''\\":
            parts.append(Escaped(_ESCAPES.get(source[place + 3 : place + 4], source[place + 3 : place + 4])))
            place += 4
        elif here[:2] == "''":
            return place + 2, parts
        elif here[:2] == "$$":
            parts.append("$$")
            place += 2
        elif here[:2] == "${":
            parts.append(place)
            place = _behind_antiquotation(source, place + 2)
        else:
            parts.append(here[0])
            place += 1
    return place, parts


def _behind_antiquotation(source: str, place: int) -> int:
    depth = 1
    while depth and place < len(source):
        if source.startswith("''", place):
            place = _end(source, place + 2)[0]
            continue
        if source[place] == '"' and (found := re.compile(r'"(?:[^"\\]|\\.)*"', re.DOTALL).match(source, place)):
            place = found.end()
            continue
        depth += {"{": 1, "}": -1}.get(source[place], 0)
        place += 1
    return place


def _taken(source: str, place: int) -> Extracted:
    _, parts = _end(source, place)
    places = [part for part in parts if isinstance(part, int)]
    problems = tuple(
        Problem(_line(source, at), _shown(source, at), "an antiquotation of Nix: write its value in its place")
        for at in places
    )
    escaped = iter([part for part in parts if isinstance(part, Escaped)])
    text = "".join("?" if isinstance(part, int) else _MARK if isinstance(part, Escaped) else part for part in parts)
    first = re.match(r" *\n", text)
    skipped = 0 if first is None else 1
    lines = (text if first is None else text[first.end() :]).split("\n")
    depth = min((len(line) - len(line.lstrip(" ")) for line in lines if line.strip(" ")), default=0)
    stripped = [line[min(depth, len(line) - len(line.lstrip(" "))) :] for line in lines]
    if not stripped[-1].strip(" "):
        stripped[-1] = ""
    script = re.sub(_MARK, lambda _: next(escaped), "\n".join(stripped))
    return Extracted("\n" * (_line(source, place) - 1 + skipped) + script, problems)


def _shown(source: str, place: int) -> str:
    return " ".join(source[place : min(_behind_antiquotation(source, place + 2), place + 60)].split())


def _line(source: str, place: int) -> int:
    return source.count("\n", 0, place) + 1
