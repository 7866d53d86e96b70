"""Machines of a running environment that have ended: started again with the disks they have, their services proven."""

from __future__ import annotations

from collections.abc import Collection

from orchestrator.deadline import Deadline
from orchestrator.environment.launch import launch_machine
from orchestrator.environment.memory import new_memory
from orchestrator.environment.reaper_client import ReaperClient
from orchestrator.environment.reset import launch_again
from orchestrator.environment.session import Session
from orchestrator.environment.ssh_files import write_ssh_files
from orchestrator.environment.switched_off import ended_machines
from orchestrator.events.run import Note
from orchestrator.services.graph import ServiceGraph
from orchestrator.tasks import run_all


async def start_again(session: Session, names: Collection[str], reaper: ReaperClient, deadline: Deadline) -> None:
    """Boot these machines, hand them over, and prove their services and what depends on them.

    Machines that stay off keep nobody waiting: what needs them is reported as stopped or skipped. The caller has
    attached to the others (`Session.reattach`), and watches.

    Raises:
        MachineError, ServiceError: one does not come up.
    """
    launch = launch_again(session, None, reaper)
    absent = [name for name in ended_machines(session.record.state) if name not in names]
    for name in names:
        live, known = session.machines[name], session.record.state.machines[name]
        live.guest.addresses = known.addresses
        live.qemu.watcher.skip_logs()
        image = launch.images[live.machine.image]
        launch_machine(session, live, launch, new_memory(session.paths, live.machine, image, launch.ram))
    graph = session.services.graph
    session.services.mark_pending(services_on(graph, names))
    session.services.set_aside(services_on(graph, absent))

    async def boot(name: str) -> None:
        live = session.machines[name]
        await live.boot(launch.user_key, deadline)
        await live.open_ssh()
        session.record_access(live)

    await run_all(*(boot(name) for name in names))
    # Only now: a check that needs SSH would else spend the limit of its service while sshd starts.
    await session.start_services(deadline)
    write_ssh_files(session.paths, session.record.state.machines)
    await session.verify_still_healthy(deadline)


async def join_and_start(session: Session, names: Collection[str], reaper: ReaperClient, deadline: Deadline) -> None:
    """Join an environment of which these machines are off: they are started again, and every service is proven.

    Raises:
        MachineError, ServiceError: a machine or service does not come up.
    """
    message = f"{' and '.join(names)}: off; started again with the same disk"
    session.bus.emit(Note(level="info", message=message))
    await session.reattach(deadline, absent=names)
    session.services.mark_pending(tuple(session.topology.services))
    await start_again(session, names, reaper, deadline)


def services_on(graph: ServiceGraph, machines: Collection[str]) -> tuple[str, ...]:
    """The services that run on these machines or are checked from them, and those that depend on them. Pure."""
    direct = [
        name
        for name, service in graph.services.items()
        if service.machine in machines or any(check.machine in machines for check in service.checks)
    ]
    return graph.with_dependants(direct)
