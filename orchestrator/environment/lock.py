"""One command at a time changes an environment.

The lock is the kernel's (flock), so it is gone with its holder whatever ended
it. The file's text only tells the loser who holds it.
"""

from __future__ import annotations

import fcntl
import json
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TextIO

from orchestrator.errors import HostError, LockedError
from orchestrator.events import utc_text, wall_clock

ATTEMPTS = 100  # to make a folder that others remove


@contextmanager
def hold(path: Path, environment: str, command: str) -> Iterator[None]:
    """Hold the environment's lock for the block.

    Raises:
        LockedError: another command holds it; says who and since when.
        HostError: its folder cannot be made.
    """
    with _locked(path, environment) as file:
        file.seek(0)
        file.truncate()
        json.dump({"pid": os.getpid(), "command": command, "since": utc_text(wall_clock())}, file)
        file.flush()
        try:
            yield
        finally:
            file.seek(0)
            file.truncate()
            file.flush()
            remove_if_last(path)


def remove_if_last(path: Path) -> None:
    """Where nothing is left of an environment but its lock, its name is free again and no longer listed.

    For who holds it, and has nothing more to do.
    """
    with suppress(OSError):
        if list(path.parent.iterdir()) == [path]:
            path.unlink()
            path.parent.rmdir()


def _locked(path: Path, environment: str) -> TextIO:
    """The lock's file, locked; not one that its last holder has just removed."""
    while True:
        file = _opened(path, environment)
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if path.exists() and os.fstat(file.fileno()).st_ino == path.stat().st_ino:
                return file
        except BlockingIOError as error:
            file.close()
            raise LockedError(
                f"environment {environment} is held by another command",
                why=describe(path) or "its holder has just started",
                hint="wait for it, or use another --name for a second environment",
            ) from error
        except FileNotFoundError:
            pass
        file.close()


def _opened(path: Path, environment: str) -> TextIO:
    """The lock's file, also when its last holder removes the folder at this moment."""
    why: OSError | None = None
    for _ in range(ATTEMPTS):
        try:
            path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
            return path.open("a+", encoding="utf-8")
        except (FileNotFoundError, FileExistsError) as error:
            why = error
        except OSError as error:
            why = error
            break
    raise HostError(
        f"the state folder of environment {environment} cannot be made", why=str(why), where=[str(path.parent)]
    ) from why


def held(path: Path) -> bool:
    """Whether somebody holds the lock now."""
    try:
        with path.open("r") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def describe(path: Path) -> str:
    """``pid 1234, `orchestrator up`, since 2026-…``; empty when unknown."""
    found = _holder(path)
    return "pid {}, `{}`, since {}".format(*found) if found else ""


def is_ours(path: Path) -> bool:
    """Whether this process holds the lock."""
    found = _holder(path)
    return found is not None and found[0] == os.getpid()


def _holder(path: Path) -> tuple[int, str, str] | None:
    """Pid, command and since when, as the file says; None when it does not."""
    try:
        data = json.loads(path.read_text())
        return int(data["pid"]), str(data["command"]), str(data["since"])
    except (OSError, ValueError, KeyError, TypeError):
        return None


def command_text() -> str:
    """How this program was called, for people."""
    return " ".join(["orchestrator", *sys.argv[1:]])[:200]
