"""Who QEMU is where root starts it: a user that owns nothing, another one for each machine.

QEMU opens its files, sockets and /dev/kvm as root and then changes its user
(`-run-with user=`); what it needs later is handed to it as open descriptors.
A guest that breaks out of QEMU then finds itself a user without files, groups
and capabilities, under the system call filter.
"""

from __future__ import annotations

import os
import pwd
import zlib
from collections.abc import Callable
from pathlib import Path

from orchestrator.errors import HostError

# Used by nothing: between systemd's ranges of home and of dynamic users (its table of user and group ids).
FIRST, LAST = 60578, 61183
VARIABLE = "ORCH_QEMU_USER"


def qemu_user(machine: str, script: str) -> str:
    """The value for ``-run-with user=``; empty where QEMU stays who it is.

    That is where this program is not root, where root of a user namespace has no
    other ids, and for a machine whose script shares folders of the host with it,
    since QEMU opens their files while it runs. ORCH_QEMU_USER overrides it: a user's name or id, or ``root``.

    Args:
        machine: a name no other machine of this host has.
        script: the text of its run script.

    Raises:
        HostError: ORCH_QEMU_USER names no user, or cannot be followed.
    """
    forced = os.environ.get(VARIABLE, "")
    if forced:
        return _forced(forced)
    if os.geteuid() != 0 or "-virtfs" in script or not _mapped(FIRST, LAST):
        return ""
    number = pick(machine, _in_use)
    return f"{number}:{number}"


def pick(machine: str, used: Callable[[int], bool]) -> int:
    """A user id of the range, mostly the same for the same machine. Pure but for ``used``."""
    count = LAST - FIRST + 1
    start = zlib.crc32(machine.encode()) % count
    numbers = (FIRST + (start + step) % count for step in range(count))
    return next((number for number in numbers if not used(number)), FIRST + start)


def _forced(word: str) -> str:
    try:
        found = pwd.getpwuid(int(word)) if word.isdigit() else pwd.getpwnam(word)
    except (KeyError, OverflowError):
        raise HostError(
            f"ORCH_QEMU_USER is {word!r}", why="this host has no such user", hint="a user's name or id, or root"
        ) from None
    if found.pw_uid == os.geteuid():
        return ""
    if os.geteuid() != 0:
        raise HostError(
            f"ORCH_QEMU_USER is {word!r}", why="only root can give QEMU another user", hint=f"unset {VARIABLE}"
        )
    return f"{found.pw_uid}:{found.pw_gid}"


def _in_use(number: int) -> bool:
    """Whether the id has a name, or a process."""
    try:
        pwd.getpwuid(number)
    except KeyError:
        return any(owner == number for owner in _owners())
    return True


def _owners() -> set[int]:
    owners: set[int] = set()
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                status = Path(entry.path, "status").read_text(errors="replace")
            except OSError:
                continue  # it ended
            owners |= {int(number) for number in status.partition("\nUid:")[2].partition("\n")[0].split()}
    return owners


def _mapped(first: int, last: int) -> bool:
    """Whether these ids exist here: root of a user namespace may have few."""
    try:
        lines = Path("/proc/self/uid_map").read_text().splitlines()
    except OSError:
        return False
    ranges = [tuple(int(number) for number in line.split()) for line in lines]
    return any(start <= first and last < start + length for start, _, length in ranges)
