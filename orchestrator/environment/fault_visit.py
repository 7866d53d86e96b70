"""Faults of an environment that no session drives: begun and ended by visits to its machines, its lock held."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from pathlib import Path

from orchestrator.deadline import Deadline
from orchestrator.environment.attach import channel_to
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.state import EnvironmentState
from orchestrator.events import EventBus
from orchestrator.events.run import Note
from orchestrator.faults.book import FaultBook, read_faults
from orchestrator.faults.control import FaultControl
from orchestrator.faults.place import Ground, Ways
from orchestrator.guest.channel import GuestChannel
from orchestrator.timescale import TimeScale
from orchestrator.vm.qmp import Monitor, connect

CONNECT_LIMIT = 15.0  # seconds, before scaling


@asynccontextmanager
async def visiting(
    env_paths: EnvironmentPaths, state: EnvironmentState, bus: EventBus, run_folder: Path
) -> AsyncIterator[FaultControl]:
    """The faults of an environment, for the block; machines are connected to as they are needed.

    The caller holds the lock, and no session is attached to the machines.
    """
    scale = TimeScale(state.factor)
    async with AsyncExitStack() as stack:
        monitors: dict[str, Monitor] = {}
        channels: dict[str, GuestChannel] = {}

        def ways(machine: str) -> Ways:
            async def monitor() -> Monitor:
                if machine not in monitors:
                    path = env_paths.machine(machine, state.run_folder).qmp
                    monitors[machine] = await connect(machine, path, Deadline.after(CONNECT_LIMIT))
                    stack.push_async_callback(monitors[machine].close)
                return monitors[machine]

            async def channel() -> GuestChannel:
                if machine not in channels:
                    limit = Deadline.after(scale.limit(CONNECT_LIMIT))
                    context = channel_to(env_paths, state, machine, limit)
                    channels[machine] = await stack.enter_async_context(context)
                return channels[machine]

            return Ways(monitor, channel, state.machines[machine].process)

        ground = Ground(state.topology, ways, bus, scale, run_folder)
        yield FaultControl(ground, FaultBook(env_paths.faults))


async def end_left(env_paths: EnvironmentPaths, state: EnvironmentState, bus: EventBus) -> list[str]:
    """End what killed commands left on; the machines that boot again because of that."""
    left = {name: one for name, one in read_faults(env_paths.faults).items() if one.left}
    if not left:
        return []
    async with visiting(env_paths, state, bus, state.run_folder) as control:
        names = await control.end_all("left", left=True)
    message = f"a command that was killed had left {', '.join(names)} on; ended"
    bus.emit(Note(level="warning", message=message))
    return [one.fault.on for one in left.values() if one.fault.spec.reboots]


def tell_what_is_on(env_paths: EnvironmentPaths, bus: EventBus) -> None:
    """Warn of faults that `fault add` left on: what is done now is done under them."""
    for name, one in read_faults(env_paths.faults).items():
        if not one.left:
            message = f"fault {name} is on ({one.fault.kind} on {one.fault.on}); `orchestrator fault clear` ends it"
            bus.emit(Note(level="warning", message=message))
