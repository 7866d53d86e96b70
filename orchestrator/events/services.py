"""Events of services, their units and their checks."""

from __future__ import annotations

from orchestrator.events.base import Event, event_kind
from orchestrator.events.states import ServiceState


@event_kind("service.state")
class ServiceStateChanged(Event):
    """A service is one step further, or failed.

    Attributes:
        subject: service
        machine: the machine on which it runs
        state: the new state
        elapsed: seconds since its start
        detail: the reason, where there is one
    """

    machine: str
    state: ServiceState
    elapsed: float | None = None
    detail: str = ""


@event_kind("unit.alias")
class UnitAlias(Event):
    """systemd knows a unit of the topology by another name, which the journal has too.

    Attributes:
        subject: unit, as the topology has it
        machine: the machine on which it is
        id: the unit's primary name (systemd's `Id`)
    """

    machine: str
    id: str


@event_kind("check.result")
class CheckResulted(Event):
    """A check passed, or its result changed.

    Attributes:
        subject: service
        check: name of the check
        ok: whether it passed
        message: what it found, a short text
        attempt: how many times it was made so far
        elapsed: seconds since the service's start
    """

    check: str
    ok: bool
    message: str
    attempt: int
    elapsed: float


@event_kind("wait.heartbeat")
class Heartbeat(Event):
    """A wait goes on; emitted every 30 seconds.

    Attributes:
        subject: machine, service or image
        what: what is waited for
        elapsed: seconds so far
        timeout: seconds after which the wait fails
        detail: the last thing that was seen: the message of a check, a line of the console
    """

    what: str
    elapsed: float
    timeout: float
    detail: str = ""
