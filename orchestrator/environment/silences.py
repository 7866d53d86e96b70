"""What faults make of a machine, so that nobody takes it for trouble: only on their machines, only for their time."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.deadline import FOREVER, monotonic
from orchestrator.topology.fault_kind import Fault

LINGER = 5.0  # seconds after the end of a fault in which its last lines still come


@dataclass(frozen=True, slots=True)
class Silence:
    """What one fault silences, up to a time of the monotonic clock."""

    fault: Fault
    until: float = FOREVER


class Silences:
    """Those of one machine. Faults that ended long ago are forgotten when somebody asks."""

    def __init__(self) -> None:
        self._all: dict[str, Silence] = {}

    def begin(self, fault: Fault) -> None:
        """The fault is about to begin."""
        self._all[fault.name] = Silence(fault)

    def end(self, fault: Fault, linger: float = LINGER) -> None:
        """The fault has ended; ``linger``: seconds for which it still counts."""
        self._all[fault.name] = Silence(fault, monotonic() + linger)

    def _now(self) -> list[Fault]:
        return [one.fault for one in self._all.values() if monotonic() < one.until]

    def of(self, pattern: str) -> str:
        """Why a log pattern does not count now; empty where it does."""
        return next((f"fault {one.name}" for one in self._now() if pattern in one.spec.silences), "")

    @property
    def panic(self) -> bool:
        """Whether a panic is wanted."""
        return any(one.spec.panics for one in self._now())

    @property
    def reset(self) -> bool:
        """Whether a reset is wanted."""
        return any(one.spec.reboots for one in self._now())
