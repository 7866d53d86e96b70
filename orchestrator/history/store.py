"""The database of earlier runs: SQLite, several writers, thrown away and made again whenever it is damaged.

Run folders are the truth; this is an index of them. A damaged file is set aside
and a new one is filled from the folders of runs that it is known to have held
(``history-folders``, one path a line).
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TypeVar

from orchestrator.errors import HistoryError
from orchestrator.events import wall_clock
from orchestrator.folders import state_root
from orchestrator.history.connection import Connection
from orchestrator.history.schema import APPLICATION, TABLES, VERSION

T = TypeVar("T")

BUSY = 30.0  # seconds that a writer waits for another one
DAMAGED = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})
PARTS = ("", "-wal", "-shm")


class DamagedError(Exception):
    """The file is no database, or not all of one."""


class History:
    """Where the history is, and how it is opened.

    Args:
        root: the folder that holds it; the state folder of this program, unless another is named.
    """

    def __init__(self, root: Path | None = None) -> None:
        self.root = state_root() if root is None else root

    @property
    def path(self) -> Path:
        return self.root / "history.db"

    @property
    def folders_path(self) -> Path:
        return self.root / "history-folders"

    def use(self, work: Callable[[sqlite3.Connection], T], rebuild: Callable[[sqlite3.Connection], object]) -> T:
        """Do something with the database; a damaged one is set aside, made again, and the work repeated.

        Args:
            rebuild: fills an empty database.

        Raises:
            HistoryError: it cannot be opened or written, or a newer version made it.
        """
        try:
            return self._try(work)
        except DamagedError:
            self.set_aside()
            try:
                self._try(rebuild)
                return self._try(work)
            except DamagedError as error:
                raise self._refused(error) from error

    def set_aside(self) -> Path | None:
        """Put a damaged database under another name; that name. Nothing happens when another program has done so."""
        if not self.path.exists():
            return None
        with self._alone():
            if self._sound():
                return None  # another program was first
            stamp = datetime.fromtimestamp(wall_clock(), UTC).strftime("%Y%m%dT%H%M%S.%fZ")
            target = self.path.with_name(f"{self.path.name}.damaged-{stamp}")
            for part in PARTS:
                with suppress(FileNotFoundError):
                    Path(f"{self.path}{part}").rename(f"{target}{part}")
            return target

    def folders(self) -> list[Path]:
        """The folders of runs that were ever recorded, in the order in which they came."""
        try:
            lines = self.folders_path.read_bytes().split(b"\0")
        except FileNotFoundError:
            return []
        except OSError as error:
            raise self._refused(error) from error
        return list(dict.fromkeys(Path(os.fsdecode(line)) for line in lines if line))

    def add_folder(self, runs: Path) -> None:
        """Remember a folder of runs."""
        runs = runs.absolute()
        if runs in self.folders():
            return
        try:
            self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
            with self.folders_path.open("ab") as file:  # one write: two programs do not mix theirs
                # Marked on both sides: a path that a full disk cut off does not swallow the next one.
                file.write(b"\0" + os.fsencode(runs) + b"\0")
        except OSError as error:
            raise self._refused(error) from error

    # -------------------------------------------------------------- inside

    def _try(self, work: Callable[[sqlite3.Connection], T]) -> T:
        try:
            with closing(self._open()) as connection:
                return work(connection)
        except sqlite3.DatabaseError as error:
            if getattr(error, "sqlite_errorcode", 0) & 0xFF in DAMAGED:
                raise DamagedError(str(error)) from error
            raise self._refused(error) from error
        except OSError as error:
            raise self._refused(error) from error

    def _open(self) -> sqlite3.Connection:
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        connection = sqlite3.connect(self.path, timeout=BUSY, isolation_level=None, factory=Connection)
        try:
            connection.row_factory = sqlite3.Row
            connection.execute("PRAGMA synchronous=NORMAL")  # whole after a crash; the last runs are read again
            if self._version(connection) != VERSION:
                with self._alone():
                    self._create(connection)
        except BaseException:
            connection.close()
            raise
        return connection

    def _create(self, connection: sqlite3.Connection) -> None:
        found = self._version(connection)
        if found == VERSION:
            return  # another program was first
        if found > VERSION:
            raise HistoryError(
                "a newer version of this program made the history",
                why=f"it has format {found}, this version knows {VERSION}",
                where=[str(self.path)],
                hint="use that version, or set another ORCH_STATE_DIR",
            )
        if connection.execute("SELECT count(*) FROM sqlite_master").fetchone()[0]:
            raise DamagedError("it is a database of something else")
        connection.execute("PRAGMA journal_mode=WAL")
        connection.executescript(
            f"BEGIN IMMEDIATE; {TABLES} PRAGMA application_id={APPLICATION}; PRAGMA user_version={VERSION}; COMMIT;"
        )

    def _version(self, connection: sqlite3.Connection) -> int:
        return int(connection.execute("PRAGMA user_version").fetchone()[0])

    def _sound(self) -> bool:
        """Whether SQLite finds nothing wrong in it; for who is alone."""
        try:
            with closing(sqlite3.connect(self.path, timeout=BUSY)) as connection:
                whole = connection.execute("PRAGMA quick_check(1)").fetchone()[0] == "ok"
                return bool(whole) and self._version(connection) == VERSION
        except sqlite3.DatabaseError:
            return False

    @contextmanager
    def _alone(self) -> Iterator[None]:
        """No other program makes or replaces the database meanwhile."""
        self.root.mkdir(parents=True, exist_ok=True, mode=0o700)
        with (self.root / "history.lock").open("a") as file:
            fcntl.flock(file, fcntl.LOCK_EX)
            yield

    def _refused(self, cause: Exception) -> HistoryError:
        return HistoryError(
            "the history cannot be used",
            why=str(cause),
            where=[str(self.path)],
            hint="nothing is lost, it is made of run folders: `orchestrator history import FOLDER` reads them again",
        )


@contextmanager
def writing(connection: sqlite3.Connection) -> Iterator[None]:
    """All of the block, or nothing of it."""
    connection.execute("BEGIN IMMEDIATE")
    try:
        yield
    except BaseException:
        if connection.in_transaction:
            connection.execute("ROLLBACK")
        raise
    connection.execute("COMMIT")
