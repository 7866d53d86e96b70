"""What a host needs to build Debian images, checked before anything is started."""

from __future__ import annotations

import os
import pwd
import shutil
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import ImageError
from orchestrator.host.look import SUBIDS_NEEDED, find, read_table, subids
from orchestrator.host.look import search_path as search_path  # the builders of images have it from here
from orchestrator.host.needs import Purpose, programs_of

TOOLS = programs_of(Purpose.DEBIAN_IMAGES) | {"qemu-img": programs_of(Purpose.MACHINES)["qemu-img"]}
ROOTLESS_TOOLS = programs_of(Purpose.ROOTLESS)


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


def gather(cache: Path) -> HostFacts:
    """Read the facts. ``cache`` or its nearest existing parent gives the disk space."""
    rootless = os.geteuid() != 0
    tools = TOOLS | ROOTLESS_TOOLS if rootless else TOOLS
    folder = next(path for path in [cache, *cache.parents] if path.exists())
    user = pwd.getpwuid(os.geteuid()).pw_name
    return HostFacts(
        missing={tool: package for tool, package in tools.items() if find(tool) is None},
        free=shutil.disk_usage(folder).free,
        rootless=rootless,
        user=user,
        subids=_subids(user) if rootless else 0,
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
            hint="orchestrator host-setup installs what is missing; ORCH_CACHE_DIR moves the cache to another disk",
        )


def _subids(user: str) -> int:
    tables = [read_table(Path(name)) for name in ("/etc/subuid", "/etc/subgid")]
    return min(subids(table, user, os.geteuid()) for table in tables)


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
