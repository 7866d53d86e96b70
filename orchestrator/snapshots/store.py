"""Where snapshots lie. A folder of the store is a whole snapshot or none: it is made beside and renamed.

``<root>/<environment>@<name>~<owner>/`` is a named point, ``<environment>@healthy.<key>/``
the state after a cold start. Points belong to one environment; another one of the
same name, in another state folder, has its own. There are two roots, one in memory and one on a
disk. All folders are 0700: a memory image holds every secret of its machines.
"""

from __future__ import annotations

import hashlib
import os
import re
import shutil
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import SnapshotDamaged, SnapshotError, UsageError
from orchestrator.folders import make_private, shared_memory
from orchestrator.process_id import ProcessId
from orchestrator.snapshots.manifest import Manifest, read_manifest, write_manifest
from orchestrator.snapshots.memory import MIB, RamBacking, choose_place, file_system
from orchestrator.topology.stages import HEALTHY

SAVING = ".saving-"
REMOVING = ".removing-"
ISOLATE = "isolate"  # `run --isolate` takes it, and removes it at its end
NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,39}")
KEPT_HEALTHY = 3  # automatic snapshots of a stage, for each environment
KEPT_SHARE = 0.25  # of their file system, at most


@dataclass(frozen=True, slots=True)
class Snapshot:
    """A snapshot in the store.

    Attributes:
        kind: ``tmpfs`` or ``disk``.
        problem: why it cannot be used; empty when its manifest reads well.
    """

    folder: Path
    kind: str
    manifest: Manifest | None
    problem: str = ""

    @property
    def environment(self) -> str:
        return self.folder.name.partition("@")[0]

    def require_manifest(self) -> Manifest:
        """Its manifest.

        Raises:
            SnapshotDamaged: it has none that reads well.
        """
        if self.manifest is None:
            raise SnapshotDamaged(f"the snapshot in {self.folder} is damaged", why=self.problem)
        return self.manifest

    @property
    def name(self) -> str:
        """The name a user knows it by: its own, or ``healthy``."""
        return re.split(r"[.~]", self.folder.name.partition("@")[2], maxsplit=1)[0]

    @property
    def owner(self) -> str:
        """The identity of the environment that saved it."""
        _, _, owner = self.folder.name.partition("~")
        return owner or (self.manifest.owner if self.manifest else "")

    @property
    def automatic(self) -> bool:
        return "." in self.folder.name.partition("@")[2]

    @property
    def created(self) -> float:
        return self.manifest.created if self.manifest else 0.0

    @property
    def size(self) -> int:
        """Bytes its files really take."""
        total = 0
        for path in self.folder.rglob("*"):
            with suppress(FileNotFoundError):  # it is just being removed
                total += path.lstat().st_blocks * 512
        return total

    @property
    def ownerless(self) -> bool:
        """Whether the command that took it for itself is gone."""
        _, _, rest = self.folder.name.partition(f"@{ISOLATE}.")
        return bool(rest) and not _alive(rest)


class SnapshotStore:
    """The snapshots of one user and cache. Several processes may use it at once.

    Args:
        disk: the root on a disk; ``memory`` the one in memory.
    """

    def __init__(self, disk: Path, memory: Path) -> None:
        self.disk = disk
        self.memory = memory

    @classmethod
    def of(cls, cache: Path) -> SnapshotStore:
        """The store that belongs to a cache folder."""
        digest = hashlib.sha256(os.fsencode(cache)).hexdigest()[:8]
        return cls(cache / "snapshots", shared_memory() / f"orch-{os.getuid()}" / f"snapshots-{digest}")

    def all(self) -> list[Snapshot]:
        """All snapshots, newest first; damaged ones among them."""
        return self._named("*")

    def _named(self, pattern: str) -> list[Snapshot]:
        """Those whose name after the environment's matches; only their manifests are read."""
        found = []
        for root in (self.memory, self.disk):
            folders = [one for one in root.glob(f"[!.]*@{pattern}") if one.is_dir()] if root.is_dir() else []
            kind = "disk" if root == self.disk else file_system(root)
            found += [_read(one, kind) for one in folders]
        return sorted(found, key=lambda one: -one.created)

    def at_stage(self, name: str, key: str) -> Snapshot | None:
        """The state at a stage of a start that fits."""
        return next((one for one in self._named(f"{name}.{key}") if not one.problem), None)

    def damaged(self, name: str, key: str) -> list[Snapshot]:
        """Those that would fit, were they whole."""
        return [one for one in self._named(f"{name}.{key}") if one.problem]

    def last_at(self, environment: str, name: str) -> Snapshot | None:
        """The newest automatic one of this environment at a stage, fitting or not."""
        mine = (one for one in self.all() if one.environment == environment and one.automatic and one.manifest)
        return next((one for one in mine if one.name == name), None)

    def get(self, environment: str, name: str, owner: str) -> Snapshot:
        """A named point of the environment of this name and identity.

        Raises:
            UsageError: there is none; says which there are.
        """
        named = (one for one in self.all() if one.environment == environment)
        mine = [one for one in named if one.automatic or one.owner == owner]
        for one in mine:
            if one.name == name and (not one.automatic or name == HEALTHY):
                return one
        known = ", ".join(sorted({one.name for one in mine})) or "none"
        raise UsageError(
            f"environment {environment} has no snapshot {name!r}",
            why=f"there is: {known}",
            hint="orchestrator snapshot list",
        )

    @contextmanager
    def saving(self, environment: str, name: str, place: RamBacking) -> Iterator[SnapshotWriter]:
        """A folder to fill; what the block publishes is in the store, anything else is gone.

        Raises:
            SnapshotError: the name is taken.
        """
        if any((root / f"{environment}@{name}").exists() for root in (self.memory, self.disk)):
            raise _taken(environment, name)
        root = self.disk if place.folder == self.disk else self.memory
        final = root / f"{environment}@{name}"
        make_private(root, parent=root == self.memory)
        self.remove_leftovers()
        folder = root / f"{SAVING}{mine()}.{final.name}"
        folder.mkdir(mode=0o700)
        try:
            yield SnapshotWriter(folder, final)
        finally:
            shutil.rmtree(folder, ignore_errors=True)  # published, it has another name

    def remove(self, one: Snapshot) -> None:
        """Remove it; at no moment is there half of it under its name."""
        gone = one.folder.with_name(f"{REMOVING}{one.folder.name}-{os.getpid()}")
        with suppress(FileNotFoundError):
            one.folder.rename(gone)
        shutil.rmtree(gone, ignore_errors=True)

    def remove_leftovers(self) -> None:
        """Remove what killed commands left half made or half removed."""
        for root in (self.memory, self.disk):
            for folder in root.iterdir() if root.is_dir() else []:
                saver = folder.name.removeprefix(SAVING).partition(".")[0] if folder.name.startswith(SAVING) else ""
                if folder.name.startswith(REMOVING) or (saver and not _alive(saver)):
                    shutil.rmtree(folder, ignore_errors=True)

    def prunable(self, keep: Sequence[Path] = (), *, stored: Sequence[Snapshot] | None = None) -> list[Snapshot]:
        """The automatic snapshots beyond the limits on number and bytes, and all that are damaged or ownerless.

        Args:
            stored: all snapshots, where they are known already.
        """
        stored = self.all() if stored is None else stored
        found = [one for one in stored if one.problem or one.ownerless]
        for kind in ("tmpfs", "disk"):
            kept: dict[tuple[str, str], int] = {}
            total = 0
            for one in stored:
                if one.kind != kind or one.problem or not one.automatic or one.name == ISOLATE:
                    continue
                mine = (one.environment, one.name)
                kept[mine] = kept.get(mine, 0) + 1
                total += one.size
                limit = shutil.disk_usage(one.folder.parent).total * KEPT_SHARE
                too_many = kept[mine] > KEPT_HEALTHY
                if (too_many or (total > limit and sum(kept.values()) > 1)) and one.folder not in keep:
                    found.append(one)
        return found


@dataclass(frozen=True, slots=True)
class SnapshotWriter:
    """A snapshot being made in ``folder``."""

    folder: Path
    final: Path

    def publish(self, manifest: Manifest) -> Snapshot:
        """Make it part of the store, as the last step.

        Raises:
            SnapshotError: another one took the name meanwhile.
        """
        write_manifest(self.folder, manifest)
        try:
            self.folder.rename(self.final)
        except OSError as error:
            raise _taken(*self.final.name.split("@", 1)) from error
        return _read(self.final, file_system(self.final))


def point_name(name: str, owner: str) -> str:
    """The part of a point's folder after the environment's name; see `Stored`."""
    return f"{name}~{owner}"


def check_name(name: str) -> None:
    """Raise where ``name`` cannot be a point's."""
    if not NAME.fullmatch(name) or name in (HEALTHY, ISOLATE):
        why = f"names are {NAME.pattern}, and neither {HEALTHY} nor {ISOLATE}, which are automatic"
        raise UsageError(f"a snapshot cannot be named {name!r}", why=why)


def place_for(store: SnapshotStore, wanted: int) -> RamBacking:
    """Where a snapshot of ``wanted`` bytes goes: into memory where that leaves room, else onto the disk.

    Raises:
        SnapshotError: neither has room.
    """
    make_private(store.disk, parent=False)  # the cache's folder is the user's own to arrange
    place = choose_place(wanted, store.disk)
    if place.folder == store.disk and shutil.disk_usage(store.disk).free < wanted + 512 * MIB:
        raise SnapshotError(
            f"there is no room for a snapshot of {wanted // MIB} MiB",
            why=f"{place.reason}, nor has {store.disk}",
            hint="orchestrator snapshot prune, or orchestrator images prune",
        )
    return place


def mine() -> str:
    """This process in the name of a folder."""
    me = ProcessId.own()
    return f"{me.pid}-{me.start_ticks}"


def _alive(name: str) -> bool:
    """Whether the process that `mine` named still runs."""
    pid, _, ticks = name.partition("-")
    if not (pid.isdigit() and ticks.isdigit()):
        return False
    found = ProcessId.of(int(pid))
    return found is not None and found.start_ticks == int(ticks)


def _taken(environment: str, name: str) -> SnapshotError:
    return SnapshotError(
        f"a snapshot {name.partition('~')[0]} of environment {environment} exists already",
        hint="orchestrator snapshot rm NAME removes the old one",
    )


def _read(folder: Path, kind: str) -> Snapshot:
    try:
        return Snapshot(folder, kind, read_manifest(folder))
    except SnapshotError as error:
        return Snapshot(folder, kind, None, error.why)
