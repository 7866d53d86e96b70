"""The parts of a machine that a command drives."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from orchestrator.environment.guest_clock import GuestClock
from orchestrator.environment.live_guest import LiveGuest
from orchestrator.environment.live_qemu import LiveQemu
from orchestrator.environment.machine_ssh import MachineSsh
from orchestrator.environment.runstate import Runstate
from orchestrator.events import EventBus
from orchestrator.guest.channel import GuestChannel
from orchestrator.guest.lacks import Lacks
from orchestrator.tasks import Later
from orchestrator.timescale import TimeScale
from orchestrator.topology.model import Machine, Topology
from orchestrator.vm.arguments import MachinePaths
from orchestrator.vm.qmp import Monitor


class MachineParts:
    """What a machine consists of."""

    def __init__(
        self, machine: Machine, topology: Topology, paths: MachinePaths, bus: EventBus, scale: TimeScale, key_file: Path
    ) -> None:
        self.machine = machine
        self.name = machine.name
        self.paths = paths
        self.runstate = Runstate.IDLE
        self.qemu = LiveQemu(machine.name, paths, topology.waivers, bus)
        image = topology.images.get(machine.image)
        providers = tuple(image.sources) if image else ()
        lacks = Lacks(machine.name, providers, (str(paths.journal), str(paths.serial_log)))
        ssh = MachineSsh(paths, self.qemu.watcher, scale, key_file, lacks)
        self.guest = LiveGuest(machine, topology, paths, ssh)
        self.clock = GuestClock(machine.name, self.qemu, self.guest, bus, scale)
        self.qemu.watcher.resumes.then = self._compare_clock
        self._bus = bus
        self._scale = scale
        self._handed_over = Later[GuestChannel]()

    async def _compare_clock(self) -> None:
        """The CPUs were stopped for a time, and with them the guest's clock."""
        if self.handed_over:
            await self.clock.compare("cont")

    @property
    def agent(self) -> GuestChannel:
        return self.guest.agent

    @property
    def monitor(self) -> Monitor:
        """The connection to QEMU; `StateError` before there is one."""
        return self.qemu.monitor

    @property
    def handed_over(self) -> bool:
        """Whether its agent answers and it is set up."""
        return self.runstate is Runstate.READY

    @property
    def ports(self) -> Mapping[int, int]:
        """Guest port → port of 127.0.0.1."""
        return self.guest.ssh.ports

    @property
    def host_key(self) -> str:
        """The pinned SSH host key; empty before its sshd listens."""
        return self.guest.ssh.host_key
