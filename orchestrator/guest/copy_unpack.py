"""Entries into a folder of this host, safe against whoever made them.

Nothing is written but below the target: every folder is opened by its name in
the one above it, and no link is followed on the way. A file is written beside
its place and renamed into it, so that what has its name is whole.
"""

from __future__ import annotations

import errno
import os
import secrets
import stat
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import GuestCommandError, HostError
from orchestrator.guest.copy_archive import DamagedArchiveError
from orchestrator.guest.copy_entries import BLOCK, Entry, Kind, Tally, reason, shown
from orchestrator.guest.copy_folders import FOLDER, FolderStack
from orchestrator.text import size_text

IN_THE_WAY = (
    errno.EEXIST,
    errno.ENOTDIR,
    errno.EISDIR,
    errno.ELOOP,
    errno.ENAMETOOLONG,
    errno.EINVAL,
    errno.EILSEQ,
    errno.ENOTEMPTY,
    errno.EFBIG,
    errno.ENOENT,
)
RESERVE = 512 << 20  # bytes that stay free, on a large file system
RESERVE_PART = 20  # … or a twentieth of a small one
LOOK_EVERY = 32 << 20  # bytes, or as many files as a thousandth of it, between two looks at what is free
PART = ".orch-cp-"  # what is not whole yet begins with this


@dataclass(frozen=True, slots=True)
class Rules:
    """What an archive may do.

    Attributes:
        links: symbolic links are made; else each is left out.
        exact: modes and times are kept; else files are readable by all, for reports that others read.
        most_bytes, most_files: where it ends. Without, what is free on the file system decides.
    """

    links: bool = True
    exact: bool = True
    most_bytes: int | None = None
    most_files: int | None = None


def unpack(entries: Iterable[Entry], place: Path, tally: Tally, rules: Rules) -> None:
    """Write entries; the topmost becomes ``place``, a folder there is filled.

    Raises:
        GuestCommandError: what came cannot be written there, or is too much.
        HostError: the disk would be full.
        DamagedArchiveError: the content ends too early.
    """
    work = _Unpacking(place, tally, rules, FolderStack(place, exact=rules.exact))
    try:
        for entry in entries:
            work.take(entry)
    except OSError as error:
        if error.errno not in IN_THE_WAY:
            raise
        name = shown(os.fsdecode(error.filename)) if error.filename else place.name
        raise GuestCommandError(f"{work.at} cannot be written below {place}", why=f"{name}: {reason(error)}") from error
    finally:
        work.folders.close()


@dataclass(slots=True)
class _Unpacking:
    place: Path
    tally: Tally
    rules: Rules
    folders: FolderStack
    at: str = ""
    _bytes: int = 0
    _files: int = 0
    _look_at: int = 0

    def take(self, entry: Entry) -> None:
        self.at = shown(entry.path) if entry.path else self.place.name
        self._count(entry)
        if not entry.path:
            if entry.kind is Kind.FILE:
                self._alone(entry)
            elif entry.kind is Kind.FOLDER:
                self.folders.open_top(entry)
            else:
                raise GuestCommandError("the guest sent something else than the file or folder that was asked for")
            self.tally.done(entry)
            return
        if self.folders.empty:
            self.folders.open_top(None)
        *above, name = entry.path
        folder = self.folders.enter(above)
        self._room(folder)
        if entry.kind is Kind.FOLDER:
            self.folders.make(folder, name, entry)
        elif entry.kind is Kind.FILE:
            self._write(folder, name, entry)
        elif entry.kind is Kind.HARD_LINK:
            self._hard_link(folder, name, entry)
        elif self.rules.links:
            self._link(folder, name, entry)
        else:
            self.tally.leave(entry.path, "a link")
            return
        self.tally.done(entry)

    def _count(self, entry: Entry) -> None:
        self._files += 1
        rules = self.rules
        if rules.most_bytes is not None and self._bytes + entry.size > rules.most_bytes:
            raise GuestCommandError("the guest sent too much", why=f"more than {size_text(rules.most_bytes)}")
        if rules.most_files is not None and self._files > rules.most_files:
            raise GuestCommandError("the guest sent too much", why=f"more than {rules.most_files} files")
        if rules.most_bytes is not None:
            self._bytes += entry.size

    # -------------------------------------------------------------- files

    def _alone(self, entry: Entry) -> None:
        place = self.place
        with suppress(FileNotFoundError):
            found = place.stat()
            if stat.S_ISDIR(found.st_mode):
                raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR), str(place))
            if not stat.S_ISREG(found.st_mode):  # /dev/stdout, a named pipe: written to, not replaced
                with place.open("wb", buffering=0) as file:
                    self._pour(entry, file.fileno(), sparse=False)
                return
            place = place.resolve()
        place.parent.mkdir(parents=True, exist_ok=True)
        folder = os.open(place.parent, FOLDER & ~os.O_NOFOLLOW)
        try:
            self._write(folder, place.name, entry)
        finally:
            os.close(folder)

    def _write(self, folder: int, name: str, entry: Entry) -> None:
        """A file beside its place, whole, then into it. What was there gives its owner."""
        part = PART + secrets.token_hex(8)
        descriptor = os.open(part, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600, dir_fd=folder)
        try:
            try:
                self._pour(entry, descriptor, sparse=True)
                with suppress(OSError):
                    before = os.stat(name, dir_fd=folder, follow_symlinks=False)
                    if stat.S_ISREG(before.st_mode) and (before.st_uid, before.st_gid) != (os.geteuid(), os.getegid()):
                        os.fchown(descriptor, before.st_uid, before.st_gid)
                os.fchmod(descriptor, self._mode(entry))
                if self.rules.exact:
                    os.utime(descriptor, ns=(entry.mtime, entry.mtime))
            finally:
                os.close(descriptor)
            os.rename(part, name, src_dir_fd=folder, dst_dir_fd=folder)
        except BaseException:
            with suppress(OSError):
                os.unlink(part, dir_fd=folder)
            raise

    def _mode(self, entry: Entry) -> int:
        if self.rules.exact:
            return entry.mode
        return 0o755 if entry.mode & 0o100 else 0o644

    def _pour(self, entry: Entry, descriptor: int, *, sparse: bool) -> None:
        """Content from its entry into an open file; holes stay holes where they can."""
        end = 0
        for offset, length in entry.extents:
            if sparse:
                os.lseek(descriptor, offset, os.SEEK_SET)
            else:
                self._zeros(descriptor, offset - end)
            left = length
            while left:
                self._room(descriptor)
                block = entry.read(min(left, BLOCK))
                if not block:
                    raise DamagedArchiveError("the archive ends too early")
                left -= len(block)
                view = memoryview(block)
                while view:
                    view = view[os.write(descriptor, view) :]
                self.tally.moving(len(block))
            end = offset + length
        if end < entry.size:
            if sparse:
                os.ftruncate(descriptor, entry.size)
            else:
                self._zeros(descriptor, entry.size - end)

    def _zeros(self, descriptor: int, length: int) -> None:
        while length > 0:
            length -= os.write(descriptor, bytes(min(length, BLOCK)))

    def _room(self, descriptor: int) -> None:
        """Look at the file system now and then: a copy must not take its last block."""
        progress = self.tally.moved + self._files * (LOOK_EVERY // 1000)
        if self.rules.most_bytes is not None or progress < self._look_at:
            return
        self._look_at = progress + LOOK_EVERY
        found = os.fstatvfs(descriptor)
        total, free = found.f_blocks * found.f_frsize, found.f_bavail * found.f_frsize
        why = f"{size_text(free)} of {size_text(total)} are free, and a copy leaves that much"
        full = total > 0 and free < min(RESERVE, total // RESERVE_PART)
        if found.f_files and found.f_favail < found.f_files // 100:
            full, why = True, f"{found.f_favail} of {found.f_files} inodes are free, and a copy leaves that many"
        if full:
            raise HostError(f"the disk of {self.place} is nearly full", why=why, hint="df -h; df -i")

    # -------------------------------------------------------------- links

    def _link(self, folder: int, name: str, entry: Entry) -> None:
        part = PART + secrets.token_hex(8)
        os.symlink(entry.link, part, dir_fd=folder)
        self._put_in_place(folder, part, folder, name)
        with suppress(OSError):  # some file systems keep no times of links
            os.utime(name, ns=(entry.mtime, entry.mtime), dir_fd=folder, follow_symlinks=False)

    def _hard_link(self, folder: int, name: str, entry: Entry) -> None:
        """Another name of a file of this tree; the way to it is as safe as the way to a new one."""
        descriptors = [os.dup(self.folders.top)]
        part = PART + secrets.token_hex(8)
        try:
            *above, other = entry.same or ("",)
            for step in above:
                descriptors.append(os.open(step, FOLDER, dir_fd=descriptors[-1]))
            if not stat.S_ISREG(os.stat(other, dir_fd=descriptors[-1], follow_symlinks=False).st_mode):
                raise GuestCommandError(f"the guest sent {self.at} as another name of {shown(entry.same)}, no file")
            os.link(other, part, src_dir_fd=descriptors[-1], dst_dir_fd=folder, follow_symlinks=False)
        finally:
            for descriptor in descriptors:
                os.close(descriptor)
        self._put_in_place(folder, part, folder, name)

    def _put_in_place(self, source: int, part: str, folder: int, name: str) -> None:
        try:
            os.rename(part, name, src_dir_fd=source, dst_dir_fd=folder)
        finally:
            # Where it went wrong; and where both are names of one file, renaming does nothing.
            with suppress(OSError):
                os.unlink(part, dir_fd=source)
