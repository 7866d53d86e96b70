"""Where everything of an environment lies on the host."""

from __future__ import annotations

import hashlib
import os
import secrets
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING

from orchestrator.errors import HostError
from orchestrator.events import wall_clock
from orchestrator.folders import make_private, shared_memory, socket_root, state_root
from orchestrator.net.networks import NetworkPaths
from orchestrator.vm.arguments import MachinePaths

if TYPE_CHECKING:
    from orchestrator.snapshots.memory import RamBacking


def identity_of(folder: Path) -> str:
    """What tells an environment's state folder from all others, short enough for the names of sockets."""
    return hashlib.sha256(os.fsencode(folder)).hexdigest()[:8]


@dataclass(frozen=True, slots=True)
class EnvironmentPaths:
    """The places of one environment; nothing is made by asking.

    Attributes:
        folder: its state folder, 0700, on a disk.
        sockets: a short folder for UNIX sockets, 0700, its path derived from ``folder``.
    """

    name: str
    folder: Path
    sockets: Path

    @classmethod
    def of(cls, name: str) -> EnvironmentPaths:
        folder = state_root() / "environments" / name
        digest = identity_of(folder)
        return cls(name, folder, socket_root() / f"orch-{os.getuid()}" / digest)

    @property
    def state(self) -> Path:
        return self.folder / "state.json"

    def remember_run(self, run_folder: Path) -> None:
        """Note which run folder a command writes into; the state may not tell, or tell another one."""
        (self.folder / "run").write_bytes(os.fsencode(run_folder) + b"\n")

    @property
    def unfinished_run(self) -> Path | None:
        """The run folder of a command that was killed before its reports were written."""
        folder = self.last_run
        return folder if folder is not None and not (folder / "summary.json").exists() else None

    @property
    def last_run(self) -> Path | None:
        """The run folder of the last `up` or `run`, which may be under way."""
        try:
            folder = Path(os.fsdecode((self.folder / "run").read_bytes().removesuffix(b"\n")))
        except (OSError, ValueError):
            return None
        return folder if folder.is_absolute() and folder.is_dir() else None

    @property
    def faults(self) -> Path:
        """What faults are on (`orchestrator.faults.book`)."""
        return self.folder / "faults.json"

    @property
    def lock(self) -> Path:
        return self.folder / "lock"

    @property
    def user_key(self) -> Path:
        return self.folder / "id_ed25519"

    @property
    def public_key(self) -> Path:
        return self.user_key.with_suffix(".pub")

    @property
    def identity(self) -> str:
        """Which environment it is, also among those of the same name in other state folders."""
        return self.sockets.name

    @property
    def memory(self) -> Path:
        """The folder of RAM files, where a file is memory; see `orchestrator.folders`."""
        return shared_memory() / f"orch-{os.getuid()}" / f"ram-{self.identity}"

    @property
    def known_hosts(self) -> Path:
        return self.folder / "known_hosts"

    @property
    def ssh_config(self) -> Path:
        return self.folder / "ssh.config"

    def machine(self, name: str, run_folder: Path) -> MachinePaths:
        return MachinePaths(
            work=self.machine_folder(name),
            sockets=self.sockets / name,
            logs=run_folder / "machines" / name,
        )

    def ram(self, machine: str, place: RamBacking) -> Path:
        """The RAM file of a machine."""
        folder = self.memory if place.folder == shared_memory() else self.machine_folder(machine)
        return folder / f"{machine}.ram"

    @property
    def workshop(self) -> Path:
        """Where the folders of machines lie, with their disks: below ``folder``, where its path may be pasted.

        The run scripts of nixos-rebuild paste paths into options of QEMU as they are, and there a comma ends a value.
        """
        if "," not in str(self.folder):
            return self.folder
        return Path(f"/var/tmp/orch-{os.getuid()}") / self.identity  # noqa: S108 - made private, or refused

    def machine_folder(self, name: str) -> Path:
        return self.workshop / "machines" / name

    def networks(self, run_folder: Path) -> NetworkPaths:
        return NetworkPaths(sockets=self.sockets, logs=run_folder / "networks")

    def make(self) -> None:
        """Make its folders, for this user only.

        Raises:
            HostError: the socket folder belongs to somebody else.
        """
        try:
            self.folder.mkdir(parents=True, exist_ok=True, mode=0o700)
            self.folder.chmod(0o700)
            parent = self.sockets.parent
            parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            found = parent.lstat()
            if found.st_uid != os.getuid() or found.st_mode & 0o077 or parent.is_symlink():
                raise HostError(
                    f"{parent} is not this user's own folder with mode 0700",
                    why="another user created it; sockets in it would not be private",
                    hint="remove it, or set XDG_RUNTIME_DIR",
                )
            self.sockets.mkdir(exist_ok=True, mode=0o700)
            if self.workshop != self.folder:
                make_private(self.workshop)
        except OSError as error:
            raise HostError(
                f"the state folder of environment {self.name} cannot be made", why=str(error), where=[str(self.folder)]
            ) from error


def environments() -> list[str]:
    """The names of all environments that have a state folder."""
    folder = state_root() / "environments"
    return sorted(path.name for path in folder.iterdir() if path.is_dir()) if folder.is_dir() else []


def new_run_folder(runs: Path) -> Path:
    """Make ``runs/<UTC time>-<id>/`` and point ``runs/latest`` to it."""
    stamp = datetime.fromtimestamp(wall_clock(), UTC).strftime("%Y%m%dT%H%M%SZ")
    folder = runs.absolute() / f"{stamp}-{secrets.token_hex(3)}"
    try:
        folder.mkdir(parents=True)
        link = runs / f".latest-{folder.name}"
        link.symlink_to(folder.name)
        link.replace(runs / "latest")
    except OSError as error:
        raise HostError("the run folder cannot be made", why=str(error), where=[str(folder)]) from error
    return folder
