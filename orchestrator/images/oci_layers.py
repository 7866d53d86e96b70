"""The layers of an OCI image as one tar archive: whiteouts applied, links followed inside the image, nothing outside.

Two passes. The first reads the names of all layers and decides what is left (`Overlay`, pure). The second writes that,
each file once. No name of a layer ever becomes a path of the host here. In the archive that is written nothing is below
a symbolic link, and every name is relative and without ``..``.
"""

from __future__ import annotations

import tarfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import AbstractContextManager
from copy import copy
from dataclasses import dataclass, field
from typing import IO, Final

from orchestrator.errors import ImageError

WHITEOUT: Final = ".wh."
OPAQUE: Final = ".wh..wh..opq"
LINKS_MOST: Final = 40  # symbolic links on the way to one name, as in Linux

OpenBlob = Callable[[], AbstractContextManager[IO[bytes]]]


@dataclass(frozen=True, slots=True)
class Source:
    """Where an entry comes from: layer, and its number in it."""

    layer: int
    number: int


@dataclass(slots=True)
class Entry:
    """What is at a path.

    Attributes:
        target: of a symbolic link.
        linked: a hard link to what another source has.
    """

    source: Source
    kind: str  # "file", "dir", "symlink", "other"
    target: str = ""
    linked: bool = False
    size: int = 0


@dataclass
class Overlay:
    """What is left of the layers that were added. Keys are normalised: ``usr/bin/env``, the root is empty.

    Attributes:
        problems: why the layers cannot be used.
    """

    entries: dict[str, Entry] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)

    def add_layer(self, number: int, members: Iterable[tarfile.TarInfo]) -> None:
        """Put the entries of a layer over what is there."""
        mine: set[str] = set()
        for index, member in enumerate(members):
            parts = parts_of(member.name)
            if parts is None:
                self.problems.append(f"layer {number + 1}: {member.name!r} leads outside of the image")
                continue
            if not parts:
                continue
            path = self._resolved(parts)
            if path is None:
                self.problems.append(f"layer {number + 1}: too many symbolic links on the way to {member.name!r}")
                continue
            folder, _, name = path.rpartition("/")
            above = self.entries.get(folder)
            if above is not None and above.kind != "dir":
                self.problems.append(f"layer {number + 1}: {path} is below {folder}, which is not a folder")
                continue
            if name == OPAQUE:
                self._remove_below(folder, mine)
            elif name.startswith(WHITEOUT):
                self._remove("/".join(filter(None, (folder, name.removeprefix(WHITEOUT)))), mine)
            else:
                self._put(path, Source(number, index), member)
                mine.add(path)

    def _put(self, path: str, source: Source, member: tarfile.TarInfo) -> None:
        old = self.entries.get(path)
        if member.isdir():
            if old is not None and old.kind != "dir":
                del self.entries[path]
            self.entries[path] = Entry(source, "dir")
            return
        if old is not None and old.kind == "dir":
            self._remove_below(path, set())
        if member.islnk():
            parts = parts_of(member.linkname)
            target = self.entries.get(self._resolved(parts) or "") if parts else None
            if target is None or target.kind == "dir":
                self.problems.append(f"layer {source.layer + 1}: {path} is a hard link to nothing: {member.linkname!r}")
                return
            self.entries[path] = Entry(target.source, target.kind, target.target, linked=True)
        elif member.issym():
            self.entries[path] = Entry(source, "symlink", member.linkname)
        else:
            self.entries[path] = Entry(source, "file" if member.isfile() else "other", size=member.size)

    def _resolved(self, parts: list[str]) -> str | None:
        """The path with the links among its folders followed, inside the image; None where they go in circles."""
        done: list[str] = []
        waiting, followed = list(parts), 0
        while waiting:
            name = waiting.pop(0)
            if name == "..":
                done = done[:-1]
                continue
            here = "/".join([*done, name])
            entry = self.entries.get(here)
            if waiting and entry is not None and entry.kind == "symlink":
                followed += 1
                if followed > LINKS_MOST:
                    return None
                if entry.target.startswith("/"):
                    done = []
                waiting = [part for part in entry.target.split("/") if part not in ("", ".")] + waiting
                continue
            done.append(name)
        return "/".join(done)

    def find(self, path: str) -> Entry | None:
        """What is at an absolute path of the image, links followed."""
        resolved = self._resolved([*(parts_of(path) or []), "."])
        return None if resolved is None else self.entries.get(resolved.removesuffix("/."))

    def place(self, path: str) -> str:
        """The name under which a file is to be put that shall be found at an absolute path."""
        return self._resolved(parts_of(path) or []) or path.strip("/")

    def _remove(self, path: str, but: set[str]) -> None:
        self._remove_below(path, but)
        if path not in but:
            self.entries.pop(path, None)

    def _remove_below(self, path: str, but: set[str]) -> None:
        begin = f"{path}/" if path else ""
        for name in [name for name in self.entries if name.startswith(begin) and name not in but]:
            del self.entries[name]

    @property
    def size(self) -> int:
        """Bytes of all files."""
        return sum(entry.size for entry in self.entries.values())


def parts_of(name: str) -> list[str] | None:
    """The parts of a name in a layer, None where it leads outside. Pure.

    >>> parts_of("./usr//bin/env"), parts_of("/etc"), parts_of("a/../../etc")
    (['usr', 'bin', 'env'], ['etc'], None)
    """
    parts = [part for part in name.split("/") if part not in ("", ".")]
    return None if ".." in parts else parts


def overlay_of(layers: Iterable[OpenBlob]) -> Overlay:
    """Read the names of all layers, the lowest first.

    Args:
        layers: how each is opened.

    Raises:
        ImageError: what they do not have, or do not keep to; all at once.
    """
    overlay = Overlay()
    for number, opened in enumerate(layers):
        with opened() as file:
            overlay.add_layer(number, _members(file, number))
    if overlay.problems:
        raise ImageError("the layers of the OCI image cannot be used", evidence=overlay.problems[:20])
    return overlay


def write_merged(overlay: Overlay, layers: Iterable[OpenBlob], out: tarfile.TarFile) -> None:
    """Write what is left into an archive. Devices are left out: devtmpfs brings them at every boot."""
    names: dict[Source, list[str]] = {}
    for path, entry in overlay.entries.items():
        names.setdefault(entry.source, []).append(path)
    for number, opened in enumerate(layers):
        with opened() as file, tarfile.open(fileobj=file, mode="r|*") as archive:
            for index, member in enumerate(archive):
                paths = names.get(Source(number, index), [])
                if paths and not member.isdev():
                    _write(archive, member, paths, out)


def _write(archive: tarfile.TarFile, member: tarfile.TarInfo, paths: list[str], out: tarfile.TarFile) -> None:
    first = plain_member(member, paths[0])
    content = archive.extractfile(member) if member.isfile() else None
    out.addfile(first, content)
    for path in paths[1:]:
        link = copy(first)
        link.name, link.type, link.linkname, link.size = f"./{path}", tarfile.LNKTYPE, f"./{paths[0]}", 0
        out.addfile(link)


def plain_member(member: tarfile.TarInfo, path: str) -> tarfile.TarInfo:
    """The header of an entry under another name, without what only its own archive could explain."""
    made = copy(member)
    made.name, made.pax_headers = f"./{path}", {}
    made.uname = made.gname = ""
    if member.issparse():
        made.type = tarfile.REGTYPE
    return made


def _members(file: IO[bytes], number: int) -> Iterator[tarfile.TarInfo]:
    try:
        with tarfile.open(fileobj=file, mode="r|*") as archive:
            yield from archive
    except (tarfile.TarError, EOFError, OSError) as error:
        raise ImageError(f"layer {number + 1} of the OCI image is no tar archive", why=str(error)) from error
