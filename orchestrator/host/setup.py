"""What this host lacks, as one value, and how it is brought about: by us as root, or by commands for people."""

from __future__ import annotations

import os
import pwd
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import HostError
from orchestrator.host import look
from orchestrator.host.apt import Apt, commands
from orchestrator.host.look import Lack, System
from orchestrator.host.needs import Purpose, needs_for
from orchestrator.process import run


@dataclass(frozen=True, slots=True)
class HostFiles:
    """The files of the host that are read."""

    os_release: Path = Path("/etc/os-release")
    subuid: Path = Path("/etc/subuid")
    subgid: Path = Path("/etc/subgid")


@dataclass(frozen=True, slots=True)
class User:
    """Who will build images: whoever runs this, or who called sudo."""

    name: str
    uid: int

    @property
    def is_root(self) -> bool:
        return self.uid == 0


@dataclass(frozen=True, slots=True)
class Shortfall:
    """What a host lacks.

    Attributes:
        subids: the range of subordinate ids that the user needs; empty when none are missing.
    """

    system: System
    user: User
    lacks: tuple[Lack, ...]
    subids: str

    @property
    def is_empty(self) -> bool:
        return not self.lacks and not self.subids

    @property
    def usermod(self) -> list[str]:
        """The command that adds the subordinate ids."""
        return ["usermod", "--add-subuids", self.subids, "--add-subgids", self.subids, self.user.name]

    def packages(self, manager: str) -> list[str]:
        """The packages of a package manager, each once."""
        return list(dict.fromkeys(lack.need.packages[manager] for lack in self.lacks if manager in lack.need.packages))


def current_user(environment: Mapping[str, str]) -> User:
    """Who will build images.

    Args:
        environment: as `os.environ`; sudo says there who called it.
    """
    uid = os.geteuid()
    name = pwd.getpwuid(uid).pw_name
    caller = environment.get("SUDO_UID", "")
    if uid == 0 and caller.isdigit() and environment.get("SUDO_USER"):
        return User(environment["SUDO_USER"], int(caller))
    return User(name, uid)


def purposes_of(user: User, *, debian_images: bool, development: bool) -> list[Purpose]:
    """What a host is used for. Pure.

    >>> [str(one) for one in purposes_of(User("bob", 1000), debian_images=True, development=False)]
    ['machines', 'debian images', 'images without root']
    """
    found = [Purpose.MACHINES]
    if debian_images:
        found += [Purpose.DEBIAN_IMAGES] if user.is_root else [Purpose.DEBIAN_IMAGES, Purpose.ROOTLESS]
    return [*found, Purpose.DEVELOPMENT] if development else found


async def examine(user: User, purposes: Sequence[Purpose], files: HostFiles = HostFiles()) -> Shortfall:
    """What this host lacks for these purposes."""
    tables = [look.read_table(files.subuid), look.read_table(files.subgid)]
    wants_ids = Purpose.ROOTLESS in purposes and not user.is_root
    return Shortfall(
        system=look.system(files.os_release),
        user=user,
        lacks=tuple(await look.missing(needs_for(*purposes))),
        subids=look.missing_subids(user.name, user.uid, tables) if wants_ids else "",
    )


def can_install(system: System) -> bool:
    """Whether `install` knows this system's packages."""
    return system.manager == "apt" and look.find("apt-get") is not None


async def install(lacking: Shortfall, apt: Apt) -> None:
    """Install what is missing; only for root.

    Raises:
        HostError: a step failed.
    """
    if packages := lacking.packages("apt"):
        await apt.install(packages)
    if lacking.subids:
        apt.tell(f"subordinate ids {lacking.subids} for {lacking.user.name}")
        await run(lacking.usermod, deadline=apt.deadline.earlier(60))


def by_hand(lacking: Shortfall) -> list[str]:
    """The commands that an administrator types on this system; also what no package there provides. Pure."""
    system = lacking.system
    lines = []
    if system.manager == "apt" and lacking.lacks:
        lines += commands(system, lacking.packages("apt"))
    elif system.manager:
        installers = {
            "dnf": "dnf install",
            "pacman": "pacman -S --needed",
            "zypper": "zypper install",
            "nix": "nix shell",
        }
        packages = lacking.packages(system.manager)
        words = [f"nixpkgs#{name}" for name in packages] if system.manager == "nix" else packages
        lines += [f"{installers[system.manager]} {' '.join(words)}"] if words else []
        lines += [
            f"# {lack.need.name}: {system.name} has no package of it that we know"
            for lack in lacking.lacks
            if system.manager not in lack.need.packages
        ]
    elif lacking.lacks:
        lines.append(f"# install with this system's own means (Debian's names): {' '.join(lacking.packages('apt'))}")
    return [*lines, " ".join(lacking.usermod)] if lacking.subids else lines


def refused(lacking: Shortfall, why: str) -> HostError:
    """The error for a host on which nothing can be installed by us."""
    return HostError(
        "this host lacks something, and nothing was installed",
        why=why,
        evidence=by_hand(lacking),
        hint="an administrator runs these commands once",
    )
