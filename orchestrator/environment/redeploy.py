"""Layers that changed, brought into machines that run: the disk's content is exchanged, and what must starts again.

Services that use a changed layer, and those that depend on them, are stopped, started and proven again. Everything else
goes on.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.deadline import Deadline
from orchestrator.environment.live_guest import setup_deadline
from orchestrator.environment.plan import Plan
from orchestrator.environment.runstate import Runstate
from orchestrator.environment.session import Session
from orchestrator.environment.ssh_files import write_ssh_files
from orchestrator.environment.state import EnvironmentState
from orchestrator.events.run import Note
from orchestrator.guest.exchange import DiskBusyError, exchange, unmount
from orchestrator.images.cache import ImageCache
from orchestrator.images.layers import LayerDisk, serial_of
from orchestrator.snapshots.key import differences, layer_input
from orchestrator.tasks import run_all
from orchestrator.topology.model import Topology


@dataclass(frozen=True, slots=True)
class Wanted:
    """What is to be in the machines: the disks of each, and the inputs that stand for all of it.

    Attributes:
        layers: the disks of each machine.
        inputs: as `orchestrator.snapshots.key.inputs_of` has them.
        untouched: layers of which only such files changed as services read again each time.
    """

    layers: Mapping[str, tuple[LayerDisk, ...]]
    inputs: Mapping[str, str]
    untouched: frozenset[str] = frozenset()


def wanted_of(state: EnvironmentState, planned: Plan, untouched: Collection[str] = ()) -> Wanted:
    """What a plan wants of layers; all else is as it was started. Pure."""
    names = _contents(state.topology)
    inputs = {**state.inputs, **{name: value for name, value in planned.inputs.items() if name in names}}
    return Wanted(planned.layers, inputs, frozenset(untouched))


def other_inputs(topology: Topology, old: Mapping[str, str], new: Mapping[str, str]) -> list[str]:
    """The inputs that differ and are no content of a layer: machines that run cannot be given those. Pure."""
    contents = _contents(topology)
    return [name for name in differences(old, new) if name not in contents]


def _contents(topology: Topology) -> set[str]:
    return {layer_input(layer, machine) for layer in topology.layers for machine in topology.machines}


def changed_disks(session: Session, wanted: Wanted) -> dict[str, list[LayerDisk]]:
    """The disks that are not in the machines as they run, by machine."""
    known = session.record.state.machines
    found = {
        name: [disk for disk in disks if known[name].layers.get(disk.name) != str(disk.path)]
        for name, disks in wanted.layers.items()
        if name in known
    }
    return {name: disks for name, disks in found.items() if disks}


def can_redeploy(session: Session) -> bool:
    """Whether every machine runs and was handed over."""
    known = session.record.state.machines
    return all(
        live.runstate is Runstate.READY and name in known and known[name].process.alive
        for name, live in session.machines.items()
    )


async def join_changed(session: Session, wanted: Wanted, deadline: Deadline) -> None:
    """Join machines that already run, bring in the layers that changed, and prove every service again.

    Raises:
        MachineError, ServiceError: a machine does not answer, or a service does not come up.
    """
    await session.reattach(deadline)
    await run_all(*(live.open_ssh() for live in session.machines.values()))
    await redeploy(session, wanted, deadline, doubtful=True)


async def redeploy(session: Session, wanted: Wanted, deadline: Deadline, *, doubtful: bool = False) -> tuple[str, ...]:
    """Bring in what changed; the services that were started again, in the order of the file.

    Args:
        doubtful: something failed before: every service is looked at, and started where it is down.

    Raises:
        DiskBusyError: a guest does not let go of a layer.
        MachineError, ServiceError: a machine does not take it, or a service does not come up with it.
    """
    disks, total = changed_disks(session, wanted), len(session.topology.services)
    session.record.change(phase="starting")
    try:
        again = await _give_up(session, disks, wanted.untouched, deadline)
        if disks:
            names = ", ".join(dict.fromkeys(disk.name for found in disks.values() for disk in found))
            count = f"{len(again)} of {total} services start again" if again else "no service starts again"
            text = f"layer {names} changed: {count}"
            session.bus.emit(Note(level="info", message=text))
        await run_all(*(_exchange(session, name, found, deadline) for name, found in disks.items()))
        session.record.change(inputs=dict(wanted.inputs))
        if pending := tuple(session.topology.services) if doubtful else again:
            session.services.mark_pending(pending)
            await session.start_services(deadline)
        await session.verify_still_healthy(deadline)
    except BaseException:
        session.record.fail()
        raise
    write_ssh_files(session.paths, session.record.state.machines)
    session.record.change(phase="ready")
    return again


async def _give_up(
    session: Session, disks: Mapping[str, list[LayerDisk]], untouched: Collection[str], deadline: Deadline
) -> tuple[str, ...]:
    """Stop what must start again, and let the guests give up the disks; the services that were stopped."""
    names = {disk.name for found in disks.values() for disk in found}
    graph, uses = session.services.graph, session.topology.layer_users
    choices = list(dict.fromkeys(graph.with_dependants(uses(some)) for some in (names - set(untouched), names)))
    for number, again in enumerate(choices, 1):
        await session.services.stop_units(again, deadline)
        try:
            await run_all(*(_unmount(session, name, found, deadline) for name, found in disks.items()))
            break
        except DiskBusyError:
            if number == len(choices):
                raise
    return again


async def _unmount(session: Session, name: str, disks: list[LayerDisk], deadline: Deadline) -> None:
    live, limit = session.machines[name], setup_deadline(deadline, session.scale)
    agent = await live.ready_agent()
    for disk in disks:
        await unmount(agent, serial_of(disk.name), session.topology.layers[disk.name].target, limit)
        live.guest.services -= frozenset(session.topology.layer_users([disk.name]))


async def _exchange(session: Session, name: str, disks: list[LayerDisk], deadline: Deadline) -> None:
    """Put the new content behind the disks of a machine, record that, and mount them."""
    live, cache, limit = session.machines[name], ImageCache(), setup_deadline(deadline, session.scale)
    for disk in disks:
        cache.pin(disk.path, session.paths.folder)
        await exchange(live.monitor, f"layer-{disk.name}", disk.path, limit)
        known = session.record.state.machines[name].layers
        session.record.machine(name, layers={**known, disk.name: str(disk.path)})
        machines = session.record.state.machines.values()
        if not any(known[disk.name] in machine.layers.values() for machine in machines):
            cache.unpin(Path(known[disk.name]), session.paths.folder)
    users = session.topology.layer_users([disk.name for disk in disks])
    await live.guest.prepare(live.guest.unprepared(users), limit)
    session.record.machine(name, prepared=tuple(sorted(live.guest.services)))
