"""How machines and services come up: booted, restored, joined, or restarted. Each function returns when all is proven.

Callers wrap them in `Session.run_watched`.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Coroutine, Sequence
from contextlib import suppress
from pathlib import Path

from orchestrator.deadline import Deadline
from orchestrator.environment.launch import Launch, launch_machine, resolve_destinations, start_networks
from orchestrator.environment.machine import LiveMachine
from orchestrator.environment.memory import new_memory, ram_file
from orchestrator.environment.runstate import Runstate
from orchestrator.environment.session import Session
from orchestrator.environment.targets import machines_of, services_of
from orchestrator.environment.teardown import end_machines
from orchestrator.errors import OrchestratorError
from orchestrator.snapshots.manifest import files_of
from orchestrator.snapshots.restore import stage_files
from orchestrator.snapshots.save import cont
from orchestrator.snapshots.store import Snapshot
from orchestrator.tasks import run_all
from orchestrator.topology.stages import Stage, stages_of
from orchestrator.vm.arguments import Memory

ENTRY_LIMIT = 15.0  # seconds for the login to a machine of a start that failed

Saver = Callable[[Session, Stage, Deadline], Awaitable[None]]  # saves the state at a stage


async def cold_start(session: Session, launch: Launch, deadline: Deadline, saver: Saver) -> None:
    """Networks, then all machines at once; services start as their machines come up, one stage after the other.

    Args:
        saver: saves the state at a stage.

    Raises:
        HostError, MachineError, ServiceError: the first thing that does not come up.
    """
    await start_networks(session, launch, deadline)
    await resolve_destinations(session, deadline)
    stages = stages_of(session.topology)
    session.begin_with(stages[0])  # before their launch, which records it
    for live in session.machines.values():
        image = launch.images[live.machine.image]
        launch_machine(session, live, launch, new_memory(session.paths, live.machine, image, launch.ram))
    await _all_up(
        session,
        *(_boot(session, live, launch, deadline) for live in session.machines.values()),
        _start_stages(session, stages, saver, deadline),
    )
    await session.verify_still_healthy(deadline)


async def _all_up(session: Session, *work: Coroutine[object, object, object]) -> None:
    """Do all of it. Where something fails the machines stay, and those that are set up can be entered."""
    try:
        await run_all(*work)
    except OrchestratorError:
        await run_all(*(_leave_open(session, live) for live in session.machines.values()))
        raise


async def _leave_open(session: Session, live: LiveMachine) -> None:
    if live.runstate is Runstate.READY:
        with suppress(OrchestratorError):  # what is told is why the start failed
            async with Deadline.after(session.scale.transfer(ENTRY_LIMIT)).enforce():
                await _reachable(session, live)


async def _start_stages(session: Session, stages: Sequence[Stage], saver: Saver, deadline: Deadline) -> None:
    """Start the services of stages in turn; save the state at each but the last, which the caller proves first."""
    for number, stage in enumerate(stages):
        await session.start_services(deadline, stage.services)
        if number + 1 < len(stages):
            # A guest that is saved before sshd has its key would make one in each start from that state.
            await run_all(*(_reachable(session, live) for live in session.machines.values()))
            await saver(session, stage, deadline)


async def _reachable(session: Session, live: LiveMachine) -> None:
    await live.ssh()
    session.record_access(live)


async def _boot(session: Session, live: LiveMachine, launch: Launch, deadline: Deadline) -> None:
    await live.boot(launch.user_key, deadline)
    # A key exchange costs an emulated guest seconds, just when all boots end and the first units start. A check
    # that needs it opens it at once; otherwise it has time until the processors have.
    await session.first_unit_up.wait()
    await live.open_ssh()
    session.record_access(live)
    await live.qemu.screenshot("ready", session.run_folder)


async def restore(session: Session, launch: Launch, snapshot: Snapshot, deadline: Deadline) -> None:
    """All machines as they were when the snapshot was taken; every check must pass again.

    Machines that still run are ended first. The caller has verified the snapshot.

    Raises:
        SnapshotError: there is no room.
        MachineError, ServiceError: a machine does not come back, or not healthy.
    """
    folder, machines = snapshot.folder, session.machines.values()
    await resolve_destinations(session, deadline)  # before anything that runs is ended
    await end_machines(session.paths, session.record.state, session.bus)
    session.record.change(machines={}, services={})
    # One after the other: what fails must leave nothing that goes on starting.
    stage = launch.stage or stages_of(session.topology)[-1]
    session.begin_with(stage)
    memories = await run_all(*(_stage(session, folder, live, launch) for live in machines))
    await start_networks(session, launch, deadline)
    for live, memory in zip(machines, memories, strict=True):
        live.qemu.seed_logs(files_of(folder, live.name))
        launch_machine(session, live, launch, memory)
    await run_all(*(live.load(files_of(folder, live.name).state, deadline) for live in machines))
    await run_all(*(cont(live.monitor) for live in machines))
    session.services.mark_pending(tuple(session.topology.services))
    await _all_up(
        session,
        *(_refresh_identity(session, live, launch, snapshot, deadline) for live in machines),
        _go_on(session, stage, deadline),
    )
    await session.verify_still_healthy(deadline)


async def _go_on(session: Session, stage: Stage, deadline: Deadline) -> None:
    """Prove what is up at a stage, and start the rest."""
    await session.services.verify_restored(deadline, stage.services)
    if session.services.graph.pending():
        await session.start_services(deadline)


async def _stage(session: Session, folder: Path, live: LiveMachine, launch: Launch) -> Memory:
    own = None if launch.ram is None else ram_file(session.paths, live.machine, launch.ram)
    return await stage_files(folder, live.name, live.paths, own)


async def _refresh_identity(
    session: Session, live: LiveMachine, launch: Launch, snapshot: Snapshot, deadline: Deadline
) -> None:
    manifest = snapshot.manifest
    # Another environment made from the same state may run next to this one: then each has a key of its own.
    own = manifest is not None and manifest.owner == session.paths.identity
    kept = manifest.machines[live.name].host_key if manifest is not None and own else ""
    await run_all(live.refresh_identity(launch.user_key, kept, deadline), live.open_ssh())
    session.record_access(live)


async def join(session: Session, deadline: Deadline) -> None:
    """Join machines that already run, and prove every service again.

    Raises:
        MachineError, ServiceError: a machine does not answer, or a service does not come up.
    """
    await session.reattach(deadline)
    machines = session.machines.values()
    await run_all(*(live.open_ssh() for live in machines), *(live.clock.compare("joined") for live in machines))
    # Mostly all is well, and known in a second; anything else is brought up in order.
    if not await session.services.verify_all(deadline):
        session.services.mark_pending(tuple(session.topology.services))
        await session.start_services(deadline)
    await session.verify_still_healthy(deadline)


async def restart(session: Session, names: list[str], deadline: Deadline) -> None:
    """Restart services, or reboot machines; whatever depends on them is proven again.

    Args:
        names: of services, or ``machine:NAME``.

    Raises:
        MachineError, ServiceError: one does not come back.
    """
    restarted = session.services.graph.with_dependants(services_of(session.topology, names))
    rebooted = machines_of(session.topology, names)
    stopping = tuple(name for name in restarted if session.topology.services[name].machine not in rebooted)
    await session.services.stop_units(stopping, deadline)
    for name in rebooted:
        live = session.machines[name]
        await live.reboot(session.public_key(), deadline)
        await live.open_ssh()
        session.record_access(live)
    session.services.mark_pending(restarted)
    await session.start_services(deadline)
    await session.verify_still_healthy(deadline)
