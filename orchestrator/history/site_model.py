"""What the pages of the history show, as frozen data. Pure, but for the queries."""

from __future__ import annotations

import os
import sqlite3
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path

from orchestrator.history.queries import TestHistory, night_rows, slower_services, tests
from orchestrator.history.statistics import Drift
from orchestrator.history.verdicts import Observation

COLUMNS = 60  # nights that are shown
CELL = 10  # width of a night, in pixels
ORDER = ("broken", "flaky", "unknown", "new", "fixed", "ok")
MARKS = {"passed": "p", "failed": "f", "mixed": "m", "infrastructure": "i", "skipped": "s"}


@dataclass(frozen=True, slots=True)
class Column:
    """A night, or a run that was of none.

    Attributes:
        day: its date, UTC.
        link: the page of its first run; empty: it is gone.
    """

    key: str
    day: str
    outcome: str
    link: str


@dataclass(frozen=True, slots=True)
class Row:
    """A test in the map.

    Attributes:
        cells: a word of `MARKS`, or empty, for each column.
        page: its page, relative to the site.
    """

    history: TestHistory
    cells: tuple[str, ...]
    page: str

    @property
    def shapes(self) -> Mapping[str, str]:
        """The outline of all cells of a kind, as the path of an SVG."""
        found: dict[str, list[str]] = defaultdict(list)
        for index, cell in enumerate(self.cells):
            if cell:
                found[cell].append(f"M{index * CELL} 0h{CELL - 1}v16h-{CELL - 1}z")
        return {word: "".join(parts) for word, parts in found.items()}

    @property
    def short(self) -> str:
        """Its title without the file, where something is left."""
        parts = self.history.key.title.split(" › ")
        rest = parts[1:] if parts[0] == self.history.key.file or parts[0].endswith((".ts", ".js", ".py")) else parts
        return " › ".join(rest or parts)

    @property
    def told(self) -> str:
        """The row in words, for who does not see it."""
        counts = [f"{self.cells.count(word)} {word}" for word in MARKS if word in self.cells]
        return ", ".join(counts) or "did not run"


@dataclass(frozen=True, slots=True)
class Series:
    """All tests of one environment in one variant on one kind of processor."""

    name: str
    columns: tuple[Column, ...]
    rows: tuple[Row, ...]

    @property
    def width(self) -> int:
        return max(1, len(self.columns)) * CELL

    def count(self, state: str) -> int:
        return sum(row.history.verdict.state == state for row in self.rows)


@dataclass(frozen=True, slots=True)
class Site:
    """The whole site.

    Attributes:
        nights: the last ones, newest first.
        services: those that start slower or faster than they did.
    """

    series: tuple[Series, ...]
    nights: tuple[Mapping[str, object], ...]
    services: Mapping[str, Drift]

    @property
    def flaky(self) -> list[Row]:
        """The flaky tests, the worst first."""
        found = [row for one in self.series for row in one.rows if row.history.verdict.state == "flaky"]
        return sorted(found, key=lambda row: -row.history.verdict.rate.mean)

    @property
    def drifting(self) -> list[Row]:
        """Tests whose duration changed, the most first."""
        found = [row for one in self.series for row in one.rows if row.history.drift is not None]
        return sorted(found, key=lambda row: -abs(row.history.drift.now - row.history.drift.before))  # type: ignore[union-attr]


def site_of(connection: sqlite3.Connection, root: Path) -> Site:
    """The site of a history.

    Args:
        root: where it is written; links to run folders are relative to it.
    """
    columns = columns_of(connection, root)
    grouped: dict[str, list[TestHistory]] = defaultdict(list)
    for one in tests(connection):
        words = (one.key.environment, one.key.variant, one.key.accelerator)
        grouped[" · ".join(word for word in words if word)].append(one)
    series = [_series(name, found, columns) for name, found in sorted(grouped.items())]
    nights = [{**dict(row), "day": day_of(row["started"])} for row in night_rows(connection, COLUMNS)]
    return Site(tuple(series), tuple(nights), slower_services(connection))


def columns_of(connection: sqlite3.Connection, root: Path) -> dict[str, Column]:
    """The column of each run."""
    by_key: dict[str, Column] = {}
    found: dict[str, Column] = {}
    rows = connection.execute(
        "SELECT run_id, night_id, cell, started, outcome, folder FROM run ORDER BY started, run_id"
    ).fetchall()
    for row in rows:
        key = f"{row['night_id']} {row['cell']}" if row["night_id"] else row["run_id"]
        if key not in by_key:
            page = Path(row["folder"]) / "report" / "index.html"
            link = relative(page, root) if page.is_file() else ""
            by_key[key] = Column(key, day_of(row["started"]), row["outcome"], link)
        found[row["run_id"]] = by_key[key]
    return found


def relative(path: Path, root: Path) -> str:
    """The way from the site to a file; the site and the runs may be moved together."""
    return Path(os.path.relpath(path.absolute(), root.absolute())).as_posix()


def day_of(at: float) -> str:
    """The date of a time, UTC."""
    try:
        return datetime.fromtimestamp(at, UTC).strftime("%Y-%m-%d")
    except (ValueError, OverflowError, OSError):
        return "?"


def _series(name: str, found: Sequence[TestHistory], columns: Mapping[str, Column]) -> Series:
    ran = {seen.run_id for one in found for seen in one.observations}
    used = {column.key: column for run_id, column in columns.items() if run_id in ran}
    shown = list(used.values())[: -COLUMNS - 1 : -1]  # the newest first: a phone shows the left side
    rows = [Row(one, _cells(one.observations, columns, shown), f"tests/{one.key.test_id}.html") for one in found]
    rows.sort(key=lambda row: (ORDER.index(row.history.verdict.state), row.history.key.phase, row.history.key.title))
    return Series(name, tuple(shown), tuple(rows))


def _cells(
    observations: Sequence[Observation], columns: Mapping[str, Column], shown: Sequence[Column]
) -> tuple[str, ...]:
    results: dict[str, list[bool]] = defaultdict(list)
    words: dict[str, str] = {}
    for seen in observations:
        key = columns[seen.run_id].key
        if seen.infrastructure:
            words.setdefault(key, "infrastructure")
        elif seen.results:
            results[key] += seen.results
            words[key] = "passed" if all(results[key]) else "mixed" if any(results[key]) else "failed"
        else:
            words.setdefault(key, "skipped")
    return tuple(words.get(column.key, "") for column in shown)
