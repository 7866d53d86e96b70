"""Places the lines of a guest's journal on the run's axis, by the clocks that were compared. Pure.

A line has two times of the guest. Its monotonic one goes on evenly while the guest runs, whatever is done to its time
of day; it halts while the guest is stopped or saved. So it is the host's monotonic clock but for a constant, which is
another one after each boot, restore and pause. The constant follows from one comparison (`machine.clock`) and a line
near it, which ties the guest's time of day to its monotonic clock.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.events.machines import MachineClock
from orchestrator.timeline.model import Axis

UNTOLD = 0.05  # seconds that a guest's time of day may be off where nobody compared it


@dataclass(frozen=True, slots=True)
class Stamp:
    """The times of one line.

    Attributes:
        real: by the guest's time of day, seconds since the epoch.
        monotonic: by the guest's monotonic clock, seconds.
        boot: which boot of the guest.
        arrived: when it came to the host, on the axis, or the last look before that; None: nobody looked.
    """

    real: float
    monotonic: float
    boot: str
    arrived: float | None


@dataclass(frozen=True, slots=True)
class Placed:
    """A line's place on the axis, and how many seconds that may be wrong."""

    at: float
    margin: float


class GuestClocks:
    """The clocks of one guest over a run."""

    def __init__(self, clocks: Sequence[MachineClock], axis: Axis) -> None:
        self._axis = axis
        self._clocks = sorted(clocks, key=axis.place)
        # A segment begins where the guest's clocks began to run as they do from then on.
        begins = {axis.of_monotonic(one.since) for one in self._clocks if one.since}
        self._begins = sorted({float("-inf"), *begins})

    def _segment(self, at: float) -> int:
        return bisect_right(self._begins, at) - 1

    def offset(self, at: float) -> tuple[float, float]:
        """Seconds that the guest's time of day is behind the host's at a moment, and the uncertainty of that."""
        if not self._clocks:
            return 0.0, UNTOLD
        segment = self._segment(at)
        of_it = [one for one in self._clocks if self._segment(self._axis.place(one)) == segment] or self._clocks
        best = min(of_it, key=lambda one: abs(self._axis.place(one) - at))
        return best.offset, best.uncertainty

    def place(self, stamps: Sequence[Stamp]) -> list[Placed]:
        """The places of a journal's lines, in the same order."""
        constants = self._constants(stamps)
        placed = []
        for stamp in stamps:
            known = None
            if stamp.arrived is not None:
                known = constants.get((self._segment(stamp.arrived), stamp.boot))
            if known is not None:
                placed.append(Placed(stamp.monotonic + known[0], known[1]))
                continue
            offset, uncertainty = self.offset(stamp.arrived if stamp.arrived is not None else stamp.real)
            placed.append(Placed(stamp.real + offset, max(uncertainty, UNTOLD)))
        return placed

    def _constants(self, stamps: Sequence[Stamp]) -> dict[tuple[int, str], tuple[float, float]]:
        """For each segment and boot: what makes the guest's monotonic clock the axis, and its uncertainty."""
        found: dict[tuple[int, str], tuple[float, float]] = {}
        by_segment: dict[tuple[int, str], list[Stamp]] = {}
        for stamp in stamps:
            if stamp.arrived is not None and stamp.monotonic:
                by_segment.setdefault((self._segment(stamp.arrived), stamp.boot), []).append(stamp)
        for clock in sorted(self._clocks, key=lambda one: one.uncertainty, reverse=True):  # the best comes last
            at = self._axis.place(clock)
            segment = self._segment(at)
            guest = clock.time - clock.offset  # the guest's time of day when it was compared
            for (number, boot), lines in by_segment.items():
                if number != segment:
                    continue
                # Before the comparison of a restore the time of day was that of the saved state.
                usable = [one for one in lines if one.real >= guest] if clock.reason == "restore" else lines
                if usable:
                    near = min(usable, key=lambda one: abs(one.real - guest))
                    constant = at + (near.real - guest) - near.monotonic
                    found[number, boot] = (constant, clock.uncertainty)
        return found
