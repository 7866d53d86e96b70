"""A machine over a fake QMP, a fake agent and a real process, for the tests of what drives and watches it."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import pytest
from event_records import of
from fake_qemu import FakeGuest, FakeServer
from topology_parts import machine, topology

from orchestrator.deadline import Deadline
from orchestrator.environment.machine import LiveMachine
from orchestrator.errors import MachineError
from orchestrator.events import Event, EventBus
from orchestrator.events.machines import MachineStateChanged
from orchestrator.process_id import ProcessId
from orchestrator.timescale import TimeScale
from orchestrator.topology.model import GuestFile
from orchestrator.vm.arguments import MachinePaths

USERNET = "  TCP[HOST_FORWARD]  13       127.0.0.1 34529       10.0.2.15    22     0     0\n"


@dataclass
class Stage:
    live: LiveMachine
    qmp: FakeServer
    guest: FakeGuest
    process: ProcessId
    events: list[Event]
    new: Callable[[], LiveMachine]

    def join(self) -> None:
        """From now on ``live`` is that of a later command, which has not started the machine."""
        self.live = self.new()

    def states(self) -> list[str]:
        return [event.state for event in of(self.events, MachineStateChanged)]


@asynccontextmanager
async def staged(
    tmp_path: Path, script: str = "sleep 60", *, files: tuple[GuestFile, ...] = ()
) -> AsyncIterator[Stage]:
    one = machine("server")
    if files:
        one = type(one)(one.name, one.image, one.cpus, one.memory, files=files)
    bus, events = EventBus(), list[Event]()
    bus.subscribe(events.append)
    paths = MachinePaths(tmp_path / "work", tmp_path / "s", tmp_path / "logs")

    def new() -> LiveMachine:
        return LiveMachine(one, topology(tmp_path, one), paths, bus, TimeScale(), tmp_path / "key")

    live = new()
    process = live.launch(("sh", "-c", script), {"PATH": "/usr/bin:/bin"})
    qmp = FakeServer(paths.qmp, {"human-monitor-command": lambda _: USERNET})
    guest = FakeGuest(paths.agent)
    try:
        async with qmp.serving(), guest.serving():
            stage = Stage(live, qmp, guest, process, events, new)
            yield stage
            await live.close()
            await stage.live.close()
    finally:
        await process.end(0.2)


async def watch_ends(stage: Stage, limit: float) -> MachineError:
    deadline = Deadline.after(limit)
    with pytest.raises(MachineError) as caught:
        async with deadline.enforce():
            await stage.live.qemu.watcher.watch()
    return caught.value
