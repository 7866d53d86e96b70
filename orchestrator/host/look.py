"""Looking at a host: which needs are not met, what system it is, whose ids are missing. Nothing is changed."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.deadline import Deadline
from orchestrator.errors import HostError
from orchestrator.host.needs import Need
from orchestrator.process import run
from orchestrator.vm.accelerator import MINIMUM_QEMU, parse_version

SBIN = "/usr/sbin:/sbin"  # Debian's users do not have it on PATH, mke2fs lives there
SUBIDS_NEEDED = 65536
FIRST_SUBID = 100000
_QUESTION = 20.0  # seconds for a program to tell its version
# The ID or ID_LIKE of /etc/os-release → the package manager.
_MANAGERS = {
    "debian": "apt",
    "ubuntu": "apt",
    "fedora": "dnf",
    "rhel": "dnf",
    "centos": "dnf",
    "arch": "pacman",
    "suse": "zypper",
    "opensuse": "zypper",
    "nixos": "nix",
}


@dataclass(frozen=True, slots=True)
class System:
    """A distribution.

    Attributes:
        id, version: as /etc/os-release has them; the version is empty where there is none.
        manager: ``apt``, ``dnf``, ``pacman``, ``zypper``, ``nix``, or empty.
        name: for people.
    """

    id: str
    version: str
    manager: str
    name: str


@dataclass(frozen=True, slots=True)
class Lack:
    """A need that is not met. ``found`` says what is there instead, such as an old version."""

    need: Need
    found: str = ""

    @property
    def reason(self) -> str:
        """What it is for, and what is there."""
        minimum = ".".join(str(part) for part in MINIMUM_QEMU)
        newer = f"; {minimum} or newer" if self.need.qemu else ""
        return f"{self.need.reason}{newer}{f' ({self.found})' if self.found else ''}"


def search_path() -> str:
    """PATH with the folders of system programs at its end."""
    return f"{os.environ.get('PATH', os.defpath)}:{SBIN}"


def find(program: str) -> str | None:
    """The path of a program, or None."""
    return shutil.which(program, path=search_path())


def parse_os_release(text: str) -> System:
    """The system that /etc/os-release describes. Pure.

    >>> parse_os_release('ID=linuxmint\\nID_LIKE="ubuntu debian"\\nVERSION_ID="22"\\nPRETTY_NAME="Mint 22"').manager
    'apt'
    """
    values = dict(line.split("=", 1) for line in text.splitlines() if "=" in line and not line.startswith("#"))
    plain = {key: value.strip().strip("\"'") for key, value in values.items()}
    own = plain.get("ID", "")
    names = [own, *plain.get("ID_LIKE", "").split()]
    manager = next((_MANAGERS[name.partition("-")[0]] for name in names if name.partition("-")[0] in _MANAGERS), "")
    return System(own, plain.get("VERSION_ID", ""), manager, plain.get("PRETTY_NAME", own) or "an unknown system")


def system(file: Path) -> System:
    """This host's distribution."""
    try:
        return parse_os_release(file.read_text(encoding="utf-8", errors="replace"))
    except OSError:
        return System("", "", "", "an unknown system")


async def missing(needs: Iterable[Need]) -> list[Lack]:
    """The needs that this host does not meet."""
    return [lack for need in needs if (lack := await _lack(need)) is not None]


async def _lack(need: Need) -> Lack | None:
    absent = [program for program in need.programs if find(program) is None]
    if absent:
        return Lack(need, f"without {', '.join(absent)}" if len(need.programs) > 1 else "")
    if need.files and not any(_matches(pattern) for pattern in need.files):
        return Lack(need)
    if need.qemu:
        for program in need.programs:
            version = await _version(find(program) or program)
            if version < MINIMUM_QEMU:
                shown = ".".join(str(part) for part in version)
                return Lack(need, f"version {shown} is here" if version else "the one here does not tell its version")
    return None


def _matches(pattern: str) -> bool:
    return next(Path("/").glob(pattern.lstrip("/")), None) is not None


async def _version(program: str) -> tuple[int, ...]:
    try:
        done = await run([program, "--version"], deadline=Deadline.after(_QUESTION), check=False)
    except HostError:
        return ()
    return parse_version(done.stdout)


def missing_subids(user: str, uid: int, tables: Sequence[str]) -> str:
    """The range to add for a user who lacks subordinate ids in one of the tables; empty when all is well. Pure.

    It begins after everybody's.

    >>> missing_subids("bob", 1000, ["amy:100000:65536", "bob:165536:65536"])
    '231072-296607'
    """
    if all(subids(table, user, uid) >= SUBIDS_NEEDED for table in tables):
        return ""
    ends = [start + count for table in tables for _, start, count in _ranges(table)]
    start = max([FIRST_SUBID, *ends])
    return f"{start}-{start + SUBIDS_NEEDED - 1}"


def subids(table: str, user: str, uid: int) -> int:
    """How many subordinate ids a user has in a table. Pure."""
    return sum(count for name, _, count in _ranges(table) if name in (user, str(uid)))


def _ranges(table: str) -> list[tuple[str, int, int]]:
    fields = [line.split(":") for line in table.splitlines() if line.count(":") == 2]
    return [(name, int(start), int(count)) for name, start, count in fields if start.isdigit() and count.isdigit()]


def read_table(file: Path) -> str:
    """The text of /etc/subuid or /etc/subgid, empty where it is missing."""
    try:
        return file.read_text(encoding="utf-8", errors="replace")
    except OSError:
        return ""
