"""Saved states as a tree: which one goes on from which, and what differs. Pure.

A state goes on from another one if it depends on all that the other depends on, and more: `healthy` on `base`.
A named state goes on from the healthy state that its environment was in.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.snapshots.key import differences
from orchestrator.snapshots.store import Snapshot


@dataclass(frozen=True, slots=True)
class Branch:
    """A state in the tree.

    Attributes:
        parent: what it goes on from; None: it is the first of its start.
        depth: how many states are before it.
        adds: the inputs that it has beyond its parent.
        changed: the inputs that differ from the newest state of the same name; none for the newest itself.
    """

    snapshot: Snapshot
    parent: Snapshot | None
    depth: int
    adds: tuple[str, ...]
    changed: tuple[str, ...]


def branches(found: Sequence[Snapshot]) -> list[Branch]:
    """All states, each behind what it goes on from, otherwise in the order in which they come.

    Args:
        found: the newest first.
    """
    parents = {one.folder: _parent(one, found) for one in found}
    newest: dict[tuple[str, str], Snapshot] = {}
    for one in found:
        if one.manifest is not None:
            newest.setdefault((one.environment, one.name), one)

    def below(parent: Snapshot | None, depth: int) -> Iterator[Branch]:
        for one in found:
            if parents[one.folder] != parent:
                continue
            first = newest.get((one.environment, one.name), one)
            adds = () if parent is None else tuple(sorted(_inputs(one).keys() - _inputs(parent).keys()))
            yield Branch(one, parent, depth, adds, tuple(differences(_inputs(first), _inputs(one))))
            yield from below(one, depth + 1)

    return list(below(None, 0))


def _parent(one: Snapshot, found: Sequence[Snapshot]) -> Snapshot | None:
    """The state with the most inputs among those that it goes on from; the newest of them."""
    mine = _inputs(one)
    before = [
        other
        for other in found
        if other is not one
        and other.environment == one.environment
        and other.automatic
        and other.manifest is not None
        and _inputs(other)
        and _inputs(other).items() <= mine.items()
        and (len(_inputs(other)) < len(mine) or not one.automatic)
    ]
    return max(before, key=lambda other: len(_inputs(other)), default=None)


def _inputs(one: Snapshot) -> Mapping[str, str]:
    return {} if one.manifest is None else one.manifest.inputs
