"""A packed state: saved states in one file, to be used on another host. What its manifest says, and what it may say.

The file is a tar of plain members. The first is ``manifest.json``; the others are ``blobs/SHA256``, each a block of
a file, compressed with zstd, in the order in which the manifest first names them. A block that several files share, or
that two stages of one start have in common, is there once, and a block of zeros not at all.

Nothing of a file is believed before its digest was compared, and no name in it becomes a path by itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from orchestrator.codec import decode, encode
from orchestrator.errors import SnapshotError
from orchestrator.snapshots.key import key_of
from orchestrator.snapshots.memory import BLOCK
from orchestrator.snapshots.store import NAME

FORMAT = 1
MANIFEST_MEMBER = "manifest.json"
BLOBS = "blobs/"
MANIFEST_LIMIT = 64 << 20  # bytes: the blocks of some hundred GiB
MACHINE_FILES = ("ram", "state", "disk.qcow2", "serial.log", "journal.jsonl")

_DIGEST = re.compile(r"[0-9a-f]{64}")
_PLAIN = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")


@dataclass(frozen=True, slots=True)
class PackedFile:
    """A file as blocks of `BLOCK` bytes, the last one shorter.

    Attributes:
        size: bytes, holes included.
        blocks: the SHA-256 of each; empty for a block of zeros.
    """

    size: int
    blocks: tuple[str, ...]
    executable: bool = False

    def bytes_of(self, number: int) -> int:
        """The length of a block."""
        return min(BLOCK, self.size - number * BLOCK)


@dataclass(frozen=True, slots=True)
class PackedFolder:
    """An image or the disk of a layer: an entry of the image cache.

    Attributes:
        name, layer, key: the cache's words for it.
        contents: its files that machines read, with their fingerprints; empty where the key alone says what it is.
        files: all its files, where the packed state contains it.
    """

    name: str
    layer: str
    key: str
    contents: Mapping[str, str]
    files: Mapping[str, PackedFile] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class PackedMachine:
    """A machine of a state.

    Attributes:
        image: the key of its `PackedFolder`.
        backing: the file of the image that its disk rests on; empty: none.
        ram, state: the fingerprints of these files.
        layers: those of its mounted layers' disks, each as ``FOLDER/FILE``.
    """

    image: str
    backing: str
    ram: str
    state: str
    host_key: str
    machine_type: str
    cpu: str
    layers: Mapping[str, str]
    files: Mapping[str, PackedFile]


@dataclass(frozen=True, slots=True)
class PackedState:
    """A saved state; the fields are those of `orchestrator.snapshots.manifest.Manifest`.

    Attributes:
        automatic: it was saved by a start, and fits by its key; else a user gave it its name.
    """

    name: str
    automatic: bool
    environment: str
    key: str
    inputs: Mapping[str, str]
    created: float
    paused: float
    command: str
    machines: Mapping[str, PackedMachine]


@dataclass(frozen=True, slots=True)
class Pack:
    """All that a packed state says of itself.

    Attributes:
        version: of the program that wrote it.
        folders: the images and layers of its machines, by the name of their folder in the cache.
    """

    version: str
    states: tuple[PackedState, ...]
    folders: Mapping[str, PackedFolder]

    def files(self) -> Iterator[PackedFile]:
        """All files of it, in the order of its blocks."""
        for state in self.states:
            for machine in state.machines.values():
                yield from machine.files.values()
        for folder in self.folders.values():
            yield from folder.files.values()

    def machines(self) -> Iterator[PackedMachine]:
        """The machines of all its states."""
        for state in self.states:
            yield from state.machines.values()


def data_bytes(files: Iterator[PackedFile]) -> int:
    """The bytes that files take, without their holes."""
    return sum(one.bytes_of(number) for one in files for number, digest in enumerate(one.blocks) if digest)


def to_json(pack: Pack) -> bytes:
    """The content of the first member; its first words are the number of the format."""
    return json.dumps({"format": FORMAT, **encode(pack)}, separators=(",", ":")).encode()


def from_json(content: bytes, where: str) -> Pack:
    """What `to_json` wrote.

    Args:
        where: the file, for messages.

    Raises:
        SnapshotError: of another format, damaged, or it names what it may not.
    """
    try:
        data = json.loads(content)
        if data["format"] != FORMAT:
            why = f"its format is {data['format']!r}, this version reads {FORMAT}"
            raise SnapshotError(f"{where} cannot be read", why=why, hint="use the version that exported it")
        pack = decode(data, Pack, "manifest")
        _check(pack)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError) as error:
        raise damaged(where, f"its manifest: {type(error).__name__}: {error}") from error
    return pack


def _check(pack: Pack) -> None:
    """Raise ValueError where a name could lead out of its folder, or a file contradicts itself."""
    if not pack.states:
        raise ValueError("it has no state")
    if len({state.name for state in pack.states}) != len(pack.states):
        raise ValueError("two states have one name")
    for state in pack.states:
        if not NAME.fullmatch(state.name) or state.key != key_of(state.inputs):
            raise ValueError(f"state {state.name!r} is not of its key")
        _plain(state.environment, *state.machines)
        for machine in state.machines.values():
            _check_machine(machine, pack.folders)
    for name, folder in pack.folders.items():
        _plain(name, folder.name, folder.layer, folder.key)
        for file in (*folder.contents, *folder.files):
            _inside(file)
    for one in pack.files():
        if one.size < 0 or len(one.blocks) != -(-one.size // BLOCK):
            raise ValueError(f"a file of {one.size} bytes has {len(one.blocks)} blocks")
        if any(block and not _DIGEST.fullmatch(block) for block in one.blocks):
            raise ValueError("a block has no SHA-256")


def _check_machine(machine: PackedMachine, folders: Mapping[str, PackedFolder]) -> None:
    if set(machine.files) - set(MACHINE_FILES) or not {"ram", "state", "disk.qcow2"} <= set(machine.files):
        raise ValueError(f"the files of a machine are {', '.join(machine.files)}")
    if machine.image not in folders:
        raise ValueError(f"image {machine.image!r} is not described")
    if machine.backing:
        _inside(machine.backing)
    for layer in machine.layers:
        place, _, file = layer.partition("/")
        if place not in folders:
            raise ValueError(f"layer {layer!r} is not described")
        _inside(file)


def _plain(*names: str) -> None:
    for name in names:
        if not _PLAIN.fullmatch(name):
            raise ValueError(f"{name!r} cannot be a name")


def _inside(path: str) -> None:
    """Raise where a relative path is none, or is not what it looks like."""
    pure = PurePosixPath(path)
    if not pure.parts or pure.is_absolute() or ".." in pure.parts or str(pure) != path or not path.isprintable():
        raise ValueError(f"{path!r} is not a path inside of a folder")


def damaged(where: str, why: str) -> SnapshotError:
    """The file is not what was exported."""
    return SnapshotError(
        f"{where} is damaged, or is not a packed state", why=why, hint="copy it again, or export it again"
    )
