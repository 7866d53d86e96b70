"""What is copied, one entry at a time, and what became of it: the words that both ends of a copy share.

A copy is a stream of entries. They come from a folder of this host or from a
guest's tar, and go into a folder of this host or into a tar for a guest. No
more than a few blocks of content are in memory at any time.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from enum import Enum, auto

from orchestrator.text import clean

BLOCK = 1 << 18  # bytes of content handed on at once
NAMED = 1000  # things left out that are kept by name; the rest is only counted
NAME_LENGTH = 300


class Kind(Enum):
    """Everything that is copied. Sockets, devices and named pipes are not."""

    FILE = auto()
    FOLDER = auto()
    SYMLINK = auto()
    HARD_LINK = auto()


def no_content(_: int) -> bytes:
    return b""


@dataclass(frozen=True, slots=True)
class Entry:
    """One thing of a tree.

    Attributes:
        path: below what is copied; empty for that itself. Bytes that are no UTF-8 are surrogates.
        mode: permissions; set-user-id and its like are left out, since owners are.
        mtime: nanoseconds.
        size: of a file, holes included.
        link: the text of a symbolic link.
        same: the path of the file that a hard link is another name of; it came before.
        extents: (offset, length) of a file's content; what lies between them are holes.
        read: at most so many of the next bytes of the extents' content; good until the next entry is asked for.
    """

    path: tuple[str, ...]
    kind: Kind
    mode: int = 0o644
    mtime: int = 0
    size: int = 0
    link: str = ""
    same: tuple[str, ...] = ()
    extents: tuple[tuple[int, int], ...] = ()
    read: Callable[[int], bytes] = no_content

    @property
    def stored(self) -> int:
        """Bytes of content, without the holes."""
        return sum(length for _, length in self.extents)

    @property
    def leads_out(self) -> bool:
        """Whether a symbolic link leads out of what is copied, as its text says."""
        if self.kind is not Kind.SYMLINK:
            return False
        if self.link.startswith("/"):
            return True
        depth = len(self.path) - 1
        for part in self.link.split("/"):
            depth += -1 if part == ".." else 0 if part in ("", ".") else 1
            if depth < 0:
                return True
        return False


@dataclass(slots=True)
class Tally:
    """What a copy did so far. One thread writes it; any may look.

    Attributes:
        files: files and links; folders are not counted.
        moved: bytes of content.
        left_out: (name, why) of the first things that were not copied as they are; ``missing`` counts all.
        outward: names of the first links that lead out of the copy; ``outwards`` counts all.
        remarks: said, but nothing is missing.
        on_bytes: called with each number of bytes, for a progress bar.
    """

    files: int = 0
    moved: int = 0
    missing: int = 0
    outwards: int = 0
    left_out: list[tuple[str, str]] = field(default_factory=list)
    outward: list[str] = field(default_factory=list)
    remarks: list[str] = field(default_factory=list)
    on_bytes: Callable[[int], None] = lambda _: None

    def leave(self, path: tuple[str, ...] | str, why: str) -> None:
        """Something is not there, or not as it was."""
        self.missing += 1
        if len(self.left_out) < NAMED:
            self.left_out.append((shown(path), clean(why, NAME_LENGTH)))

    def remark(self, text: str) -> None:
        if len(self.remarks) < NAMED:
            self.remarks.append(clean(text, NAME_LENGTH))

    def moving(self, size: int) -> None:
        self.moved += size
        self.on_bytes(size)

    def done(self, entry: Entry) -> None:
        """An entry is there as it was."""
        if entry.kind is not Kind.FOLDER:
            self.files += 1
        if entry.leads_out:
            self.outwards += 1
            if len(self.outward) < NAMED:
                self.outward.append(f"{shown(entry.path)} → {clean(entry.link, NAME_LENGTH)}")

    def names_left_out(self, most: int) -> list[str]:
        """The first things that are missing, each with its reason, and how many more."""
        lines = [f"{name}: {why}" for name, why in self.left_out[:most]]
        rest = self.missing - len(lines)
        return [*lines, f"… and {rest} more"] if rest else lines

    def notes(self, most: int) -> list[str]:
        """What is worth knowing though nothing is missing."""
        more = f" … and {self.outwards - most} more" if self.outwards > most else ""
        links = f"links that lead out of what was copied are kept as they are: {', '.join(self.outward[:most])}{more}"
        return [*([links] if self.outwards else []), *self.remarks[:most]]

    def told(self, subject: str, most: int = 10) -> list[str]:
        """All of that in lines, for a copy that is only a part of something else."""
        left = [f"{subject}: left out {line}" for line in self.names_left_out(most)]
        return [*left, *(f"{subject}: {line}" for line in self.notes(most))]


def shown(path: tuple[str, ...] | str) -> str:
    """A path as a terminal can show it."""
    return clean((path if isinstance(path, str) else "/".join(path)) or ".", NAME_LENGTH)


def reason(error: OSError) -> str:
    """Why the system refused, without the name."""
    return error.strerror or str(error)
