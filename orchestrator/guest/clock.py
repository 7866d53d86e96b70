"""How far a guest's clock is off the host's, and how exactly that is known."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.deadline import Deadline, monotonic
from orchestrator.events import wall_clock
from orchestrator.guest.channel import GuestChannel

SAMPLES = 3  # questions; the quickest answer counts


@dataclass(frozen=True, slots=True)
class ClockReading:
    """A guest's clock as it was read once.

    Attributes:
        offset: seconds that it is behind the host's.
        uncertainty: how many seconds the offset may be wrong: half of the time the answer took.
    """

    offset: float
    uncertainty: float


async def read_clock(channel: GuestChannel, deadline: Deadline, samples: int = SAMPLES) -> ClockReading:
    """Ask several times; the quickest answer tells most.

    Raises:
        MachineError: no answer.
    """
    best = ClockReading(0.0, float("inf"))
    for _ in range(samples):
        asked, before = monotonic(), wall_clock()
        guest = await channel.time(deadline=deadline)
        half = (monotonic() - asked) / 2
        if half < best.uncertainty:
            best = ClockReading(before + half - guest, half)
    return best
