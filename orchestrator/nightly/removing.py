"""Looks at the run folders of the history and removes what `orchestrator.nightly.retention` says."""

from __future__ import annotations

import os
import shutil
import sqlite3
from collections.abc import Iterator, Sequence
from pathlib import Path

from orchestrator.environment.paths import EnvironmentPaths, environments
from orchestrator.environment.state import read_state
from orchestrator.errors import HostError, OrchestratorError
from orchestrator.history.queries import TestHistory
from orchestrator.history.records import EVENTS, NIGHT, PINNED
from orchestrator.images.cache import ImageCache
from orchestrator.nightly.retention import GOOD, Kept, Removal

EVIDENCE = frozenset({EVENTS, "summary.json", "junit.xml", PINNED, NIGHT, "message.txt"})


def needed_runs(found: Sequence[TestHistory]) -> dict[str, str]:
    """The runs from which a bisection of a broken test would begin, with the reason why they stay."""
    runs = {}
    for one in found:
        if one.verdict.state == "broken":
            for run_id in (one.verdict.since, one.verdict.last_good):
                if run_id:
                    runs[run_id] = f"a bisection of {one.key.title} begins with it"
    return runs


def run_folders(
    connection: sqlite3.Connection, below: Path, needed: dict[str, str], *, nights: bool = False
) -> list[Kept]:
    """The runs whose folders are below a folder and exist; ``nights``: only those of nights."""
    live = _live_folders()
    rows = connection.execute(
        "SELECT run_id, folder, started, outcome, pinned,"
        " EXISTS (SELECT 1 FROM result WHERE result.run_id = run.run_id AND status IN ('flaky', 'failed')) AS bad"
        " FROM run WHERE NOT ? OR night_id != '' ORDER BY started",
        (nights,),
    ).fetchall()
    found = []
    for row in rows:
        folder = Path(row["folder"])
        if not folder.is_relative_to(below.absolute()) or not folder.is_dir() or folder.is_symlink():
            continue
        large, evidence = _sizes(folder)
        why = needed.get(row["run_id"], "")
        why = "pinned" if row["pinned"] or (folder / PINNED).exists() else why
        found.append(
            Kept(
                run_id=row["run_id"],
                folder=str(folder),
                started=row["started"],
                good=row["outcome"] in GOOD and not row["bad"],
                finished=row["outcome"] != "interrupted",
                large=large,
                evidence=evidence,
                needed="its machines are up" if folder.resolve() in live else why,
            )
        )
    return found


def _live_folders() -> set[Path]:
    """Where machines that run write their logs."""
    found = set()
    for name in environments():
        try:
            state = read_state(EnvironmentPaths.of(name).state)
        except OrchestratorError:
            continue
        if state is not None:
            found.add(state.run_folder.resolve())
    return found


def _sizes(folder: Path) -> tuple[int, int]:
    """Bytes on the disk of what is large, and of the evidence."""
    large = evidence = 0
    for path in _files(folder):
        try:
            size = path.lstat().st_blocks * 512
        except OSError:
            continue
        if path.parent == folder and path.name in EVIDENCE:
            evidence += size
        else:
            large += size
    return large, evidence


def _files(folder: Path) -> Iterator[Path]:
    for parent, _, names in os.walk(folder):  # links to folders are names here, and are not followed
        yield from (Path(parent) / name for name in names)


def remove(one: Removal) -> None:
    """Remove it.

    Raises:
        HostError: something of it cannot be removed.
    """
    folder = Path(one.run.folder)
    try:
        if one.part == "all":
            shutil.rmtree(folder)
            return
        for path in folder.iterdir():
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            elif path.name not in EVIDENCE:
                path.unlink()
    except OSError as error:
        raise HostError("an old run cannot be removed", why=str(error), where=[str(folder)]) from error


def keep_images(connection: sqlite3.Connection, needed: dict[str, str], cache: ImageCache | None = None) -> None:
    """Pin the images of the runs that a bisection needs, by their run folders; release those of other runs."""
    cache = ImageCache() if cache is None else cache
    wanted: dict[str, set[str]] = {}
    folders = set()
    for row in connection.execute(
        "SELECT run.run_id, run.folder, digest FROM run JOIN revision USING (run_id) WHERE kind LIKE 'image %'"
    ):
        folders.add(row["folder"])
        if row["run_id"] in needed and Path(row["folder"]).is_dir():
            wanted.setdefault(row["digest"], set()).add(row["folder"])
    for entry in cache.list_images():
        users = wanted.get(entry.key, set())
        for folder in users - set(entry.pinned_by):
            cache.pin(entry.path, Path(folder))
        for folder in (set(entry.pinned_by) & folders) - users:
            cache.unpin(entry.path, Path(folder))
