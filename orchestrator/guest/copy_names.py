"""Where a copy goes: one rule for a path of this host and for one of a machine. Pure, but for `facts_of`.

It is that of ``cp -R``: into a folder that is there, in place of a file, else
to a new name. A path that was typed is followed when it is a link; what lies
below it never is.
"""

from __future__ import annotations

import stat
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import UsageError
from orchestrator.guest.copy_entries import shown


@dataclass(frozen=True, slots=True)
class Facts:
    """What a path is.

    Attributes:
        link: it is a symbolic link itself.
        kind: of what it leads to: ``d`` a folder, ``f`` a file, ``o`` something else, ``n`` nothing.
    """

    link: bool
    kind: str

    @classmethod
    def read(cls, word: str) -> Facts:
        """From the words of the guest's script, as ``-d`` or ``ln``."""
        return cls(word[:1] == "l", word[1:2] or "n")


NOTHING = Facts(False, "n")


def facts_of(path: str) -> Facts:
    """What a path of this host is."""
    place = Path(path)
    try:
        link = stat.S_ISLNK(place.lstat().st_mode)
    except (OSError, ValueError):
        return NOTHING
    try:
        mode = place.stat().st_mode
    except OSError:
        return Facts(link, "n")
    return Facts(link, "d" if stat.S_ISDIR(mode) else "f" if stat.S_ISREG(mode) else "o")


def last_name(path: str) -> str:
    """What a source is called where it is copied into a folder; empty where its content is meant (``.``, ``/``)."""
    name = path.rstrip("/").rpartition("/")[2]
    return "" if name in (".", "..") else name


def without_slash(path: str) -> str:
    return path.rstrip("/") or "/"


@dataclass(frozen=True, slots=True)
class Source:
    """What is copied.

    Attributes:
        name: what it is called.
        folder: whether it is one.
        several: it is one of more than one: the target must be a folder.
    """

    name: str
    folder: bool
    several: bool = False


def resolve_target(typed: str, source: Source, there: Facts, inside: Facts, *, label: str = "") -> str:
    """The path that the source becomes.

    Args:
        typed: the target, as it was typed.
        there: the facts of ``typed`` without its last slash; ``inside`` those of the source's name in it.
        label: stands before the path in messages.

    Raises:
        UsageError: something is in the way.
    """
    name, folder, several = source.name, source.folder, source.several
    path = without_slash(typed)
    below = f"{path.rstrip('/')}/{name}" if name else path
    if there.kind == "d":
        if name:
            _may_take_the_place(f"{label}{below}", inside, folder=folder)
        return below
    if there.kind == "n":
        if there.link:
            raise UsageError(
                f"{shown(label + path)} is a link that leads nowhere", hint="remove it, or name what it should lead to"
            )
        return below if several or (typed.endswith("/") and not folder) else path
    if several or typed.endswith("/"):
        raise UsageError(f"{shown(label + path)} is not a folder")
    _may_take_the_place(f"{label}{path}", Facts(False, there.kind), folder=folder)
    return path


def _may_take_the_place(path: str, there: Facts, *, folder: bool) -> None:
    if there.link and folder:
        raise UsageError(f"{shown(path)} is a link, and a folder would take its place")
    if folder and there.kind in ("f", "o"):
        raise UsageError(f"{shown(path)} is not a folder, and a folder would take its place", hint="remove it first")
    if not folder and not there.link and there.kind == "d":
        raise UsageError(f"{shown(path)} is a folder, and a file would take its place", hint="remove it first")
