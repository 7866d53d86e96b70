"""Who QEMU is where root starts it: a user that owns nothing, another one for each machine.

QEMU opens its files, sockets and /dev/kvm as root and then changes its user
(`-run-with user=`); what it needs later is handed to it as open descriptors.
A guest that breaks out of QEMU then finds itself a user without files, groups
and capabilities, under the system call filter.
"""

from __future__ import annotations

import errno
import fcntl
import os
import pwd
import re
import zlib
from collections.abc import Callable
from functools import cached_property
from pathlib import Path

from orchestrator.errors import HostError

# Used by nothing: between systemd's ranges for home, for greeters and for dynamic users.
FIRST, LAST = 60706, 61183
CAP_SETGID, CAP_SETUID = 6, 7
CLAIMS = Path("/run/orchestrator.users")  # one byte of it is locked for each user id that is about to be used
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
    if os.geteuid() != 0 or re.search(r"-(virtfs|fsdev)\b", script) or not _can_change():
        return ""
    taken = _owners()
    number = pick(machine, lambda one: one in taken or _has_name(one) or not _claims.add(one))
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


class Claims:
    """The ids this process has given away, and those of others that do the same at this moment.

    QEMU has its user only in a while. The kernel's record locks end with us, and then QEMU has it.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        self._mine: set[int] = set()

    def add(self, number: int) -> bool:
        """Take the id; False where it is taken."""
        if number in self._mine or self._is_another_ones(number):
            return False
        self._mine.add(number)
        return True

    def _is_another_ones(self, number: int) -> bool:
        if self._file is None:
            return False
        try:
            fcntl.lockf(self._file, fcntl.LOCK_EX | fcntl.LOCK_NB, 1, number)
        except OSError as error:
            return error.errno in (errno.EAGAIN, errno.EACCES)  # else this host has no such locks
        return False

    @cached_property
    def _file(self) -> int | None:
        """Open until we end; None where this host has no such place, and only our own are known."""
        try:
            return os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
        except OSError:
            return None


_claims = Claims(CLAIMS)


def _has_name(number: int) -> bool:
    try:
        pwd.getpwuid(number)
    except KeyError:
        return False
    return True


def _owners() -> set[int]:
    """The users of all processes."""
    owners: set[int] = set()
    for entry in os.scandir("/proc"):
        if entry.name.isdigit():
            try:
                status = Path(entry.path, "status").read_text(errors="replace")
            except OSError:
                continue  # it ended
            owners |= {int(number) for number in status.partition("\nUid:")[2].partition("\n")[0].split()}
    return owners


def _can_change() -> bool:
    """Whether this root may change its user and groups: one of a container or a user namespace may not."""
    proc = Path("/proc/self")
    try:
        status = (proc / "status").read_text()
        refused = (proc / "setgroups").read_text().strip() == "deny"
        maps = [(proc / name).read_text() for name in ("uid_map", "gid_map")]
    except OSError:
        return False
    capabilities = int(status.partition("\nCapEff:")[2].split()[0], 16)
    able = all(capabilities >> one & 1 for one in (CAP_SETGID, CAP_SETUID))
    return able and not refused and all(_mapped(text, FIRST, LAST) for text in maps)


def _mapped(text: str, first: int, last: int) -> bool:
    """Whether these ids exist here, by a map of /proc. Pure."""
    lines = text.splitlines()
    ranges = [tuple(int(number) for number in line.split()) for line in lines]
    return any(start <= first and last < start + length for start, _, length in ranges)
