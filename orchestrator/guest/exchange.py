"""The content of a disk that a machine has, exchanged while it runs: the device stays, and another file is behind it.

The guest must have let go of the file system: what it keeps of the old file in memory would be mixed with the new one.
QEMU gets the file as a descriptor, as in `orchestrator.guest.plug`.
"""

from __future__ import annotations

import os
import secrets
from contextlib import suppress
from pathlib import Path

from orchestrator.deadline import Deadline
from orchestrator.errors import GuestCommandError, MachineError, OrchestratorError
from orchestrator.guest.channel import GuestChannel
from orchestrator.vm.qmp import Monitor

BUSY = 75  # the script's code where something in the guest still uses the file system
LET_GO_TRIES = 20  # looks whether the kernel has let go, a tenth of a second apart

# Serial number, place, tries. Programs with mounts of their own have this one too, and lose it together with all; only
# the kernel's own list tells whether one is left.
UNMOUNT = f"""
for disk in /sys/block/vd*; do
    serial=
    {{ read -r serial < "$disk/serial"; }} 2>/dev/null || :
    [ "$serial" = "$1" ] || continue
    name=${{disk##*/}}
    mounted=
    while read -r device rest; do [ "$device" != "/dev/$name" ] || mounted=1; done < /proc/self/mounts
    [ -z "$mounted" ] || umount "$2" || exit {BUSY}
    n=0
    while [ -d "/sys/fs/ext4/$name" ]; do
        n=$((n + 1))
        [ "$n" -lt "$3" ] || {{ echo "a program keeps a mount of $2 of its own" >&2; exit {BUSY}; }}
        sleep 0.1
    done
    exit 0
done
echo "no disk has the serial number $1" >&2
exit 71
"""


class DiskBusyError(GuestCommandError):
    """Something in the guest uses the disk; nothing was changed."""


async def unmount(agent: GuestChannel, serial: str, place: str, limit: Deadline) -> None:
    """Let the guest give up a disk; nothing where it is not mounted.

    Raises:
        DiskBusyError: something in the guest uses it.
        GuestCommandError: the guest has no such disk.
    """
    done = await agent.exec(["sh", "-c", UNMOUNT, "sh", serial, place, str(LET_GO_TRIES)], deadline=limit)
    if done.code == BUSY:
        raise DiskBusyError(
            f"{place} is in use in machine {agent.machine}",
            why=done.complaint,
            subject=agent.machine,
            hint=f"a program that is no service uses it: orchestrator exec {agent.machine} -- fuser -vm {place}",
        )
    if done.code != 0:
        raise GuestCommandError(f"{place} cannot be unmounted in machine {agent.machine}", why=done.complaint)


async def exchange(monitor: Monitor, device: str, file: Path, limit: Deadline) -> None:
    """Put another file of the same size behind a read-only disk that nobody has mounted.

    Args:
        device: the id of the disk in QEMU.

    Raises:
        MachineError: QEMU refuses it.
    """
    node, place = f"orch-{secrets.token_hex(4)}", f"/machine/peripheral/{device}"
    before = str(await monitor.execute("qom-get", {"path": place, "property": "drive"}, deadline=limit))
    async with monitor.passed_fd(file, os.O_RDONLY) as name:
        below = {"driver": "file", "filename": name, "read-only": True, "locking": "off"}
        added = {"driver": "raw", "node-name": node, "read-only": True, "file": below}
        await monitor.execute("blockdev-add", added, deadline=limit)
    try:
        await monitor.execute("qom-set", {"path": place, "property": "drive", "value": node}, deadline=limit)
    except MachineError:
        with suppress(OrchestratorError):
            await monitor.execute("blockdev-del", {"node-name": node}, deadline=limit)
        raise
    await monitor.execute("blockdev-del", {"node-name": before}, deadline=limit)
