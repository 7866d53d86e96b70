"""A place of a running environment, as a fault reaches it (`orchestrator.topology.fault_kind.Place`)."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.deadline import Deadline
from orchestrator.errors import FaultError, MachineError
from orchestrator.events import EventBus
from orchestrator.faults import filter_process
from orchestrator.guest.agent import GuestResult
from orchestrator.guest.channel import GuestChannel
from orchestrator.process_id import ProcessId
from orchestrator.procfs import user_of
from orchestrator.timescale import TimeScale
from orchestrator.topology.fault_kind import Kept
from orchestrator.topology.model import Topology
from orchestrator.topology.read_faults import Spot
from orchestrator.vm.qmp import Monitor

COMMAND_LIMIT = 20.0  # seconds of one command in the guest, before scaling


@dataclass(frozen=True, slots=True)
class Ways:
    """How one machine is reached; both are awaited when a fault needs them.

    Attributes:
        process: its QEMU.
    """

    monitor: Callable[[], Awaitable[Monitor]]
    channel: Callable[[], Awaitable[GuestChannel]]
    process: ProcessId


@dataclass(frozen=True, slots=True)
class Ground:
    """What faults are made on.

    Attributes:
        ways: how each machine is reached.
        run_folder: where captures and logs go.
    """

    topology: Topology
    ways: Callable[[str], Ways]
    bus: EventBus
    scale: TimeScale
    run_folder: Path


class LivePlace:
    """A machine, link or service that a fault is on."""

    def __init__(self, fault: str, spot: Spot, ground: Ground) -> None:
        self.fault = fault
        self.machine = spot.machine
        self.network = spot.link.network if spot.link else ""
        self.mac = spot.link.mac if spot.link else ""
        self.unit = spot.unit
        self.others: Mapping[str, str] = {
            name: link.mac
            for name, machine in ground.topology.machines.items()
            for link in machine.links
            if link.network == self.network and name != self.machine
        }
        self._ways = ground.ways(spot.machine)
        self._scale = ground.scale
        self._run_folder = ground.run_folder

    @property
    def alive(self) -> bool:
        """Whether its machine runs."""
        return self._ways.process.alive

    async def qmp(self, command: str, arguments: Mapping[str, object] | None = None) -> object:
        return await (await self._ways.monitor()).execute(command, arguments)

    async def run(self, command: Sequence[str]) -> GuestResult:
        channel = await self._ways.channel()
        return await channel.exec(command, deadline=Deadline.after(self._scale.limit(COMMAND_LIMIT)))

    async def sh(self, script: str, *words: str) -> str:
        done = await self.run(["sh", "-c", script, "sh", *words])
        if done.code != 0:
            raise FaultError(
                f"fault {self.fault} cannot be made in machine {self.machine}",
                subject=self.machine,
                why=done.complaint or f"its script ended with {done.code}",
            )
        return done.text

    async def filter_frames(self, settings: Mapping[str, object], direction: str) -> Kept:
        log = self._run_folder / "networks" / f"fault-{self._own_name}.log"
        wanted = filter_process.Redirection(
            f"net-{self.network}",
            self._own_name,
            filter_process.settings_text(settings),
            log,
            user_of(self._ways.process.pid),
        )
        return await filter_process.put_in(await self._ways.monitor(), wanted, direction)

    async def filter_told(self, kept: Kept) -> str:
        return await filter_process.told(await self._ways.monitor(), self.fault, kept)

    async def end_filter(self, kept: Kept) -> None:
        await filter_process.take_out(await self._ways.monitor(), kept)

    async def capture(self, snaplen: int) -> Kept:
        path = Path("networks") / f"{self._own_name}.pcap"
        target = self._run_folder / path
        target.parent.mkdir(parents=True, exist_ok=True)
        monitor, name = await self._ways.monitor(), f"orch-{self._own_name}"
        given = {"id": name, "netdev": f"net-{self.network}", "maxlen": snaplen}
        async with monitor.new_file(target, user_of(self._ways.process.pid)) as file:
            await monitor.execute("object-add", {"qom-type": "filter-dump", "file": file, **given})
        return {"path": str(path), "object": name}

    async def end_capture(self, kept: Kept) -> None:
        if kept:
            try:
                await self.qmp("object-del", {"id": kept["object"]})
            except MachineError as error:
                if "not found" not in error.why:
                    raise

    @property
    def _own_name(self) -> str:
        return f"{self.fault}-{self.machine}"
