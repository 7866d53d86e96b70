"""A Debian recipe as data: what an image is made of, and where each part of it was written.

`orchestrator.images.recipe_load` reads it. Frozen data; the key of the base layer is a pure function of it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from orchestrator.topology.positions import Position


@dataclass(frozen=True, slots=True)
class Place:
    """Where something was written; its text is ``file:line:column``."""

    path: Path
    at: Position

    def __str__(self) -> str:
        return f"{self.path}:{self.at}"


@dataclass(frozen=True, slots=True)
class Ownership:
    """Who may do what with a file. ``mode`` None: of a copied file, as on the host; otherwise the usual one."""

    mode: int | None = None
    owner: str = "root"
    group: str = "root"


@dataclass(frozen=True, slots=True)
class FileItem:
    """A file of the image.

    Attributes:
        content: its text; None where it comes from ``source`` or ``template``.
        source: a file of the host, copied as it is.
        template: a Jinja2 template of the host.
        early: whether it exists before the packages are configured.
    """

    place: Place
    ownership: Ownership
    content: str | None = None
    source: Path | None = None
    template: Path | None = None
    early: bool = False


@dataclass(frozen=True, slots=True)
class FolderItem:
    """A folder of the image; with ``source`` a copy of one of the host, without the names in ``exclude``."""

    place: Place
    ownership: Ownership
    source: Path | None = None
    exclude: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class LinkItem:
    """A symbolic link."""

    place: Place
    to: str


@dataclass(frozen=True, slots=True)
class UnitItem:
    """A unit file, or a drop-in to one: section → directive → value. ``Environment`` is a section of its own."""

    place: Place
    sections: Mapping[str, Mapping[str, object]]


@dataclass(frozen=True, slots=True)
class Script:
    """A shell script that is run as root in the new system."""

    place: Place
    text: str


@dataclass(frozen=True, slots=True)
class Group:
    """A group. ``gid`` None: the next free number."""

    place: Place
    gid: int | None = None
    system: bool = False


@dataclass(frozen=True, slots=True)
class User:
    """A user, with a group of the same name. ``uid`` None: the next free number.

    Attributes:
        system: whether its number is one of the system's.
        groups: further ones.
    """

    place: Place
    uid: int | None = None
    system: bool = False
    home: str = ""
    create_home: bool = False
    shell: str = ""
    comment: str = ""
    groups: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class AptSource:
    """Packages from elsewhere than the mirror. ``key``: the file of the key that signs them; None where none does."""

    place: Place
    uris: str
    suites: str
    components: tuple[str, ...]
    key: Path | None


@dataclass(frozen=True, slots=True)
class LockedPackages:
    """Packages of npm or PyPI, as a lock file pins them.

    Attributes:
        only: package → the parts of it that are wanted (npm).
        python: the version of the guest's Python that they are chosen for (PyPI).
    """

    place: Place
    lock: Path
    target: str
    only: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    python: str = ""


@dataclass(frozen=True, slots=True)
class Layer:
    """The program that makes files which no data can say.

    It is called as ``python PROGRAM ARGUMENTS --variant V --out DIR`` and writes
    ``manifest.json`` into DIR (orchestrator.images.manifest).
    """

    program: Path
    arguments: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Recipe:
    """What an image is made of.

    Attributes:
        path: of the recipe itself, not of what it includes.
        size: of the root file system, bytes.
        memory: MiB; cpus: what the run script asks for by itself.
        packages, enable, disable, mask: with where each was named.
        variables: what templates can use, with ``variant`` and ``name``.
    """

    path: Path
    name: str
    suite: str
    architecture: str
    mirror: str
    packages: Mapping[str, Place]
    dpkg_exclude: tuple[str, ...]
    apt: Mapping[str, AptSource]
    size: int
    memory: int
    cpus: int
    kernel_parameters: tuple[str, ...]
    groups: Mapping[str, Group]
    users: Mapping[str, User]
    run: Mapping[str, Script]
    files: Mapping[str, FileItem]
    folders: Mapping[str, FolderItem]
    links: Mapping[str, LinkItem]
    units: Mapping[str, UnitItem]
    drop_ins: Mapping[str, UnitItem]
    enable: Mapping[str, Place]
    disable: Mapping[str, Place]
    mask: Mapping[str, Place]
    npm: Mapping[str, LockedPackages]
    python: Mapping[str, LockedPackages]
    variables: Mapping[str, object]
    layer: Layer | None

    def early_files(self) -> dict[str, FileItem]:
        """The files that exist before the packages are configured; each has its content."""
        return {target: item for target, item in self.files.items() if item.early}


def digest(data: object) -> str:
    """SHA-256 of JSON-ready data, the order of keys aside."""
    return hashlib.sha256(json.dumps(data, sort_keys=True, ensure_ascii=True).encode()).hexdigest()
