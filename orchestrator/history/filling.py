"""Fills the history from run folders: one, those that are new, or all."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path

from orchestrator.history.records import (
    EVENTS,
    NIGHT,
    PINNED,
    NightRecord,
    RunRecord,
    error_key,
    is_run_folder,
    read_night,
    read_run,
)
from orchestrator.history.schema import OF_A_RUN
from orchestrator.history.store import History, writing
from orchestrator.report.clones import FOLDER as CLONES

CELLS = "cells"  # in the folder of a night: CELL/RUN


@dataclass(frozen=True, slots=True)
class Imported:
    """What an import did; ``unreadable`` has a line for each folder that could not be read."""

    runs: int = 0
    nights: int = 0
    known: int = 0
    unreadable: tuple[str, ...] = ()


def stamp_of(path: Path) -> str:
    """What changes when the file does; empty: there is none."""
    try:
        found = path.stat()
    except OSError:
        return ""
    return f"{found.st_size} {found.st_mtime_ns}"


def _run_stamp(folder: Path) -> str:
    told = stamp_of(folder / EVENTS) or stamp_of(folder / "summary.json")
    return f"{told}{' pinned' if (folder / PINNED).exists() else ''}"


def folders_below(place: Path) -> Iterator[Path]:
    """The runs and nights of a folder: itself, what is in it, and the runs of the nights in it."""
    if is_run_folder(place):
        yield place
        return
    if (place / NIGHT).is_file() or (place / CELLS).is_dir():
        yield place
        for cell in _folders(place / CELLS):
            yield from (run for run in _folders(cell) if is_run_folder(run))
        return
    for folder in _folders(place):
        if is_run_folder(folder) or (folder / NIGHT).is_file() or (folder / CELLS).is_dir():
            yield from folders_below(folder)


def _folders(place: Path) -> list[Path]:
    try:
        return sorted(one for one in place.iterdir() if one.is_dir() and not one.is_symlink())
    except OSError:
        return []


def fill(
    connection: sqlite3.Connection,
    places: Iterable[Path],
    *,
    again: bool = False,
    progress: Callable[[int, int], None] | None = None,
) -> Imported:
    """Read the runs and nights below some folders that the history does not have, or not as they are now.

    Args:
        again: those that did not change, too.
        progress: is told how many of how many are read.
    """
    had = dict(connection.execute("SELECT folder, stamp FROM run UNION ALL SELECT folder, stamp FROM night").fetchall())
    found = list(dict.fromkeys(path for place in places for path in folders_below(place)))
    runs = nights = known = 0
    unreadable: list[str] = []
    for number, folder in enumerate(found, 1):
        is_run = is_run_folder(folder)
        stamp = _run_stamp(folder) if is_run else stamp_of(folder / NIGHT)
        if had.get(str(folder)) == stamp and not again:
            known += 1
            continue
        try:
            if is_run:
                add_run(connection, read_run(folder), stamp)
                runs += 1
            elif (night := read_night(folder)) is not None:
                add_night(connection, night, stamp)
                nights += 1
        except OSError as error:
            unreadable.append(f"{folder}: {error.strerror or error}")
        if progress is not None:
            progress(number, len(found))
    return Imported(runs, nights, known, tuple(unreadable))


def add_run(connection: sqlite3.Connection, run: RunRecord, stamp: str) -> None:
    """Put a run in, in place of what is known of it."""
    with writing(connection):
        for table in OF_A_RUN:
            connection.execute(f"DELETE FROM {table} WHERE run_id = ?", (run.run_id,))  # noqa: S608 - names of ours
        row = {
            "run_id": run.run_id,
            "folder": run.folder,
            "stamp": stamp,
            "environment": run.environment,
            "command": run.command,
            "variant": run.variant,
            "provider": run.provider,
            "accelerator": run.accelerator,
            "started": run.started,
            "ended": run.ended,
            "seconds": run.seconds,
            "ready": run.ready,
            "outcome": run.outcome,
            "exit_code": run.exit_code,
            "cause": run.cause,
            "revision_set": run.revision_set,
            "infrastructure": run.infrastructure,
            "partial": run.partial,
            "pinned": run.pinned,
        }
        _put(connection, "run", row)
        _link(connection, run.run_id)
        connection.executemany(
            "INSERT OR REPLACE INTO revision VALUES (?, ?, ?, ?, ?)",
            [(run.run_id, one.kind, one.digest, one.label, one.folder) for one in run.revisions],
        )
        connection.executemany(
            "INSERT OR REPLACE INTO service VALUES (?, ?, ?, ?)", [(run.run_id, *one) for one in run.services]
        )
        connection.executemany("INSERT INTO log_match VALUES (?, ?, ?, ?)", [(run.run_id, *one) for one in run.matches])
        _add_tests(connection, run)


def _add_tests(connection: sqlite3.Connection, run: RunRecord) -> None:
    names = [(test.phase, test.file, test.title) for test in run.tests]
    connection.executemany("INSERT OR IGNORE INTO test (phase, file, title) VALUES (?, ?, ?)", names)
    find = "SELECT test_id FROM test WHERE phase = ? AND file = ? AND title = ?"
    for test, name in zip(run.tests, names, strict=True):
        number = connection.execute(find, name).fetchone()[0]
        connection.execute(
            "INSERT OR REPLACE INTO result VALUES (?, ?, ?, ?, ?, ?)",
            (run.run_id, number, test.status, test.seconds, test.error, error_key(test.error)),
        )
        connection.executemany(
            "INSERT OR REPLACE INTO attempt VALUES (?, ?, ?, ?, ?, ?, ?)",
            [
                (run.run_id, number, index, one.retry, one.status, one.seconds, one.error)
                for index, one in enumerate(test.attempts)
            ],
        )


def add_night(connection: sqlite3.Connection, night: NightRecord, stamp: str) -> None:
    """Put a night in; its runs may come before or after it."""
    with writing(connection):
        row = {
            "night_id": night.night_id,
            "folder": night.folder,
            "stamp": stamp,
            "topology": night.topology,
            "started": night.started,
            "ended": night.ended,
            "outcome": night.outcome,
            "reason": night.reason,
        }
        _put(connection, "night", row)
        for run in night.runs:
            connection.execute(
                "INSERT OR REPLACE INTO night_run VALUES (?, ?, ?, ?)",
                (run.run_id, night.night_id, run.cell, run.role),
            )
            _link(connection, run.run_id)


def _link(connection: sqlite3.Connection, run_id: str) -> None:
    """Tell a run which night it is of, where one says so."""
    connection.execute(
        "UPDATE run SET (night_id, cell, role) = (SELECT night_id, cell, role FROM night_run WHERE run_id = :run)"
        " WHERE run_id = :run AND EXISTS (SELECT 1 FROM night_run WHERE run_id = :run)",
        {"run": run_id},
    )


def _put(connection: sqlite3.Connection, table: str, row: dict[str, object]) -> None:
    names, marks = ", ".join(row), ", ".join(f":{name}" for name in row)
    connection.execute(f"INSERT OR REPLACE INTO {table} ({names}) VALUES ({marks})", row)  # noqa: S608 - names of ours


def refill(history: History) -> Callable[[sqlite3.Connection], Imported]:
    """What makes a lost database again: everything below the folders that it held."""
    return lambda connection: fill(connection, history.folders())


def record(folder: Path, history: History | None = None) -> None:
    """Put one run or night folder into the history, and remember where it was found.

    Raises:
        HistoryError: it cannot be written. The folder has everything, and is read with the next look at the history.
    """
    history = History() if history is None else history
    place = folder.absolute()
    if place.parent.parent.name == CLONES:
        return  # a part of a run, which is recorded as a whole
    inside = place.parent.parent.name == CELLS  # the run of a night: its folder of runs is above that
    history.add_folder(place.parents[3] if inside and len(place.parents) > 3 else place.parent)
    history.use(lambda connection: fill(connection, [place]), refill(history))
