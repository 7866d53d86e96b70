"""A disk put into a running machine, and taken out again.

QEMU gets the file as a descriptor, because it may run as a user who can open
nothing of ours. The guest finds the disk by its serial number.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

from orchestrator.deadline import Deadline, completes_before
from orchestrator.errors import GuestCommandError, MachineError, OrchestratorError
from orchestrator.guest.channel import GuestChannel
from orchestrator.timescale import TimeScale
from orchestrator.vm.qmp import Monitor, event_summary

APPEAR_LIMIT = 20.0  # seconds a guest may take to see the disk, before scaling
RELEASE_LIMIT = 10.0  # seconds a guest may take to let it go, before scaling

# A function of the shell: serial number, place, tries, what it is. Safe to call again.
# The kernel makes the device by itself; udev is not waited for. A serial number ends without a newline, of which `read`
# complains.
MOUNT_DISK = """
mount_disk() {
    n=0
    while :; do
        for disk in /sys/block/vd*; do
            serial=
            { read -r serial < "$disk/serial"; } 2>/dev/null || :
            [ "$serial" = "$1" ] || continue
            device=/dev/${disk##*/}
            while read -r mounted rest; do
                [ "$mounted" != "$device" ] || return 0
            done < /proc/self/mounts
            [ -d "$2" ] || mkdir -p "$2" || return
            mount -t ext4 -o ro,noload,nodev,nosuid "$device" "$2" && return
            echo "$4 ($device) cannot be mounted at $2" >&2
            return 71
        done
        n=$((n + 1))
        [ "$n" -lt "$3" ] || { echo "the disk of $4 (serial number $1) does not appear" >&2; return 71; }
        sleep 0.1
    done
}
"""
MOUNT = f'{MOUNT_DISK}mount_disk "$@"'


@asynccontextmanager
async def plugged(
    monitor: Monitor, agent: GuestChannel, disk: Path, place: str, *, scale: TimeScale
) -> AsyncIterator[None]:
    """A disk, read-only, mounted at ``place`` in the guest as long as the block lasts.

    Args:
        disk: an ext4 file system.
        scale: of the limits.

    Raises:
        MachineError: QEMU refuses it.
        GuestCommandError: the guest does not see it, or cannot mount it.
    """
    name = f"orch-{secrets.token_hex(4)}"
    limit = Deadline.after(scale.limit(APPEAR_LIMIT))
    await _plug(monitor, name, disk)
    try:
        tries = str(int(scale.limit(APPEAR_LIMIT) * 10))
        done = await agent.exec(["sh", "-c", MOUNT, "sh", name, place, tries, "a folder"], deadline=limit)
        if done.code != 0:
            raise GuestCommandError(
                f"a disk could not be mounted at {place} in machine {monitor.machine}", why=done.complaint
            )
        yield
    finally:
        # A machine that is gone has let go of it; nothing of this may hide why the block was left.
        with suppress(OrchestratorError):
            await _unplug(monitor, agent, name, place, Deadline.after(scale.limit(RELEASE_LIMIT)))


async def _plug(monitor: Monitor, name: str, disk: Path) -> None:
    async with monitor.passed_fd(disk, os.O_RDONLY) as file:
        await monitor.execute(
            "blockdev-add",
            {
                "driver": "raw",
                "node-name": name,
                "read-only": True,
                "file": {"driver": "file", "filename": file, "read-only": True, "locking": "off"},
            },
        )
    try:
        await monitor.execute("device_add", {"driver": "virtio-blk-pci", "id": name, "drive": name, "serial": name})
    except MachineError:
        with suppress(OrchestratorError):
            await monitor.execute("blockdev-del", {"node-name": name})
        raise


async def _unplug(monitor: Monitor, agent: GuestChannel, name: str, place: str, limit: Deadline) -> None:
    """Unmount, take the device away, and close the file."""
    await agent.exec(["umount", "-l", place], deadline=limit)
    async with monitor.events() as events:

        async def gone() -> None:
            async for event in events:
                kind, data = event_summary(event)
                if kind == "DEVICE_DELETED" and data.get("device") == name:
                    return

        await monitor.execute("device_del", {"id": name}, deadline=limit)
        if not await completes_before(gone, limit):
            return  # a guest that hangs does not let go; the machine ends with it
    await monitor.execute("blockdev-del", {"node-name": name}, deadline=limit)
