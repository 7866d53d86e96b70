"""A guest's clock, compared with the host's whenever something happened to it."""

from __future__ import annotations

from contextlib import suppress

from orchestrator.deadline import Deadline
from orchestrator.environment.live_guest import LiveGuest
from orchestrator.environment.live_qemu import LiveQemu
from orchestrator.environment.runstate import StateError
from orchestrator.errors import OrchestratorError
from orchestrator.events import EventBus
from orchestrator.events.machines import ClockReason, MachineClock
from orchestrator.guest.clock import ClockReading, read_clock
from orchestrator.timescale import TimeScale

READ_LIMIT = 3.0  # seconds, before scaling


class GuestClock:
    """Tells how far one guest's clock is off: events `machine.clock`."""

    def __init__(self, name: str, qemu: LiveQemu, guest: LiveGuest, bus: EventBus, scale: TimeScale) -> None:
        self._name = name
        self._qemu = qemu
        self._guest = guest
        self._bus = bus
        self._scale = scale

    async def compare(self, reason: ClockReason) -> None:
        """Ask the guest; one that does not answer is in trouble, and others say so."""
        deadline = Deadline.after(self._scale.reply(READ_LIMIT))
        samples = 1 if self._guest.ssh_only else 3  # each starts a program there
        with suppress(OrchestratorError, StateError):
            self.tell(await read_clock(self._guest.agent, deadline, samples), reason)

    def tell(self, reading: ClockReading, reason: ClockReason) -> None:
        """What was read is an event."""
        since = {
            "hand-over": self._qemu.started_at,
            "restore": self._qemu.watcher.resumes.last,
            "cont": self._qemu.watcher.resumes.last,
        }.get(reason)
        offset, uncertainty = round(reading.offset, 6), round(reading.uncertainty, 6)
        self._bus.emit(MachineClock(self._name, offset=offset, uncertainty=uncertainty, reason=reason, since=since))
