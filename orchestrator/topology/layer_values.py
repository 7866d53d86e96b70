"""How the values of ``[layers.NAME]`` are read. Pure."""

from __future__ import annotations

import re

from orchestrator.topology.document import Node, quote
from orchestrator.topology.value_types import InvalidValue, value
from orchestrator.topology.values import nonempty

_ACCOUNT = re.compile(r"[A-Za-z_][A-Za-z0-9_.-]{0,31}|[0-9]{1,10}")
LARGEST_ID = 2**32 - 2  # the last number means nobody at all


@value("`user` or `user:group`, names or numbers", minLength=1)
def owner(node: Node) -> str:
    """``user`` or ``user:group``, names or numbers."""
    text = nonempty(node)
    parts = text.split(":")
    if len(parts) > 2 or not all(_ACCOUNT.fullmatch(part) for part in parts):
        raise InvalidValue(f'expected "user" or "user:group", names or numbers, found {quote(text)}')
    if any(part.isdigit() and int(part) > LARGEST_ID for part in parts):
        raise InvalidValue(f"the number of a user or group is at most {LARGEST_ID}, found {quote(text)}")
    return text


@value("pattern", minLength=1)
def exclusion(node: Node) -> str:
    """What is left out of a layer: ``*.pyc`` at any depth, ``/tests`` or ``lib/tests`` from the source on."""
    text = nonempty(node)
    _inside(text.removeprefix("/"), text)
    return text


@value("pattern", minLength=1)
def part(node: Node) -> str:
    """A glob, relative to the source."""
    text = nonempty(node)
    _inside(text, text)
    return text


def _inside(relative: str, text: str) -> None:
    if "\0" in text:
        raise InvalidValue("a path has no NUL in it")
    if any(part in ("", ".", "..") for part in relative.split("/")):
        raise InvalidValue(f"expected a plain path inside the folder, found {quote(text)}")
