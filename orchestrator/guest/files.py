"""Files between host and guest, and between guests, as tar streams over SSH: whole folders in one go, any bytes.

Nothing is gathered: the content goes from disk to disk in blocks. What comes
from a guest is not trusted (`copy_archive`, `copy_unpack`).
"""

from __future__ import annotations

import asyncio
import re
import secrets
import threading
from collections.abc import Awaitable, Callable, Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from orchestrator.deadline import Deadline
from orchestrator.errors import GuestCommandError, OrchestratorError, UsageError
from orchestrator.guest.copy_archive import DamagedArchiveError, in_order, pack, parse
from orchestrator.guest.copy_entries import Entry, Tally, shown
from orchestrator.guest.copy_names import Facts
from orchestrator.guest.copy_scripts import (
    FOLDERS,
    IN_THE_WAY,
    LOOK,
    MEASURE,
    READ,
    RECORDS,
    WRITE_FILE,
    WRITE_FOLDER,
)
from orchestrator.guest.copy_unpack import PART, Rules, unpack
from orchestrator.guest.copy_walk import folders, walk
from orchestrator.guest.pipe import AbandonedError, Pipe
from orchestrator.guest.ssh import Ssh
from orchestrator.tasks import root_cause, run_all
from orchestrator.threads import in_thread

T = TypeVar("T")
EVERYTHING = Rules()
ARTIFACTS = Rules(links=False, exact=False, most_bytes=2 << 30, most_files=100_000)
COMPLAINT_LIMIT = 1 << 20  # bytes of a guest's tar's complaints
ENDING = 5.0  # seconds for the work of an ended copy on this host
CLEANING = 10.0  # seconds to remove what an ended copy left beside its place


@dataclass(frozen=True, slots=True)
class Remote:
    """A file or folder in a machine: one to be read, as `inspect` found it, or one to be written."""

    ssh: Ssh
    path: str
    folder: bool


# ---------------------------------------------------------------------------- looking


async def facts(ssh: Ssh, *paths: str, deadline: Deadline) -> list[Facts]:
    """What paths in a guest are."""
    result = await ssh.exec(["sh", "-c", LOOK, "sh", *paths], deadline=deadline)
    words = result.text.split()
    if result.code != 0 or len(words) != len(paths):
        raise GuestCommandError(f"{ssh.machine}:{paths[0]} cannot be inspected", why=result.complaint)
    return [Facts.read(word) for word in words]


async def inspect(ssh: Ssh, path: str, *, deadline: Deadline) -> Remote:
    """What is to be copied out of a guest.

    Raises:
        GuestCommandError: it is nothing that can be copied.
    """
    (found,) = await facts(ssh, path, deadline=deadline)
    if found.kind in ("d", "f"):
        return Remote(ssh, path, found.kind == "d")
    what = "is a link that leads nowhere" if found.link else "does not exist"
    if found.kind == "o":
        what = "is a device, a socket or a pipe, not a file or folder"
    raise GuestCommandError(f"{ssh.machine}:{path} could not be read", why=f"it {what}")


async def measure(source: Remote, *, deadline: Deadline) -> int:
    """Bytes of a file or folder in a guest, about; 0 when it does not tell."""
    result = await source.ssh.exec(["sh", "-c", MEASURE, "sh", source.path], deadline=deadline)
    return int(result.text) if result.code == 0 and re.fullmatch("[0-9]{1,18}", result.text) else 0


# ---------------------------------------------------------------------------- copying


@dataclass(frozen=True, slots=True)
class PutOptions:
    """How a file or folder is copied into a guest.

    Attributes:
        owner: the user it belongs to there; None: as in the source, by number.
        skip: names that are left out, at any depth; with a slash before it, at the top only.
    """

    owner: str | None = None
    skip: frozenset[str] = frozenset()


async def put(
    ssh: Ssh,
    source: Path | str,
    target: str,
    *,
    deadline: Deadline,
    options: PutOptions = PutOptions(),
    tally: Tally | None = None,
) -> Tally:
    """Copy a file or folder to exactly ``target`` in the guest; a folder's content is merged into it.

    Returns:
        What was copied, and what was not.

    Raises:
        UsageError: the source cannot be read at all.
        GuestCommandError: the guest could not write it.
    """
    tally = tally or Tally()
    folder = Path(source).is_dir()
    if folder:
        await _room_for_folders(ssh, target, folders(str(source), options.skip), deadline)
    place = Remote(ssh, target, folder)
    await _write(place, walk(str(source), tally, skip=options.skip), deadline, tally, str(source), options.owner)
    return tally


async def get(
    ssh: Ssh,
    source: str | Remote,
    target: Path,
    *,
    deadline: Deadline,
    rules: Rules = EVERYTHING,
    tally: Tally | None = None,
) -> Tally:
    """Copy a file or folder from the guest to exactly ``target``.

    Raises:
        GuestCommandError: it does not exist in the guest, or is not safe to unpack.
        HostError: there is no room for it.
    """
    found = await inspect(ssh, source, deadline=deadline) if isinstance(source, str) else source
    tally = tally or Tally()

    def too_late() -> GuestCommandError:
        return GuestCommandError(f"{found.ssh.machine}:{found.path} was not written to {target} within {deadline}")

    async def write(entries: Iterable[Entry], pipe: Pipe) -> None:
        async with deadline.enforce(too_late):
            await _in_thread(lambda: unpack(entries, target, tally, rules), pipe)

    await _read(found, write, deadline, tally)
    return tally


async def between(source: Remote, ssh: Ssh, target: str, *, deadline: Deadline, tally: Tally) -> None:
    """Copy from one machine to exactly ``target`` in another; nothing of it is stored here."""

    async def write(entries: Iterable[Entry], pipe: Pipe) -> None:
        label = f"{source.ssh.machine}:{source.path}"
        try:
            await _write(Remote(ssh, target, source.folder), in_order(entries), deadline, tally, label, None)
        finally:
            pipe.cancel()

    if source.folder:
        await _room_between(source, ssh, target, deadline)
    await _read(source, write, deadline, tally)


async def _room_for_folders(ssh: Ssh, target: str, names: Iterable[bytes], deadline: Deadline) -> None:
    """Refuse to put a folder where a link or a file is: the guest's tar would not.

    Args:
        names: of the folders below the target, each ended by NUL.
    """
    result = await ssh.exec(["sh", "-c", IN_THE_WAY, "sh", target], deadline=deadline, stdin=names)
    if result.stdout:
        name = result.stdout.decode("utf-8", "replace").removeprefix("./")
        raise UsageError(
            f"{shown(f'{ssh.machine}:{target}/{name}')} is not a folder, and a folder would take its place",
            hint="remove it first",
        )


async def _room_between(source: Remote, ssh: Ssh, target: str, deadline: Deadline) -> None:
    """The same for the folders of another machine, as far as it says the truth."""
    pipe = Pipe()

    async def names() -> None:
        try:
            await source.ssh.exec(["sh", "-c", FOLDERS, "sh", source.path], deadline=deadline, on_stdout=pipe.put)
        except AbandonedError:
            pass  # the other machine knows enough
        finally:
            pipe.finish()

    async def check() -> None:
        try:
            await _room_for_folders(ssh, target, iter(pipe.take, b""), deadline)
        finally:
            pipe.cancel()

    await run_all(names(), check())


async def _write(
    place: Remote, entries: Iterable[Entry], deadline: Deadline, tally: Tally, label: str, owner: str | None
) -> None:
    ssh, target, folder = place.ssh, place.path, place.folder
    part = PART + secrets.token_hex(8)
    script = WRITE_FOLDER if folder else WRITE_FILE
    try:
        result = await ssh.exec(
            ["sh", "-c", script, "sh", target, owner or "", part], deadline=deadline, stdin=pack(entries, tally)
        )
    except BaseException:
        if not folder:
            await _clean(ssh, target, part)
        raise
    if result.code != 0:
        raise GuestCommandError(f"{label} could not be copied to {ssh.machine}:{target}", why=result.complaint)


async def _clean(ssh: Ssh, target: str, part: str) -> None:
    """Remove what a copy that was ended left beside its place; without a connection it stays."""
    script = 'place=$(readlink -f "$1"); for each in "${1%/*}" "${place%/*}"; do rm -rf "$each/$2"; done'
    with suppress(OrchestratorError, asyncio.CancelledError):
        await ssh.exec(["sh", "-c", script, "sh", target, part], deadline=Deadline.after(CLEANING))


Writer = Callable[[Iterable[Entry], Pipe], Awaitable[None]]


async def _read(source: Remote, write: Writer, deadline: Deadline, tally: Tally) -> None:
    """Have a guest's tar run, and what it sends be written, both at once."""
    pipe = Pipe()
    complaints = _Complaints()

    async def reading() -> None:
        try:
            result = await source.ssh.exec(
                ["sh", "-c", READ, "sh", source.path, RECORDS],
                deadline=deadline,
                on_stdout=pipe.put,
                on_stderr=complaints.take,
            )
        except BaseException as error:
            pipe.finish(error if isinstance(error, Exception) else AbandonedError("the copy was ended"))
            raise
        complaints.code = result.code
        pipe.finish()

    async def writing() -> None:
        try:
            await write(parse(pipe.take, tally, alone=not source.folder), pipe)
        except DamagedArchiveError as error:
            raise _damaged(source, complaints, error) from error

    try:
        async with asyncio.TaskGroup() as group:
            group.create_task(reading())
            group.create_task(writing())
    except BaseExceptionGroup as group_error:
        raise _explanation(group_error) from None
    complaints.tell(tally)


def _damaged(source: Remote, complaints: _Complaints, error: Exception) -> GuestCommandError:
    path = f"{source.ssh.machine}:{source.path}"
    if complaints.code:
        return GuestCommandError(f"{path} could not be read", why="\n".join(complaints.lines[-6:]) or str(error))
    return GuestCommandError(f"what the guest sent for {path} cannot be unpacked", why=str(error))


def _explanation(group: BaseExceptionGroup[BaseException]) -> BaseException:
    """What went wrong first; that the other end was then left alone says nothing."""
    _, rest = group.split(AbandonedError)
    return root_cause(rest or group)


class _Complaints:
    """The lines of a guest's tar on stderr: what it left out, and why."""

    def __init__(self) -> None:
        self.code = 0
        self._text = bytearray()

    def take(self, data: bytes) -> None:
        self._text += data[: max(0, COMPLAINT_LIMIT - len(self._text))]

    @property
    def lines(self) -> list[str]:
        text = self._text.decode("utf-8", "replace")
        found = [line.removeprefix("tar: ") for line in text.splitlines()]
        return [line for line in found if line and not line.startswith(("Exiting with failure", "Removing leading"))]

    def tell(self, tally: Tally) -> None:
        """A file that grows while it is read is worth having; whatever else tar says is something that is missing."""
        for line in self.lines:
            if line.endswith("file changed as we read it"):
                tally.remark(line)
            else:
                name, _, why = line.partition(": ")
                tally.leave(name.removeprefix("./"), "a socket" if why == "socket ignored" else why or "tar said so")
        if self.code and not self._text:
            tally.leave(".", f"tar ended with {self.code}")


async def _in_thread(work: Callable[[], T], pipe: Pipe) -> T:
    """Run blocking work that reads the pipe, in a thread. When this is cancelled, the work ends too.

    It then removes what is half made. Work that hangs elsewhere, as in opening a pipe of the host that nobody reads, is
    left after a moment.
    """
    ended = threading.Event()

    def run() -> T:
        try:
            return work()
        finally:
            ended.set()

    try:
        return await in_thread(run)
    except BaseException:
        pipe.finish(AbandonedError("the copy was ended"))
        pipe.cancel()
        await in_thread(ended.wait, ENDING)
        raise
