"""One night at a time for each environment, and what became of the nights that should have been."""

from __future__ import annotations

import fcntl
import json
import os
import sqlite3
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from orchestrator.deadline import Deadline, pause
from orchestrator.errors import HostError, LockedError
from orchestrator.events import utc_text, wall_clock
from orchestrator.fields import SENTENCE, tables, text
from orchestrator.folders import state_root
from orchestrator.history.records import NIGHT

LOOK_AGAIN = 5.0  # seconds between two tries
A_DAY = 86_400.0
LATE = 1.5  # days after the last one, from which on a night is missing


@asynccontextmanager
async def alone(name: str, *, wait: bool, deadline: Deadline) -> AsyncIterator[None]:
    """No other night of this environment meanwhile. The lock is the kernel's: it is gone with its holder.

    Args:
        wait: until the other one has ended, or the deadline comes.

    Raises:
        LockedError: another one is under way.
        HostError: the state folder cannot be written.
    """
    path = state_root() / "nightly" / f"{name}.lock"
    try:
        path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        file = path.open("a+", encoding="utf-8")
    except OSError as error:
        raise HostError("the lock of the night cannot be made", why=str(error), where=[str(path)]) from error
    with file:
        while True:
            try:
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except BlockingIOError as error:
                if not wait or deadline.expired:
                    file.seek(0)
                    raise LockedError(
                        f"another night of {name} is under way",
                        why=file.read(200).strip(),
                        hint='wait for it; `overlap = "wait"` in [nightly] does so',
                    ) from error
            await pause(LOOK_AGAIN, deadline)
        file.truncate(0)
        file.write(f"pid {os.getpid()}, since {utc_text(wall_clock())}")
        file.flush()
        yield


@dataclass(frozen=True, slots=True)
class LastNight:
    """The night before: when it began, seconds since the epoch, its outcome, and the updates that failed in it."""

    started: float
    outcome: str
    failed_updates: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Gap:
    """What lies between the last night and now.

    Attributes:
        missed: nights that should have been.
        clock_back: the last night is in the future: the clock was set back since.
    """

    missed: int = 0
    clock_back: bool = False


def gap_of(last: float | None, now: float) -> Gap:
    """Pure; times in seconds since the epoch, ``last`` None for the first night.

    >>> gap_of(0.0, 86_400.0), gap_of(0.0, 3 * 86_400.0).missed, gap_of(5.0, 0.0).clock_back
    (Gap(missed=0, clock_back=False), 2, True)
    """
    if last is None:
        return Gap()
    if last > now:
        return Gap(clock_back=True)
    days = (now - last) / A_DAY
    return Gap(missed=round(days) - 1 if days >= LATE else 0)


def last_night(connection: sqlite3.Connection, name: str, now: str) -> LastNight | None:
    """The last night of an environment that was not skipped; not night ``now``."""
    found = connection.execute(
        "SELECT started, outcome, folder FROM night WHERE topology = ? AND outcome != 'skipped' AND night_id != ?"
        " ORDER BY started DESC LIMIT 1",
        (name, now),
    ).fetchone()
    if found is None:
        return None
    return LastNight(float(found[0]), str(found[1]), failed_updates(Path(found[2])))


def failed_updates(folder: Path) -> tuple[str, ...]:
    """The updates that failed in a night; none where its folder is gone."""
    try:
        data = json.loads((folder / NIGHT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return ()
    return tuple(text(one, "what", SENTENCE) for one in tables(data, "updates") if one.get("ok") is False)
