"""Which packages an image of Debian holds, read from its disk without a machine; and what two images do not share."""

from __future__ import annotations

import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from orchestrator.deadline import Deadline
from orchestrator.errors import ImageError
from orchestrator.images.debian_host import search_path
from orchestrator.process import run

DISKS = ("root.raw", "base.raw")
STATUS = "/var/lib/dpkg/status"
LIMIT = 60.0  # seconds


@dataclass(frozen=True, slots=True)
class PackageChange:
    """A package of which two images have different versions; empty: it is not there."""

    name: str
    before: str
    after: str

    @property
    def kind(self) -> str:
        return "added" if not self.before else "removed" if not self.after else "changed"


async def installed_packages(image: Path) -> dict[str, str]:
    """Package and architecture → version, of an image's folder.

    Raises:
        ImageError: it is not an image of Debian packages, or cannot be read.
    """
    disk = next((image / name for name in DISKS if (image / name).is_file()), None)
    if disk is None:
        raise ImageError(
            f"{image.name} holds no list of packages",
            why="it is not an image that was made of Debian packages",
            where=[str(image)],
        )
    environment = {**os.environ, "PATH": search_path(), "LC_ALL": "C.UTF-8"}
    argv = ["debugfs", "-R", f"cat {STATUS}", disk.name]
    done = await run(
        argv, deadline=Deadline.after(LIMIT), env=environment, cwd=disk.parent, hint="apt install e2fsprogs"
    )
    found = packages_of(done.stdout)
    if not found:
        raise ImageError(f"{image.name} holds no list of packages", why=done.stderr.strip()[-500:], where=[str(disk)])
    return found


def packages_of(status: str) -> dict[str, str]:
    """The installed packages of dpkg's status file. Pure.

    >>> packages_of("Package: a\\nStatus: install ok installed\\nArchitecture: all\\nVersion: 1\\n\\nPackage: b\\n")
    {'a:all': '1'}
    """
    found = {}
    for paragraph in status.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in paragraph.splitlines() if ": " in line and line[0] != " ")
        if fields.get("Status", "").endswith(" installed") and "Version" in fields:
            found[f"{fields['Package']}:{fields.get('Architecture', '?')}"] = fields["Version"]
    return found


def package_changes(before: Mapping[str, str], after: Mapping[str, str]) -> list[PackageChange]:
    """What was added, removed or changed, by name. Pure."""
    names = sorted({*before, *after})
    pairs = ((name, before.get(name, ""), after.get(name, "")) for name in names)
    return [PackageChange(*pair) for pair in pairs if pair[1] != pair[2]]
