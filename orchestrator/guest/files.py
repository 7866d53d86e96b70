"""Files between host and guest, as tar streams over SSH: whole folders in one go, any bytes.

What comes from a guest is not trusted: only plain files and folders are made,
only below the target, and not without end.
"""

from __future__ import annotations

import errno
import io
import os
import shlex
import tarfile
import tempfile
from pathlib import Path, PurePosixPath

from orchestrator.deadline import Deadline
from orchestrator.errors import GuestCommandError
from orchestrator.guest.ssh import Ssh

TOTAL_LIMIT = 2 << 30  # bytes unpacked from a guest in one go
COUNT_LIMIT = 100_000
NO_SUCH_PLACE = (NotADirectoryError, IsADirectoryError, FileExistsError)


def pack(source: Path, name: str, *, skip: frozenset[str] = frozenset()) -> bytes:
    """A tar of a file or folder under ``name``; owners are left to the guest."""
    buffer = io.BytesIO()

    def prepare(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        if skip & set(PurePosixPath(member.name).parts):
            return None
        member.uid = member.gid = 0
        member.uname = member.gname = ""
        return member

    with tarfile.open(fileobj=buffer, mode="w") as archive:
        archive.add(source, arcname=name, filter=prepare)
    return buffer.getvalue()


async def put(
    ssh: Ssh, source: Path, target: str, *, deadline: Deadline, owner: str | None = None,
    skip: frozenset[str] = frozenset(),
) -> None:
    """Copy a file or folder to exactly ``target`` in the guest; a folder's content is merged into it.

    Raises:
        GuestCommandError: the guest could not write it.
    """
    path = PurePosixPath(target)
    data = pack(source, path.name, skip=skip)
    quoted = shlex.quote(str(path.parent))
    script = f"mkdir -p {quoted} && tar -xf - --no-same-owner -C {quoted}"
    if owner is not None:
        script += f" && chown -R {shlex.quote(owner)}: {shlex.quote(target)}"
    result = await ssh.exec(["sh", "-c", script], deadline=deadline, stdin=data)
    if result.code != 0:
        raise GuestCommandError(f"{source} could not be copied to {ssh.machine}:{target}", why=result.complaint)


async def get(ssh: Ssh, source: str, target: Path, *, deadline: Deadline) -> list[Path]:
    """Copy a file or folder from the guest to exactly ``target``; returns the files written.

    Raises:
        GuestCommandError: it does not exist in the guest, or is not safe to unpack.
    """
    path = PurePosixPath(source)
    with tempfile.TemporaryFile() as spool:
        result = await ssh.exec(
            ["tar", "-cf", "-", "-C", str(path.parent), "--", path.name],
            deadline=deadline,
            on_stdout=lambda data: _spool(spool, data),
        )
        # 1: a file changed while it was read; its content is still worth having.
        if result.code not in (0, 1):
            raise GuestCommandError(f"{ssh.machine}:{source} could not be read", why=result.complaint)
        spool.seek(0)
        return unpack(spool, path.name, target)


def _spool(spool: io.BufferedIOBase | tempfile._TemporaryFileWrapper[bytes], data: bytes) -> None:
    if spool.tell() + len(data) > TOTAL_LIMIT:
        raise GuestCommandError(f"the guest sends more than {TOTAL_LIMIT >> 20} MiB")
    spool.write(data)


def unpack(archive: object, name: str, target: Path) -> list[Path]:
    """Unpack plain files and folders of a guest's tar; everything else is left out.

    Args:
        name: the top name in the archive; it becomes ``target``.

    Raises:
        GuestCommandError: it is no whole archive, a name leads out of the target, or there is too much.
    """
    try:
        return _unpack(archive, name, target)
    # A guest may send anything: pieces of an archive, one path twice as a file and a folder, numbers out of any range.
    except (tarfile.TarError, EOFError, ValueError, OverflowError, *NO_SUCH_PLACE) as error:
        raise GuestCommandError(
            f"what the guest sent for {name} is no archive that can be unpacked", why=f"{type(error).__name__}: {error}"
        ) from error
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.ENAMETOOLONG, errno.EINVAL):
            raise
        raise GuestCommandError(f"what the guest sent for {name} cannot be unpacked", why=str(error)) from error


def _unpack(archive: object, name: str, target: Path) -> list[Path]:
    written: list[Path] = []
    total = 0
    with tarfile.open(fileobj=archive, mode="r:") as tar:  # type: ignore[call-overload]
        for member in tar:
            parts = PurePosixPath(member.name).parts
            if not parts or parts[0] != name or ".." in parts or "\0" in member.name:
                raise GuestCommandError(f"the guest sent the path {member.name!r}, which leads elsewhere")
            place = target.joinpath(*parts[1:])
            if member.isdir():
                place.mkdir(parents=True, exist_ok=True)
            elif member.isreg():
                total += member.size
                if total > TOTAL_LIMIT or len(written) >= COUNT_LIMIT:
                    raise GuestCommandError("the guest sent too much")
                place.parent.mkdir(parents=True, exist_ok=True)
                source = tar.extractfile(member)
                assert source is not None
                # O_NOFOLLOW: an earlier member made no links, but the target may hold some.
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW
                with os.fdopen(os.open(place, flags, 0o644), "wb") as file:
                    while block := source.read(1 << 20):
                        file.write(block)
                place.chmod(0o755 if member.mode & 0o100 else 0o644)
                written.append(place)
    return written
