"""When machines are reset, and in which order tests run so that it is seldom. Pure."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from dataclasses import dataclass
from typing import TypeVar

Item = TypeVar("Item")


@dataclass(frozen=True, slots=True)
class Place:
    """Where a test is: its module, and its class in it, empty for none."""

    module: str
    cls: str = ""


@dataclass(slots=True)
class Condition:
    """What is known of the machines.

    Attributes:
        snapshot: the state that they were put to last.
        known: whether it is: an environment that was joined may be in any.
        last: where the last test is that had them since; None: there was none.
        failed: whether a test failed since.
    """

    snapshot: str
    known: bool = True
    last: Place | None = None
    failed: bool = False


def reset_reason(level: str, snapshot: str, place: Place, now: Condition, *, fresh: bool = False) -> str:
    """Why the machines are reset before a test; empty: they are not.

    Args:
        level: one of `RESET`.
        snapshot: the state that the test is to find.
        fresh: whether it asks for a reset itself.
    """
    if now.snapshot != snapshot:
        return f"it begins from {snapshot}"
    if now.failed:
        return "a test before it failed"
    touched = now.last is not None or not now.known
    if fresh and touched:
        return "it wants a fresh environment"
    if level == "none" or not touched:
        return ""
    if not now.known:
        return "the environment was running before"
    there = now.last
    if level == "function":
        return "each test begins from it"
    if level == "class" and there != place:
        return "another class begins"
    if level in ("class", "module") and there is not None and there.module != place.module:
        return "another module begins"
    return ""


def in_groups(items: list[Item], group: Callable[[Item], Hashable | None], first: Hashable) -> list[Item]:
    """The items with those of a group together, otherwise in their order.

    Args:
        group: of an item; None: it may be anywhere, and goes with the first.
        first: the group that comes first.

    >>> in_groups(["a1", "b1", "a2", "-", "b2"], lambda item: None if item == "-" else item[0], "a")
    ['a1', 'a2', '-', 'b1', 'b2']
    """
    ranks: dict[Hashable, int] = {first: 0}
    for item in items:
        of = group(item)
        if of is not None:
            ranks.setdefault(of, len(ranks))
    return sorted(items, key=lambda item: ranks[first if (of := group(item)) is None else of])
