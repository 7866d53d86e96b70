"""Which cell begins where: the longest first, none of them starved. Pure."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.fleet.needs import Needs, Room, shortage


@dataclass(frozen=True, slots=True)
class Waiting:
    """A cell that waits for a host.

    Attributes:
        avoid: hosts where it failed or was refused; taken again only where there is no other.
        seconds: how long it will run, as far as that is known.
    """

    id: str
    needs: Needs
    avoid: frozenset[str] = frozenset()
    seconds: float | None = None


def in_order(cells: Sequence[Waiting]) -> list[Waiting]:
    """The longest first, those of unknown length before all others, else in the order given."""
    return sorted(cells, key=lambda cell: float("-inf") if cell.seconds is None else -cell.seconds)


def place(cells: Sequence[Waiting], rooms: Mapping[str, Room]) -> tuple[Waiting, str] | None:
    """The next cell to begin, and the host for it; None when nothing can begin now.

    A cell that finds no room keeps the host that could carry it for itself: smaller cells
    begin elsewhere only, so that it is its turn as soon as enough of that host is free.
    """
    kept: set[str] = set()
    tried: set[tuple[Needs, frozenset[str]]] = set()  # most cells are alike: what one did not find, none will
    for cell in cells:
        if (cell.needs, cell.avoid) in tried:
            continue
        tried.add((cell.needs, cell.avoid))
        able = [name for name, room in rooms.items() if not shortage(cell.needs, room.offer)]
        wanted = _without(able, cell.avoid)
        free = [name for name in wanted if name not in kept and rooms[name].takes(cell.needs)]
        if free:
            return cell, max(free, key=lambda name: _freedom(rooms[name]))
        if wanted:
            kept.add(max(wanted, key=lambda name: _freedom(rooms[name])))
        if len(kept) == len(rooms):
            return None
    return None


def _without(hosts: Sequence[str], avoid: Collection[str]) -> list[str]:
    others = [name for name in hosts if name not in avoid]
    return others or list(hosts)


def _freedom(room: Room) -> tuple[float, int, int]:
    """How much of a host is free: by the scarcer of memory and processors, then by the size of it."""
    shares = [
        free / whole
        for free, whole in ((room.memory, room.offer.memory), (room.processors, room.offer.processors))
        if whole
    ]
    return (min(shares, default=0.0), room.processors, room.memory)
