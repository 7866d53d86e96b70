"""The critical path of a start: what READY waited for, one thing after the other. Pure."""

from __future__ import annotations

from dataclasses import dataclass

from orchestrator.report.model import MachineView, RunView, ServiceView

LEAST = 0.05  # seconds that are worth a leg


@dataclass(frozen=True, slots=True)
class Leg:
    """A part of the way: something was waited for from ``start`` to ``end``, seconds since the epoch."""

    what: str
    start: float
    end: float

    @property
    def seconds(self) -> float:
        return self.end - self.start


def critical_path(view: RunView) -> list[Leg]:
    """The way from the beginning to READY, back from the service that was up last; empty where it never was ready.

    Of what a service waited for, the one that was up last counts: without it, the service had started earlier.
    """
    services = {service.name: service for service in view.services if service.up_at is not None}
    if view.ready_at is None or not services:
        return []
    legs: list[Leg] = []
    until = view.ready_at
    at: ServiceView | None = max(services.values(), key=lambda one: one.up_at or 0.0)
    first: ServiceView | None = None
    while at is not None:
        up = at.up_at or until
        if until - up > LEAST and not legs:
            legs.append(Leg("the last proof", up, until))
        needed = [services[name] for name in at.depends_on if name in services]
        before = max(needed, key=lambda one: one.up_at or 0.0, default=None)
        ready = before.up_at or 0.0 if before is not None else 0.0
        start = min(max(at.began or up, ready), up)
        legs.append(Leg(f"service {at.name}", start, up))
        if before is not None and start - ready > LEAST:
            legs.append(Leg(_turn(view, at, ready, start), ready, start))
            start = ready
        until, first, at = start, at, before
    machine = next((one for one in view.machines if first is not None and one.name == first.machine), None)
    legs += _machine(machine, until, view.started)
    return [leg for leg in reversed(legs) if leg.seconds > 0.001]


def _turn(view: RunView, service: ServiceView, start: float, end: float) -> str:
    """What a service waited for that could have begun: its machine, or its turn."""
    machine = next((one for one in view.machines if one.name == service.machine), None)
    up = machine.up_at if machine is not None else None
    return (
        f"machine {service.machine}" if up is not None and start < up <= end + LEAST else f"the turn of {service.name}"
    )


def _machine(machine: MachineView | None, until: float, started: float) -> list[Leg]:
    """From the beginning to the machine on which the first service ran."""
    began = machine.began if machine is not None else None
    if machine is None or began is None or began >= until:
        return [Leg("the plan and the images", started, until)]
    return [Leg(f"machine {machine.name}", began, until), Leg("the plan and the images", started, began)]
