"""Taking a snapshot: every machine stopped at one moment, device state and memory written, and on they go.

The machines are paused while their touched memory is copied, some tenths of a
second, or while QEMU sends what changed since it sent all of it
(`orchestrator.snapshots.live`); fingerprints and logs are made when they run again.
"""

from __future__ import annotations

import asyncio
import os
import shutil
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack, suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.deadline import Deadline, monotonic, pause
from orchestrator.errors import MachineError, OrchestratorError, SnapshotError
from orchestrator.snapshots.live import Flow, cannot_be_saved, flowing
from orchestrator.snapshots.manifest import MachineFiles, SavedMachine, files_of
from orchestrator.snapshots.memory import copy_sparse, digest
from orchestrator.tasks import finish_despite_cancel, run_all, run_with_watchdogs
from orchestrator.threads import in_thread
from orchestrator.vm.qmp import Monitor

SAVE_LIMIT = 60.0  # seconds; a memory of many GiB on a slow disk
SEND_LIMIT = 600.0  # seconds to send all memory once, while the machines run
POLL = 0.005
CONT_TRIES = 20
CANCEL_LIMIT = 5.0
# No limit on the rate; and nothing is the end by itself while the guest still writes: all are stopped together.
PARAMETERS = {"max-bandwidth": 1 << 40, "downtime-limit": 0}
CAPABILITIES = {"capabilities": [{"capability": "x-ignore-shared", "state": True}]}


@dataclass(frozen=True, slots=True)
class Source:
    """A running machine to be saved.

    Attributes:
        ram: the file that is its memory, mapped shared; None: QEMU sends it.
        base: the file that its memory rests on, copy on write, if any.
        disk: its qcow2 overlay; ``image`` the folder below it.
        layers: the files of its read-only disks.
    """

    name: str
    monitor: Monitor
    ram: Path | None
    disk: Path
    image: str
    host_key: str
    serial: Path
    journal: Path
    base: Path | None = None
    layers: tuple[Path, ...] = ()


async def save_machines(
    sources: Sequence[Source], folder: Path, deadline: Deadline
) -> tuple[dict[str, SavedMachine], float]:
    """Write all machines into ``folder``; what they are, and the seconds they were paused.

    Whatever happens, the machines run again.

    Raises:
        SnapshotError: there is no room, or QEMU refused.
        MachineError: a machine is lost.
    """
    limit = deadline.earlier(SAVE_LIMIT)
    try:
        for source in sources:
            files_of(folder, source.name).folder.mkdir(mode=0o700)
            await source.monitor.execute("migrate-set-capabilities", CAPABILITIES, deadline=limit)
            await source.monitor.execute("migrate-set-parameters", PARAMETERS, deadline=limit)
        paused = await _written(sources, folder, deadline)
        saved = await run_all(*(_described(source, files_of(folder, source.name)) for source in sources))
    except OSError as error:
        raise SnapshotError("the snapshot could not be written", why=str(error), where=[str(folder)]) from error
    return {source.name: one for source, one in zip(sources, saved, strict=True)}, paused


async def _written(sources: Sequence[Source], folder: Path, deadline: Deadline) -> float:
    """Memory, state and disk of all, as they were at one moment; the seconds they were paused."""
    sent = [source for source in sources if source.ram is None]
    limit = deadline.earlier(SEND_LIMIT if sent else SAVE_LIMIT)
    try:
        async with AsyncExitStack() as stack:
            flows = {}
            for one in sent:
                files = files_of(folder, one.name)
                flows[one.name] = await stack.enter_async_context(
                    flowing(one.name, one.monitor, one.base, files, limit)
                )
            work = _stopped_and_written(sources, folder, flows, limit)
            return await run_with_watchdogs(work, [flow.pump for flow in flows.values()])
    except BaseException:
        # One that is still sending would stop by itself at its end.
        await finish_despite_cancel(_all_go_on([source.monitor for source in sent]))
        raise


async def _stopped_and_written(
    sources: Sequence[Source], folder: Path, flows: Mapping[str, Flow], limit: Deadline
) -> float:
    # Once while they run: what it costs is mostly to get the pages, and they have them then.
    await run_all(*(_first(source, files_of(folder, source.name), flows, limit) for source in sources))
    begun, limit = monotonic(), limit.earlier(SAVE_LIMIT)
    try:
        await run_all(*(source.monitor.execute("stop", deadline=limit) for source in sources))
        await run_all(*(_write(source, files_of(folder, source.name), flows, limit) for source in sources))
    finally:
        await finish_despite_cancel(_all_go_on([source.monitor for source in sources]))
    return monotonic() - begun


async def _first(source: Source, files: MachineFiles, flows: Mapping[str, Flow], limit: Deadline) -> None:
    if source.ram is None:
        await flows[source.name].sent_once(limit)
    else:
        await in_thread(copy_sparse, source.ram, files.ram)


async def _all_go_on(monitors: Sequence[Monitor]) -> None:
    """Every machine that can runs again, also when another one is lost."""
    results = await asyncio.gather(*(_give_up_and_go_on(monitor) for monitor in monitors), return_exceptions=True)
    for result in results:
        if isinstance(result, BaseException):
            raise result


async def _give_up_and_go_on(monitor: Monitor) -> None:
    # A migration that was given up would stop the machine again at its end.
    told = await monitor.execute("query-migrate")
    if told.get("status") in ("setup", "active", "device", "pre-switchover", "postcopy-active"):
        await monitor.execute("migrate_cancel")
        limit = Deadline.after(CANCEL_LIMIT)
        while (await monitor.execute("query-migrate")).get("status") == "cancelling" and not limit.expired:
            await pause(POLL, limit)
    await cont(monitor)


async def _write(source: Source, files: MachineFiles, flows: Mapping[str, Flow], limit: Deadline) -> None:
    ram = source.ram
    if ram is None:
        await flows[source.name].finish(limit)
        await in_thread(copy_sparse, source.disk, files.disk)
        return
    async with source.monitor.passed_fd(files.state, os.O_WRONLY | os.O_CREAT | os.O_TRUNC) as name:
        await _write_state(source, name, limit)
    # Now QEMU has let go of the disk: what it cached is in the file.
    await run_all(
        in_thread(copy_sparse, ram, files.ram, again=True),
        in_thread(copy_sparse, source.disk, files.disk),
    )


async def _write_state(source: Source, name: str, limit: Deadline) -> None:
    """Have QEMU write the state of CPU and devices into a file it knows by this name."""
    try:
        await source.monitor.execute("migrate", {"uri": f"file:{name}"}, deadline=limit)
    except MachineError as error:
        if "refused" not in error.what:
            raise
        raise cannot_be_saved(source.name, error.why) from error
    while True:
        told = await source.monitor.execute("query-migrate")
        if told.get("status") == "completed":
            return
        if told.get("status") in ("failed", "cancelled"):
            raise cannot_be_saved(source.name, str(told.get("error-desc", told)))
        if limit.expired:
            raise SnapshotError(f"QEMU did not save machine {source.name} within {limit}")
        await pause(POLL, limit)


async def cont(monitor: Monitor) -> None:
    """Let a stopped machine run; just after a migration QEMU may need another moment."""
    for attempt in range(CONT_TRIES):
        with suppress(OrchestratorError):
            await monitor.execute("cont")
            return
        if attempt > 2 and await monitor.run_state() == "running":
            return
        await pause(0.01 * (attempt + 1), Deadline.after(5))
    raise MachineError(
        f"machine {monitor.machine} does not continue after its state was saved",
        subject=monitor.machine,
        why=f"QEMU refuses cont; its state is {await monitor.run_state()}",
    )


async def _described(source: Source, files: MachineFiles) -> SavedMachine:
    for text, copy in ((source.serial, files.serial), (source.journal, files.journal)):
        if text.exists():
            shutil.copyfile(text, copy)
            copy.chmod(0o600)
    ram, state, disk = await run_all(*(in_thread(digest, one) for one in (files.ram, files.state, files.disk)))
    machine_type, cpu = await hardware(source.monitor)
    return SavedMachine(
        image=source.image,
        ram=ram,
        state=state,
        disk=disk,
        host_key=source.host_key,
        layers={str(layer): await in_thread(digest, layer) for layer in source.layers},
        machine_type=machine_type,
        cpu=cpu,
    )


async def hardware(monitor: Monitor) -> tuple[str, str]:
    """The types of a machine and of its processor, as QEMU names them, versions included; empty where it cannot tell.

    Raises:
        MachineError: QEMU is gone.
    """
    machine = await _kind(monitor, "/machine")
    processors = await monitor.execute("query-cpus-fast")
    return machine.removesuffix("-machine"), await _kind(monitor, str(processors[0]["qom-path"])) if processors else ""


async def _kind(monitor: Monitor, path: str) -> str:
    return str(await monitor.execute("qom-get", {"path": path, "property": "type"}))
