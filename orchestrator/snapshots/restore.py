"""Bringing a saved machine back, and making it one of its own: clock, keys and random numbers.

The order matters: a loaded machine is paused until all are loaded, and
answers nothing until it runs.
"""

from __future__ import annotations

import os
from pathlib import Path

from orchestrator.deadline import Deadline, pause
from orchestrator.errors import MachineError, SnapshotDamaged, SnapshotError
from orchestrator.events import wall_clock
from orchestrator.file_stamps import remember, remembered
from orchestrator.guest.channel import GuestChannel
from orchestrator.guest.clock import ClockReading, read_clock
from orchestrator.guest.keys import AUTHORIZED_KEYS, HOST_KEY, PUBLIC_HOST_KEY, new_host_key
from orchestrator.snapshots.manifest import Manifest, files_of
from orchestrator.snapshots.memory import copy_sparse, digest, file_system
from orchestrator.snapshots.save import CAPABILITIES, POLL
from orchestrator.tasks import run_all
from orchestrator.threads import in_thread
from orchestrator.vm.arguments import MachinePaths, Memory
from orchestrator.vm.qmp import Monitor

# sshd reads its keys at SIGHUP, in a new process image; connections stay.
RESTART_SSHD = (
    'read -r pid < /run/sshd.pid && kill -HUP "$pid" || '
    "systemctl --no-block try-reload-or-restart sshd.service ssh.service"
)
# One announcement tells the switch where the machine is now. Each costs an emulated guest a tenth of a second for each
# card, and QEMU would make five.
ANNOUNCEMENTS = {"announce-rounds": 1}
VERIFIED = "verified.json"  # in a snapshot's folder: the stamps of its files when they were compared
CLOCK_ERROR = 0.05  # seconds a guest may be off after a restore
CLOCK_TRIES = 4


async def verify(folder: Path, manifest: Manifest, *, read_all: bool = False) -> None:
    """Compare every file of a snapshot with its fingerprint.

    Files in memory that were compared since the host booted, and did not change since, are not read again.

    Args:
        read_all: they are.

    Raises:
        SnapshotDamaged: the first that is missing or differs.
    """
    wanted: list[tuple[str, Path, str]] = []  # whose it is, the file, its fingerprint
    own: list[tuple[str, Path, str]] = []
    for name, machine in manifest.machines.items():
        files = files_of(folder, name)
        parts = [(files.ram, machine.ram), (files.state, machine.state), (files.disk, machine.disk)]
        own += [(f"{path.name} of machine {name}", path, fingerprint) for path, fingerprint in parts]
        wanted += [
            (f"a layer of machine {name}", Path(file), fingerprint) for file, fingerprint in machine.layers.items()
        ]
        if not Path(machine.image).is_dir():
            raise SnapshotDamaged(f"the snapshot in {folder} needs an image that is gone", where=[machine.image])
    begun, in_memory = wall_clock(), file_system(folder) == "tmpfs"
    what = " ".join(fingerprint for _, _, fingerprint in own)
    if read_all or not in_memory or remembered(folder / VERIFIED, what) is None:
        wanted += own
    try:
        found = await run_all(*(in_thread(digest, path) for _, path, _ in wanted))
    except (OSError, ValueError) as error:
        raise SnapshotDamaged(f"the snapshot in {folder} is not whole", why=str(error)) from error
    for (whose, path, fingerprint), real in zip(wanted, found, strict=True):
        if real != fingerprint:
            raise SnapshotDamaged(
                f"the snapshot in {folder} is damaged",
                why=f"{whose} is not what was saved",
                where=[str(path)],
                hint="orchestrator snapshot prune removes it",
            )
    if in_memory:
        remember(folder / VERIFIED, what, "", [path for _, path, _ in own], begun=begun)


async def stage_files(folder: Path, name: str, paths: MachinePaths, ram: Path | None) -> Memory:
    """The files a restored machine runs on, copies of the saved ones: nothing of it rests on the snapshot's disk.

    Args:
        ram: where its own copy of the memory goes, so that it can be saved again;
            None maps the snapshot's file itself, copy on write.

    Raises:
        SnapshotError: no room.
    """
    files = files_of(folder, name)
    paths.work.mkdir(parents=True, exist_ok=True, mode=0o700)
    paths.disk.unlink(missing_ok=True)
    copies = [in_thread(copy_sparse, files.disk, paths.disk)]
    if ram is not None:
        ram.unlink(missing_ok=True)
        copies.append(in_thread(copy_sparse, files.ram, ram))
    try:
        await run_all(*copies)
    except OSError as error:
        raise SnapshotError(f"the saved files of machine {name} could not be copied", why=str(error)) from error
    return Memory(files.ram, shared=False, incoming=True) if ram is None else Memory(ram, incoming=True)


async def load(monitor: Monitor, state: Path, deadline: Deadline) -> None:
    """Load the state of CPU and devices into a QEMU that waits for it; it then is paused.

    Raises:
        MachineError: QEMU refused it; it ends then, and its log tells why.
        SnapshotError: the file cannot be read.
    """
    await monitor.execute("migrate-set-capabilities", CAPABILITIES, deadline=deadline)
    await monitor.execute("migrate-set-parameters", ANNOUNCEMENTS, deadline=deadline)
    try:
        async with monitor.passed_fd(state, os.O_RDONLY) as name:
            await _load(monitor, name, deadline)
    except OSError as error:
        raise SnapshotError(f"the saved state of machine {monitor.machine} cannot be read", why=str(error)) from error


async def _load(monitor: Monitor, name: str, deadline: Deadline) -> None:
    await monitor.execute("migrate-incoming", {"uri": f"file:{name}"}, deadline=deadline)
    while await monitor.run_state() == "inmigrate":
        if deadline.expired:
            raise MachineError(f"QEMU did not load the state of machine {monitor.machine}", subject=monitor.machine)
        await pause(POLL, deadline)


async def set_clock(agent: GuestChannel, deadline: Deadline) -> ClockReading:
    """Set the clock of a machine that runs again to the host's; how it is read then.

    Raises:
        MachineError: it cannot be set, or not exactly enough.
    """
    found = await read_clock(agent, deadline)
    for _ in range(CLOCK_TRIES):
        result = await agent.exec(["date", "-s", shift(found.offset)], deadline=deadline)
        if result.code != 0:
            raise MachineError(
                f"the clock of machine {agent.machine} cannot be set", subject=agent.machine, why=result.complaint
            )
        found = await read_clock(agent, deadline)
        if abs(found.offset) <= CLOCK_ERROR:
            return found
    raise MachineError(
        f"the clock of machine {agent.machine} cannot be set exactly",
        subject=agent.machine,
        why=f"it is still {found.offset:.3f} s behind after {CLOCK_TRIES} attempts; the host is overloaded",
    )


def shift(offset: float) -> str:
    """For date(1): relative, so that it does not matter when the guest gets to it."""
    return f"{offset:+.6f} seconds"


async def authorize(agent: GuestChannel, user_key: str, deadline: Deadline) -> None:
    """Only this environment's key opens the guest, no longer that of the saved one."""
    await agent.write_file(AUTHORIZED_KEYS, user_key.encode() + b"\n", deadline=deadline)


async def exchange_host_key(agent: GuestChannel, deadline: Deadline) -> str:
    """Give the guest an SSH host key of its own; its public line. sshd then starts again with it.

    Raises:
        MachineError: it could not be done.
    """
    private, public = new_host_key()
    await agent.write_file(HOST_KEY, private.encode(), deadline=deadline)
    await agent.write_file(PUBLIC_HOST_KEY, public.encode() + b"\n", deadline=deadline)
    result = await agent.exec(["sh", "-c", RESTART_SSHD], deadline=deadline)
    if result.code != 0:
        raise MachineError(
            f"sshd of machine {agent.machine} does not take its new host key",
            subject=agent.machine,
            why=result.complaint,
        )
    return public
