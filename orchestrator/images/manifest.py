"""The application layer as data: which files, with which owners, and the debugfs script that writes them.

A layer program writes ``manifest.json``::

    {"entries": [
        {"type": "file", "target": "/etc/x", "source": "tree/etc/x", "mode": "0644", "owner": "root", "group": "root"},
        {"type": "directory", "target": "/opt/y", "mode": "0755", "owner": "root", "group": "root"},
        {"type": "symlink", "target": "/etc/z", "to": "/dev/null"}]}

``source`` is relative to the manifest's folder, or absolute. Apart from
`load_manifest`, which reads and hashes the files, everything here is pure.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from pathlib import Path, PurePosixPath

from orchestrator.errors import ImageError

_PLAIN = re.compile(r"[A-Za-z0-9@%+=:,._/\\-]+")
_TARGET = re.compile(r"(/[^/\x00-\x1f\x7f]+)+")
# Where links to the sources lie while debugfs writes: it knows no way to quote every path of a host.
SOURCES = "sources"
_TYPE_BITS = {"file": 0o100000, "directory": 0o040000, "symlink": 0o120000}


class Kind(StrEnum):
    FILE = "file"
    DIRECTORY = "directory"
    SYMLINK = "symlink"


@dataclass(frozen=True, slots=True)
class LayerEntry:
    """One file, directory or symbolic link of the layer.

    Attributes:
        source: the host file (files only).
        sha256: of its content (files only).
        to: where a symbolic link points.
    """

    kind: Kind
    target: str
    mode: int = 0o755
    owner: str = "root"
    group: str = "root"
    source: Path | None = None
    sha256: str = ""
    to: str = ""

    def identity(self) -> dict[str, object]:
        """What of it changes the image: everything but the path of the content."""
        return {
            "kind": self.kind.value,
            "target": self.target,
            "mode": self.mode,
            "owner": self.owner,
            "group": self.group,
            "sha256": self.sha256,
            "to": self.to,
        }


@dataclass(frozen=True, slots=True)
class BaseTree:
    """The base layer that the layer is written over.

    Attributes:
        paths: absolute path → kind of everything in the base layer.
        users, groups: name → number.
    """

    paths: Mapping[str, Kind]
    users: Mapping[str, int]
    groups: Mapping[str, int]

    def as_json(self) -> str:
        paths = {path: kind.value for path, kind in self.paths.items()}
        return json.dumps({"paths": paths, "users": dict(self.users), "groups": dict(self.groups)})

    @classmethod
    def from_json(cls, text: str) -> BaseTree:
        data = json.loads(text)
        return cls({path: Kind(kind) for path, kind in data["paths"].items()}, data["users"], data["groups"])


def base_tree_without(tree: BaseTree, away: Iterable[str]) -> BaseTree:
    """The tree after some of its paths are removed."""
    gone = frozenset(away)
    return replace(tree, paths={path: kind for path, kind in tree.paths.items() if path not in gone})


def load_manifest(folder: Path) -> tuple[LayerEntry, ...]:
    """Read ``manifest.json`` in ``folder`` and hash the files it names; sorted by target.

    Raises:
        ImageError: no manifest, or an entry that is wrong; all problems at once.
    """
    path = folder / "manifest.json"
    try:
        items = json.loads(path.read_text(encoding="utf-8-sig"))["entries"]
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ImageError(
            "the layer program wrote no usable manifest.json", why=repr(error), where=[str(path)]
        ) from error
    problems: list[str] = []
    entries: dict[str, LayerEntry] = {}
    for item in items:
        try:
            entry = _entry(item, folder)
        except (ValueError, KeyError, TypeError, OSError) as error:
            problems.append(f"{item}: {error}")
            continue
        if entry.target in entries:
            problems.append(f"{entry.target}: named twice")
        entries[entry.target] = entry
    if problems:
        raise ImageError("the layer's manifest is wrong", evidence=problems[:20], where=[str(path)])
    return tuple(entries[target] for target in sorted(entries))


def _entry(item: Mapping[str, str], folder: Path) -> LayerEntry:
    kind = Kind(item["type"])
    target = item["target"]
    if not _TARGET.fullmatch(target) or ".." in PurePosixPath(target).parts:
        raise ValueError("not an absolute path without .. and control characters")
    entry = LayerEntry(kind, target, owner=item.get("owner", "root"), group=item.get("group", "root"))
    if kind is Kind.SYMLINK:
        if not item["to"].isprintable() or not item["to"]:
            raise ValueError("a link's target is one line")
        return replace(entry, to=item["to"], mode=0o777)
    entry = replace(entry, mode=int(item["mode"], 8))
    if kind is Kind.DIRECTORY:
        return entry
    source = folder / item["source"]
    with source.open("rb") as file:
        return replace(entry, source=source, sha256=hashlib.file_digest(file, "sha256").hexdigest())


def word(text: str) -> str:
    """A path as one word of debugfs, which splits its commands on blanks. Pure.

    >>> print(word("/a b"), word('/"x'), word("/plain"))
    "/a b" "/""x" /plain
    """
    return text if _PLAIN.fullmatch(text) else '"' + text.replace('"', '""') + '"'


def debugfs_script(entries: Iterable[LayerEntry], base: BaseTree, problems: list[str]) -> str:
    """Commands for ``debugfs -w -f`` that put the entries into the base's file system.

    The files are written from ``sources/SHA256``, relative to debugfs's own folder; see `link_sources`.
    Missing parent folders are made, owned by root with mode 0755. What a file or link
    replaces is removed first.

    Args:
        problems: gets a line for an owner the base does not know, a parent that is not a folder, a folder in a file's
            place. Each begins with the target.
    """
    present: dict[str, Kind] = dict(base.paths)
    lines: list[str] = []

    def owned(entry: LayerEntry) -> None:
        uid, gid = base.users.get(entry.owner), base.groups.get(entry.group)
        if uid is None or gid is None:
            missing = f"user {entry.owner}" if uid is None else f"group {entry.group}"
            problems.append(f"{entry.target}: the image has no {missing}")
            return
        target = word(entry.target)
        lines.append(f"sif {target} mode 0{_TYPE_BITS[entry.kind.value] | entry.mode:o}")
        lines.append(f"sif {target} uid {uid}")
        lines.append(f"sif {target} gid {gid}")

    def make_folder(entry: LayerEntry) -> None:
        if entry.target not in present:
            lines.append(f"mkdir {word(entry.target)}")
            present[entry.target] = Kind.DIRECTORY
        owned(entry)

    for entry in sorted(entries, key=lambda one: one.target):
        parents = [str(parent) for parent in reversed(PurePosixPath(entry.target).parents)][1:]
        wrong = [parent for parent in parents if present.get(parent, Kind.DIRECTORY) is not Kind.DIRECTORY]
        if wrong:
            problems.append(f"{entry.target}: {wrong[0]} is a {present[wrong[0]]} in the base layer")
            continue
        for parent in parents:
            if parent not in present:
                make_folder(LayerEntry(Kind.DIRECTORY, parent))
        there = present.get(entry.target)
        if (there is Kind.DIRECTORY) != (entry.kind is Kind.DIRECTORY) and there is not None:
            problems.append(f"{entry.target}: a {entry.kind} cannot replace the {there} of the base layer")
            continue
        if entry.kind is Kind.DIRECTORY:
            make_folder(entry)
            continue
        if there is not None:
            lines.append(f"rm {word(entry.target)}")
        if entry.kind is Kind.SYMLINK:
            lines.append(f"symlink {word(entry.target)} {word(entry.to)}")
        else:
            folder, _, name = entry.target.rpartition("/")
            lines.append(f"cd {word(folder or '/')}")  # `write` knows no folders in the name it makes
            lines.append(f"write {SOURCES}/{entry.sha256} {word(name)}")
            lines.append("cd /")
            owned(entry)
        present[entry.target] = entry.kind
    return "\n".join(lines) + "\n"


def link_sources(entries: Iterable[LayerEntry], folder: Path) -> None:
    """The links that `debugfs_script` writes from, below ``folder``."""
    links = folder / SOURCES
    links.mkdir()
    for entry in entries:
        link = links / entry.sha256
        if entry.source is not None and not link.is_symlink():
            link.symlink_to(entry.source.absolute())


def debugfs_errors(stderr: str) -> list[str]:
    """The error lines of debugfs, which exits with 0 whatever its commands did."""
    return [line for line in stderr.splitlines() if line.strip() and not re.match(r"debugfs \d", line)]
