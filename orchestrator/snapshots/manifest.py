"""What a snapshot says of itself: one JSON file, written last, believed only as far as it can be checked."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.atomic import write_atomically
from orchestrator.codec import decode
from orchestrator.errors import SnapshotError

FORMAT = 2
MANIFEST = "manifest.json"


@dataclass(frozen=True, slots=True)
class SavedMachine:
    """One machine's part of a snapshot.

    Attributes:
        image: the image folder that the disk rests on.
        ram, state, disk: fingerprints of the three files (`orchestrator.snapshots.memory.digest`).
        host_key: the public line of its SSH host key.
        layers: the files of its read-only disks, with their fingerprints: its memory holds parts of them.
        machine_type, cpu: as QEMU names their types; empty where an earlier version saved it.
    """

    image: str
    ram: str
    state: str
    disk: str
    host_key: str
    layers: Mapping[str, str] = field(default_factory=dict)
    machine_type: str = ""
    cpu: str = ""


@dataclass(frozen=True, slots=True)
class Manifest:
    """A whole snapshot: several machines, stopped at one moment.

    Attributes:
        name: the user's name for it, or ``healthy``.
        environment: the name of the environment it was taken of; ``owner`` tells it from others of that name.
        key: what it fits; see `orchestrator.snapshots.key`.
        inputs: what the key was made of, to tell what differs.
        created: seconds since the epoch.
        paused: seconds the machines were paused for it.
    """

    name: str
    environment: str
    owner: str
    key: str
    inputs: Mapping[str, str]
    created: float
    paused: float
    command: str
    machines: Mapping[str, SavedMachine]


@dataclass(frozen=True, slots=True)
class MachineFiles:
    """The files of one machine in a snapshot's folder."""

    folder: Path

    @property
    def ram(self) -> Path:
        return self.folder / "ram"

    @property
    def state(self) -> Path:
        """The state of CPU and devices, a QEMU migration stream without the memory."""
        return self.folder / "state"

    @property
    def disk(self) -> Path:
        return self.folder / "disk.qcow2"

    @property
    def serial(self) -> Path:
        """What the console and the journal had said until then: evidence of the boot."""
        return self.folder / "serial.log"

    @property
    def journal(self) -> Path:
        return self.folder / "journal.jsonl"


def files_of(folder: Path, machine: str) -> MachineFiles:
    return MachineFiles(folder / machine)


def write_manifest(folder: Path, manifest: Manifest) -> None:
    """Write it whole or not at all, mode 0600."""
    text = json.dumps({"format": FORMAT, **asdict(manifest)}, indent=1)
    write_atomically(folder / MANIFEST, text, durable=True)


def read_manifest(folder: Path) -> Manifest:
    """The manifest of a snapshot's folder.

    Raises:
        SnapshotError: missing, damaged, or of another version.
    """
    path = folder / MANIFEST
    try:
        return _from_json(json.loads(path.read_bytes()))
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SnapshotError(
            f"the snapshot in {folder} cannot be read",
            why=f"its manifest is missing, damaged, or of another version: {type(error).__name__}: {error}",
            where=[str(path)],
            hint="orchestrator snapshot prune removes it",
        ) from error


def _from_json(data: Mapping[str, Any]) -> Manifest:
    if data["format"] != FORMAT:
        raise ValueError(f"format {data['format']!r}, this version writes {FORMAT}")
    manifest = decode(data, Manifest, "manifest")
    if any("/" in name or name in ("", ".", "..") for name in manifest.machines):
        raise ValueError("a machine's name is not a file name")
    return manifest
