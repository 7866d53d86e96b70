"""Taking an environment down, from its recorded state alone; also what a killed command left."""

from __future__ import annotations

import os
import shutil
import signal
from contextlib import suppress
from pathlib import Path

from orchestrator.deadline import Deadline
from orchestrator.environment.paths import EnvironmentPaths
from orchestrator.environment.state import EnvironmentState
from orchestrator.errors import OrchestratorError
from orchestrator.events import EventBus
from orchestrator.events.machines import MachineStateChanged, NetworkStateChanged
from orchestrator.events.run import Note
from orchestrator.process import exit_code
from orchestrator.process_id import ProcessId
from orchestrator.tasks import run_all
from orchestrator.vm.option_values import value
from orchestrator.vm.qmp import connect

QUIT_LIMIT = 1.0  # seconds for QEMU to end after QMP's quit


async def take_down(paths: EnvironmentPaths, state: EnvironmentState | None, bus: EventBus) -> None:
    """End every process of the environment, then remove its sockets and its folder.

    Disks are throw-away, so a guest is not shut down: QEMU is told to quit, and
    ended when it does not.
    """
    if state is not None:
        await end_machines(paths, state, bus)
        await run_all(*(_end_network(name, process, bus) for name, process in state.networks.items()))
    for process in orphans(paths):
        bus.emit(
            Note(level="warning", message=f"process {process.pid} of this environment was still running; it is ended")
        )
        await process.end()
    remove_traces(paths)


async def end_machines(paths: EnvironmentPaths, state: EnvironmentState, bus: EventBus) -> None:
    """End every QEMU of the environment."""
    await run_all(*(_end_machine(paths, name, m.process, bus) for name, m in state.machines.items()))
    # An egress filter ends with its QEMU, but for one that is not connected to it yet.
    await run_all(*(m.egress_filter.end() for m in state.machines.values() if m.egress_filter is not None))
    for machine in state.machines.values():
        if machine.ram:
            Path(machine.ram).unlink(missing_ok=True)  # as recorded: ORCH_RAM_DIR may be another now


def remove_traces(paths: EnvironmentPaths) -> None:
    """Remove sockets and state; only the lock file stays, which the caller holds."""
    elsewhere = [paths.workshop] if paths.workshop != paths.folder else []
    for folder in (paths.sockets, paths.memory, *elsewhere):
        shutil.rmtree(folder, ignore_errors=True)
        with suppress(OSError):
            folder.parent.rmdir()  # only when nothing else is there
    _remove_all_but_lock(paths)


async def _end_machine(paths: EnvironmentPaths, name: str, process: ProcessId, bus: EventBus) -> None:
    if process.alive:
        bus.emit(MachineStateChanged(name, state="stopping", elapsed=0.0))
        with suppress(OrchestratorError):
            limit = Deadline.after(QUIT_LIMIT)
            monitor = await connect(name, paths.sockets / name / "qmp-side", limit)
            with suppress(OrchestratorError):
                await monitor.execute("quit", deadline=limit)
            await process.ended(limit)
            await monitor.close()
        if process.alive:
            await process.end()
    # Newer run scripts have children beside QEMU; they share its group.
    await end_group(process)
    bus.emit(MachineStateChanged(name, state="stopped", elapsed=0.0))


async def _end_network(name: str, process: ProcessId, bus: EventBus) -> None:
    await process.end()
    bus.emit(NetworkStateChanged(name, state="stopped"))


async def end_group(process: ProcessId) -> None:
    """End what is left of a dead leader's process group, if it is surely ours.

    The group id is the dead leader's pid; a new leader of that number would be
    another process, so members are only ended when the number is not in use.
    """
    exit_code(process)  # our own dead child would hold the number until it is reaped
    if ProcessId.of(process.pid) is not None:
        return
    members = _group_members(process.pid)
    for number in (signal.SIGTERM, signal.SIGKILL):
        for member in members:
            if member.alive:
                with suppress(ProcessLookupError):
                    os.kill(member.pid, number)  # they lead no group of their own
        limit = Deadline.after(1.0)
        for member in members:
            await member.ended(limit)


def _group_members(group: int) -> list[ProcessId]:
    found = []
    for entry in Path("/proc").iterdir():
        if entry.name.isdigit():
            with suppress(OSError, ValueError):
                stat = (entry / "stat").read_text()
                if int(stat[stat.rindex(")") + 2 :].split()[2]) == group:
                    identity = ProcessId.of(int(entry.name))
                    if identity is not None:
                        found.append(identity)
    return found


def orphans(paths: EnvironmentPaths) -> list[ProcessId]:
    """Living processes whose command line names this environment's socket folder.

    Only QEMU and vde_switch carry that path, so nothing else can be meant. It
    finds what a command started and was killed before it could record.
    """
    # As it is, and as it stands in an option of QEMU.
    marks = [os.fsencode(path) for path in (f"{paths.sockets}/", value(f"{paths.sockets}/"))]
    found = []
    for entry in Path("/proc").iterdir():
        if not entry.name.isdigit() or int(entry.name) == os.getpid():
            continue
        with suppress(OSError):
            words = (entry / "cmdline").read_bytes()
            program = words.split(b"\0", 1)[0].rsplit(b"/", 1)[-1]
            ours = program.startswith(b"qemu-system") or program == b"vde_switch"
            if ours and any(mark in words for mark in marks):
                identity = ProcessId.of(int(entry.name))
                if identity is not None:
                    found.append(identity)
    return found


def _remove_all_but_lock(paths: EnvironmentPaths) -> None:
    """The lock file stays as long as we hold it: removing it would let two in."""
    if not paths.folder.is_dir():
        return
    for entry in paths.folder.iterdir():
        if entry == paths.lock:
            continue
        if entry.is_dir() and not entry.is_symlink():
            shutil.rmtree(entry, ignore_errors=True)
        else:
            entry.unlink(missing_ok=True)
