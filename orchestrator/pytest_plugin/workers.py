"""Workers of xdist: each has an environment of its own, as many at once as the host has memory for.

Workers meet by locks on files of a folder that all have. A lock ends with its process, however that ends.
"""

from __future__ import annotations

import fcntl
import sys
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from orchestrator.errors import MemoryShort, OrchestratorError

DOWN = 120.0  # seconds to remove what a killed worker left
WAIT = 7200.0  # seconds for memory that another worker has
LOOK = 0.3  # seconds between looks at the locks of the others
SLOT = "orchestrator-slot-"
MADE, FIRST, WAITING = "orchestrator-made", "orchestrator-first", "orchestrator-waiting"


def worker_of(config: pytest.Config) -> Worker | None:
    """The worker that this process is; None where it is none."""
    given = getattr(config, "workerinput", None)
    if given is None:
        return None
    own = config.getoption("basetemp", None) or f"{tempfile.gettempdir()}/orchestrator-{given['testrunuid']}/own"
    return Worker(given["workerid"], Path(own).parent)


def remove_left(name: str) -> str:
    """Remove what a killed worker left of its environment; its machines ended with it. What came of it, in words."""
    from orchestrator.deadline import Deadline
    from orchestrator.driver.facade import wait
    from orchestrator.environment.paths import EnvironmentPaths
    from orchestrator.process import run

    if not EnvironmentPaths.of(name).folder.exists():
        return ""
    command = [sys.executable, "-m", "orchestrator", "-n", name, "down"]
    try:
        wait(run(command, deadline=Deadline.after(DOWN)))
    except OrchestratorError as error:
        return f"environment {name}, whose worker was killed, could not be removed: {error.brief}"
    return f"environment {name}: its worker was killed; its machines have ended, and what it left is removed"


class Worker:
    """This process among the workers.

    Attributes:
        id: of xdist, as ``gw0``.
        folder: where the workers of this run meet.
    """

    def __init__(self, worker_id: str, folder: Path) -> None:
        self.id = worker_id
        self.folder = folder
        self._slot: IO[str] | None = None
        self._pause = threading.Event()

    def name(self, base: str) -> str:
        """The name of its environment."""
        return f"{base}-{self.id}"

    def start(self, begin: Callable[[], None], say: Callable[[str], None]) -> None:
        """Start an environment. The first start makes the saved state; all others wait for it, and start from it.

        Args:
            begin: does it; it is called again when another worker has made room.

        Raises:
            MemoryShort: no other worker has memory to wait for.
        """
        with self._first(say) as tell_made:
            while True:
                self._slot = self._open(f"{SLOT}{self.id}")
                fcntl.flock(self._slot, fcntl.LOCK_EX)  # before it takes memory: nobody misses it and gives up
                others = self._others()  # one of them may end before we have failed: that is room too
                try:
                    begin()
                    break
                except MemoryShort as error:
                    self.ended()
                    say(f"{self.id} waits until another worker's machines have ended: {error.brief}")
                    if not self._wait_for_room(others | self._others()):
                        raise
                except BaseException:
                    self.ended()
                    raise
            tell_made()

    def ended(self) -> None:
        """Its machines have ended, or did not start: there is room."""
        if self._slot is not None:
            self._slot.close()
            self._slot = None

    @property
    def others_wait(self) -> bool:
        """Whether a worker waits for room."""
        with self._open(WAITING) as file:
            return not _lock(file, fcntl.LOCK_EX)

    # ------------------------------------------------------------------ inside

    @contextmanager
    def _first(self, say: Callable[[str], None]) -> Iterator[Callable[[], object]]:
        """Held by one until the saved state is made. Others wait before it, and pass."""
        made = self._path(MADE)
        with self._open(FIRST) as file:
            if not made.exists() and not _lock(file, fcntl.LOCK_EX):
                say(f"{self.id} waits for the saved state that another worker makes")
                fcntl.flock(file, fcntl.LOCK_EX)
            if made.exists():
                fcntl.flock(file, fcntl.LOCK_UN)
            yield made.touch

    def _wait_for_room(self, before: set[str]) -> bool:
        """Wait until the machines of one of these workers have ended; whether one had any."""
        from orchestrator.deadline import Deadline  # it imports asyncio

        if not before:
            return False
        deadline = Deadline.after(WAIT)
        with self._open(WAITING) as file:
            fcntl.flock(file, fcntl.LOCK_SH)
            while before <= self._others() and not deadline.expired:
                self._pause.wait(LOOK)
        return not deadline.expired

    def _others(self) -> set[str]:
        """The other workers whose machines run, or start."""
        found = set()
        for path in self.folder.glob(f"{SLOT}*"):
            if path.name != f"{SLOT}{self.id}":
                with path.open("a") as file:
                    if not _lock(file, fcntl.LOCK_EX):
                        found.add(path.name)
        return found

    def _path(self, name: str) -> Path:
        self.folder.mkdir(parents=True, exist_ok=True)
        return self.folder / name

    def _open(self, name: str) -> IO[str]:
        return self._path(name).open("a")


def _lock(file: IO[str], kind: int) -> bool:
    """Lock it if nobody holds it; whether it is ours now."""
    try:
        fcntl.flock(file, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True
