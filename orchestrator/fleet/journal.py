"""What a run of a matrix has to remember to go on after it was killed: its cells, and how far each of them got."""

from __future__ import annotations

import fcntl
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from orchestrator.atomic import write_atomically
from orchestrator.codec import decode, encode
from orchestrator.errors import LockedError, UsageError
from orchestrator.events import wall_clock
from orchestrator.fleet.cells import Cell

PLAN = "matrix.json"
JOURNAL = "journal.jsonl"
LOCK = ".lock"


@dataclass(frozen=True, slots=True)
class MatrixPlan:
    """What is run. Paths are absolute.

    Attributes:
        run: the run's id.
        topology: the topology file.
        command: what runs in place of `orchestrator run`.
        words: options of `orchestrator run` that all cells have.
        variables: for all cells, with the values that were typed.
        inherited: variables whose values are those of the command's shell; they are written nowhere.
    """

    run: str
    name: str
    topology: Path
    cells: tuple[Cell, ...]
    command: tuple[str, ...] = ()
    words: tuple[str, ...] = ()
    variables: Mapping[str, str] = field(default_factory=dict)
    inherited: tuple[str, ...] = ()
    limit: float = 10_800.0


@dataclass(frozen=True, slots=True)
class Finished:
    """A cell that is over.

    Attributes:
        outcome: as a run has it; of one that never ran, ``error``.
        folder: its run folder, relative to that of the matrix; empty: it has none.
        began: seconds since the epoch, or 0.
        ran: its command ran to its end. Else it was given up, and `--resume` runs it.
    """

    cell: str
    attempt: int
    host: str
    outcome: str
    code: int
    seconds: float = 0.0
    cause: str = ""
    folder: str = ""
    began: float = 0.0
    ran: bool = True


@dataclass(frozen=True, slots=True)
class Attempt:
    """One that began, and of whose end nothing is known."""

    cell: str
    number: int
    host: str
    at: float


class Journal:
    """The file of a run that is appended to, a line at a time."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self._path = folder / JOURNAL
        self.finished: dict[str, Finished] = {}
        self.attempts: dict[str, int] = {}
        self._open: dict[str, Attempt] = {}
        self.last = 0.0  # seconds since the epoch of its last line
        for line in self._lines():
            self._apply(line)

    def _lines(self) -> Iterator[dict[str, Any]]:
        if self._path.exists():
            with self._path.open(encoding="utf-8", errors="replace") as file:
                for text in file:
                    try:
                        found = json.loads(text)
                    except ValueError:
                        continue  # half a line of a command that was killed
                    if isinstance(found, dict):
                        yield found

    def _apply(self, line: Mapping[str, Any]) -> None:
        self.last = float(line.get("at", self.last))
        match line.get("state"):
            case "began":
                attempt = Attempt(line["cell"], int(line["attempt"]), line["host"], self.last)
                self.attempts[attempt.cell] = attempt.number
                self._open[attempt.cell] = attempt
            case "finished":
                found = decode(line["result"], Finished, "result")
                self.finished[found.cell] = found
                self._open.pop(found.cell, None)
            case "over":
                self._open.pop(line["cell"], None)

    def began(self, cell: str, attempt: int, host: str) -> None:
        """Written before the host is told: what is not here was never begun."""
        self._add({"state": "began", "cell": cell, "attempt": attempt, "host": host})

    def over(self, cell: str, attempt: int) -> None:
        """An attempt ended without a result: nothing of it runs any more."""
        if cell in self._open:
            self._add({"state": "over", "cell": cell, "attempt": attempt})

    def finish(self, result: Finished) -> None:
        """The cell is over, and will not run again."""
        self._add({"state": "finished", "result": encode(result)}, durable=True)

    def beat(self, interval: float) -> None:
        """Hosts are answered now; written down at most once in so many seconds."""
        if wall_clock() - self.last >= interval:
            self._add({"state": "answered"})

    def is_over(self, cell: str) -> bool:
        """Whether a cell ran to its end: then it never runs again."""
        return cell in self.finished and self.finished[cell].ran

    def unfinished(self) -> list[Attempt]:
        """Attempts that may still run somewhere."""
        return list(self._open.values())

    def _add(self, line: dict[str, Any], *, durable: bool = False) -> None:
        line = {"at": wall_clock(), **line}
        with self._path.open("a", encoding="utf-8") as file:
            file.write(json.dumps(line) + "\n")
            file.flush()
            if durable:
                os.fsync(file.fileno())
        self._apply(line)


def write_plan(folder: Path, plan: MatrixPlan) -> None:
    write_atomically(folder / PLAN, json.dumps(encode(plan), indent=1) + "\n", mode=0o644, durable=True)


def read_plan(folder: Path) -> MatrixPlan:
    """The plan of a run folder.

    Raises:
        UsageError: it has none.
    """
    try:
        return decode(json.loads((folder / PLAN).read_text(encoding="utf-8")), MatrixPlan, "matrix")
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UsageError(
            f"{folder} is not the run folder of a matrix", why=str(error), hint="orchestrator matrix --resume FOLDER"
        ) from error


@contextmanager
def only_one(folder: Path) -> Iterator[None]:
    """One command at a time runs the cells of a folder.

    Raises:
        LockedError: another one does.
    """
    with (folder / LOCK).open("a") as file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise LockedError(f"another command runs the cells of {folder}", hint="wait for it, or end it") from error
        yield
