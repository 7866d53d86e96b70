"""Where every cell and every host of a run is. A state machine without I/O: it is told, and says what follows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Literal

from orchestrator.fleet.cells import Cell
from orchestrator.fleet.needs import Needs, Offer, Room, refusal
from orchestrator.fleet.placing import Waiting, in_order, place

MOST_LOSSES = 2  # so often the host of a cell may be lost, then the cell is given up
MOST_REFUSALS = 5  # so often hosts may have too little for it when it comes to it

State = Literal["waiting", "running", "lost", "ended"]


@dataclass(frozen=True, slots=True)
class CellState:
    """One cell.

    Attributes:
        state: ``lost``: its host was, and it may still run there; it waits until that is known.
        attempt: the number of the latest one, 0 before the first.
        host: where the latest attempt is or was.
        times_lost: how often its host was lost.
        refusals: why hosts did not begin it.
        cause: why it was given up.
    """

    cell: Cell
    needs: Needs
    seconds: float | None = None
    state: State = "waiting"
    attempt: int = 0
    host: str = ""
    times_lost: int = 0
    refusals: tuple[tuple[str, str], ...] = ()
    cause: str = ""


@dataclass
class CellBoard:
    """All cells and hosts of a run.

    Attributes:
        hosts: what each host that is up has.
        gone: hosts that are lost, and not given up yet.
        reasons: why hosts were given up, or do not take part.
    """

    cells: dict[str, CellState]
    hosts: dict[str, Offer] = field(default_factory=dict)
    gone: set[str] = field(default_factory=set)
    reasons: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(
        cls,
        cells: Iterable[Cell],
        needs: Mapping[str, Needs],
        seconds: Mapping[str, float],
        attempts: Mapping[str, int] | None = None,
    ) -> CellBoard:
        """All cells waiting; what is known of each by its name. ``attempts``: those of earlier commands."""
        had = attempts or {}
        return cls(
            {one.id: CellState(one, needs[one.id], seconds.get(one.id), attempt=had.get(one.id, 0)) for one in cells}
        )

    # ------------------------------------------------------------------ looking

    @property
    def over(self) -> bool:
        return all(one.state == "ended" for one in self.cells.values())

    def on(self, host: str, *states: State) -> list[CellState]:
        """The cells whose latest attempt is on a host, in these states."""
        return [one for one in self.cells.values() if one.host == host and one.state in (states or ("running",))]

    def is_current(self, cell: str, attempt: int) -> bool:
        """Whether news of an attempt still count: it is the latest one, and its end is not known."""
        found = self.cells.get(cell)
        return found is not None and found.attempt == attempt and found.state in ("running", "lost")

    def rooms(self) -> dict[str, Room]:
        """What is left of each host."""
        taken: dict[str, list[Needs]] = {name: [] for name in self.hosts}
        for one in self.cells.values():
            if one.state == "running" and one.host in taken:
                taken[one.host].append(one.needs)
        return {name: Room.beside(offer, taken[name]) for name, offer in self.hosts.items()}

    # ------------------------------------------------------------------ what happens

    def begin_next(self) -> CellState | None:
        """The next cell that may begin, now running; None when none may."""
        waiting = in_order([_waiting(one) for one in self.cells.values() if one.state == "waiting"])
        found = place(waiting, self.rooms())
        if found is None:
            return None
        cell, host = found
        before = self.cells[cell.id]
        return self._set(replace(before, state="running", attempt=before.attempt + 1, host=host))

    def ended(self, cell: str) -> CellState:
        """An attempt ran to its end: the cell never runs again."""
        return self._set(replace(self.cells[cell], state="ended"))

    def give_up(self, cell: str, cause: str) -> CellState:
        """The cell will not run."""
        return self._set(replace(self.cells[cell], state="ended", cause=cause))

    def refused(self, cell: str, why: str) -> CellState:
        """A host did not begin it: it waits again, for another one if there is one."""
        before = self.cells[cell]
        refusals = (*before.refusals, (before.host, why))
        if len(refusals) >= MOST_REFUSALS:
            return self._set(replace(before, state="ended", refusals=refusals, cause=f"no host began it: {why}"))
        return self._set(replace(before, state="waiting", refusals=refusals))

    def host_up(self, offer: Offer) -> None:
        self.hosts[offer.host] = offer
        self.gone.discard(offer.host)

    def host_lost(self, host: str) -> list[CellState]:
        """A host is silent: its cells may still run there, and are not begun elsewhere."""
        self.hosts.pop(host, None)
        self.gone.add(host)
        return [self._set(replace(one, state="lost")) for one in self.on(host)]

    def released(self, host: str, *, given_up: bool) -> list[CellState]:
        """Nothing of before runs on a host any more: its lost cells may begin again, or are given up.

        Args:
            given_up: the host does not come back. Else it is up again.
        """
        if given_up:
            self.gone.discard(host)
        changed = []
        for one in self.on(host, "lost"):
            times_lost = one.times_lost + 1
            if times_lost >= MOST_LOSSES:
                cause = f"its host was lost {times_lost} times, the last was {host}"
                changed.append(self._set(replace(one, state="ended", times_lost=times_lost, cause=cause)))
            else:
                changed.append(self._set(replace(one, state="waiting", times_lost=times_lost)))
        return changed

    def hopeless(self) -> list[tuple[CellState, str]]:
        """Waiting cells that no host can ever carry, and why; hosts that may come back are waited for."""
        if self.gone:
            return []
        waiting = (one for one in self.cells.values() if one.state == "waiting")
        reasons = ((one, refusal(one.needs, self.hosts.values())) for one in waiting)
        others = [f"{host} does not take part: {why}" for host, why in self.reasons.items()]
        return [(one, "; ".join([reason, *others])) for one, reason in reasons if reason]

    def _set(self, state: CellState) -> CellState:
        self.cells[state.cell.id] = state
        return state


def _waiting(one: CellState) -> Waiting:
    bad = frozenset(host for host, _ in one.refusals) | (frozenset((one.host,)) if one.times_lost else frozenset())
    return Waiting(one.cell.id, one.needs, bad, one.seconds)
