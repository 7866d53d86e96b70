"""Events of faults."""

from __future__ import annotations

from typing import Literal

from orchestrator.events.base import Event, event_kind

EndReason = Literal["over", "asked", "phase", "interrupted", "left", "failed"]


@event_kind("fault.began")
class FaultBegan(Event):
    """A fault is in effect: its engine was read back.

    Attributes:
        subject: fault
        fault: its kind
        on: what it is on, as the topology has it
        machines: the machines that are concerned
        engine: what makes it
        parameters: its keys and values, for people
        told: what the engine says of it
        elapsed: seconds that its beginning took
        path: the file that it makes, relative to the run folder
        harmless: whether nothing has to recover from it
    """

    fault: str
    on: str
    machines: tuple[str, ...] = ()
    engine: str = ""
    parameters: str = ""
    told: str = ""
    elapsed: float = 0.0
    path: str = ""
    harmless: bool = False


@event_kind("fault.ended")
class FaultEnded(Event):
    """A fault is not in effect any more.

    Attributes:
        subject: fault
        fault: its kind
        reason: `over` after its time, `asked`, `phase` with what used it, `interrupted`, `left` by a command that was
            killed, `failed` where it did not begin
        seconds: how long it was on
        told: what the engine says at the end
    """

    fault: str
    reason: EndReason
    seconds: float = 0.0
    told: str = ""


@event_kind("fault.recovered")
class FaultRecovered(Event):
    """Everything that a fault was on is healthy again.

    Attributes:
        subject: fault
        seconds: since its end
        within: seconds that it may take, scaled; absent: the limits of the services
    """

    seconds: float
    within: float | None = None
