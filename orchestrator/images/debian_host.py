"""What a host needs to build Debian images, checked before anything is started."""

from __future__ import annotations

import os
import pwd
import shutil
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import ImageError

TOOLS = {
    "mmdebstrap": "mmdebstrap",
    "mke2fs": "e2fsprogs",
    "debugfs": "e2fsprogs",
    "e2fsck": "e2fsprogs",
    "tar": "tar",
    "qemu-img": "qemu-utils",
}
ROOTLESS_TOOLS = {"newuidmap": "uidmap", "newgidmap": "uidmap", "unshare": "util-linux"}
SBIN = "/usr/sbin:/sbin"  # Debian's users do not have it on PATH, mke2fs lives there
SUBIDS_NEEDED = 65536


@dataclass(frozen=True, slots=True)
class HostFacts:
    """What the checks look at.

    Attributes:
        missing: program → package of those that are not on PATH.
        free: bytes free in the cache's file system.
        rootless: whether we are not root.
        subids: how many subordinate user and group ids the user has, the smaller of both.
        namespaces: whether the kernel lets the user make namespaces; None if unknown.
    """

    missing: dict[str, str]
    free: int
    rootless: bool
    user: str
    subids: int
    namespaces: bool | None


def search_path() -> str:
    """PATH with the folders of system programs at its end."""
    return f"{os.environ.get('PATH', os.defpath)}:{SBIN}"


def gather(cache: Path) -> HostFacts:
    """Read the facts. ``cache`` or its nearest existing parent gives the disk space."""
    rootless = os.geteuid() != 0
    tools = TOOLS | ROOTLESS_TOOLS if rootless else TOOLS
    folder = next(path for path in [cache, *cache.parents] if path.exists())
    user = pwd.getpwuid(os.geteuid()).pw_name
    return HostFacts(
        missing={tool: package for tool, package in tools.items() if not shutil.which(tool, path=search_path())},
        free=shutil.disk_usage(folder).free,
        rootless=rootless,
        user=user,
        subids=min(_subids(Path("/etc/subuid"), user), _subids(Path("/etc/subgid"), user)) if rootless else 0,
        namespaces=_namespaces() if rootless else True,
    )


def problems(facts: HostFacts, *, needed: int) -> list[str]:
    """Everything that prevents a build that takes ``needed`` bytes; pure."""
    found = [f"{tool} is missing (package {package})" for tool, package in sorted(facts.missing.items())]
    if facts.free < needed:
        found.append(f"{facts.free >> 20} MiB are free for the image cache, {needed >> 20} MiB are needed")
    if facts.rootless and facts.subids < SUBIDS_NEEDED:
        found.append(
            f"user {facts.user} has {facts.subids} subordinate ids, {SUBIDS_NEEDED} are needed: "
            f"sudo usermod --add-subuids 100000-165535 --add-subgids 100000-165535 {facts.user}"
        )
    if facts.rootless and facts.namespaces is False:
        found.append(
            "this kernel lets only root make user namespaces: "
            "sudo sysctl kernel.unprivileged_userns_clone=1 kernel.apparmor_restrict_unprivileged_userns=0"
        )
    return found


def require(cache: Path, *, needed: int) -> None:
    """Raise one `ImageError` with every problem of the host."""
    found = problems(gather(cache), needed=needed)
    if found:
        raise ImageError(
            "this host cannot build Debian images yet",
            evidence=found,
            hint="./scripts/e2e installs what is missing; ORCH_CACHE_DIR moves the cache to another disk",
        )


def _subids(file: Path, user: str) -> int:
    try:
        lines = file.read_text().splitlines()
    except OSError:
        return 0
    names = (user, str(os.geteuid()))
    fields = [line.split(":") for line in lines if line.count(":") == 2]
    return sum(int(count) for name, _, count in fields if name in names and count.isdigit())


def _namespaces() -> bool | None:
    for name, forbidding in (
        ("kernel/unprivileged_userns_clone", "0"),
        ("kernel/apparmor_restrict_unprivileged_userns", "1"),
        ("user/max_user_namespaces", "0"),
    ):
        try:
            if Path("/proc/sys", name).read_text().strip() == forbidding:
                return False
        except OSError:
            continue
    return None
