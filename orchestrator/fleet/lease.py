"""Leases: which attempt of a cell a host has, kept in a file so that it outlives whoever started it."""

from __future__ import annotations

import fcntl
import json
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, replace
from pathlib import Path

from orchestrator.atomic import write_atomically
from orchestrator.codec import decode, encode
from orchestrator.deadline import Deadline, pause
from orchestrator.errors import HostError
from orchestrator.folders import state_root
from orchestrator.process_id import ProcessId

POLL = 0.2  # seconds between two looks at a lease that another process holds


class AlreadyStarted(Exception):
    """This attempt, or a later one, was started on this host before."""


@dataclass(frozen=True, slots=True)
class Lease:
    """The latest attempt of a cell on this host.

    Attributes:
        name: its environment.
        process: what runs it; None before it was started and after its end.
        ended: it is over.
    """

    cell: str
    attempt: int
    name: str
    process: ProcessId | None = None
    ended: bool = False

    @property
    def alive(self) -> bool:
        return self.process is not None and self.process.alive


def leases_folder(run: str) -> Path:
    """Where the leases of a run are on this host."""
    return state_root() / "fleet" / run / "leases"


class Held:
    """A lease of ours; ``lease`` is what the file says."""

    def __init__(self, path: Path, lease: Lease) -> None:
        self._path = path
        self.lease = lease
        self._write()

    def started(self, process: ProcessId | None) -> None:
        """The cell runs, as this process."""
        self.lease = replace(self.lease, process=process)
        self._write()

    def ended(self) -> None:
        self.lease = replace(self.lease, process=None, ended=True)
        self._write()

    def _write(self) -> None:
        # A host that loses power runs none of what it says: it need not be on the disk.
        write_atomically(self._path, json.dumps(encode(self.lease)) + "\n")


@asynccontextmanager
async def held(folder: Path, cell: str, attempt: int, name: str, *, grace: float) -> AsyncIterator[Held]:
    """Hold the lease of a cell for one attempt. What an earlier attempt left running is ended first.

    Args:
        folder: as `leases_folder` has it.
        grace: seconds that an earlier attempt has to end in order.

    Raises:
        AlreadyStarted: it is not the first one to start this attempt here.
        HostError: an earlier attempt does not end.
    """
    folder.mkdir(parents=True, exist_ok=True, mode=0o700)
    path = folder / f"{cell}.json"
    deadline = Deadline.after(2 * grace + 10)
    while True:
        with _locked(folder / f"{cell}.lock") as mine:
            before = read(path)
            if before is not None and before.attempt >= attempt:
                raise AlreadyStarted
            if mine and (before is None or not before.alive):
                yield Held(path, Lease(cell, attempt, name))
                return
        if before is not None and before.process is not None:
            await before.process.end(grace)
        if deadline.expired:
            raise HostError(f"an earlier attempt of cell {cell} does not end here", where=[str(path)])
        await pause(POLL, deadline)


@contextmanager
def _locked(path: Path) -> Iterator[bool]:
    """Try to hold a lock file; it stays, because removing it would let two hold two files of one name."""
    with path.open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            yield False
        else:
            yield True


def read(path: Path) -> Lease | None:
    """The lease in a file; None if there is none, or it cannot be read."""
    try:
        return decode(json.loads(path.read_text(encoding="utf-8")), Lease, "lease")
    except (OSError, ValueError, KeyError, TypeError):
        return None


def all_leases(folder: Path) -> list[Lease]:
    """The leases of a folder that are no file of another kind, by the cells' names."""
    found = (read(path) for path in sorted(folder.glob("*.json")))
    return [lease for lease in found if lease is not None]
