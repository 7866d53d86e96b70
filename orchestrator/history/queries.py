"""Questions to the history."""

from __future__ import annotations

import sqlite3
from collections import defaultdict
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

from orchestrator.history.statistics import Drift, drift
from orchestrator.history.verdicts import RECENT, Observation, Verdict, judge

PASSED = "passed"
LAST = 2 * RECENT  # runs that a verdict may rest on, some of which say nothing
DECIDED = ("passed", "failed", "timedOut", "interrupted")  # attempts that say something


@dataclass(frozen=True, slots=True)
class TestKey:
    """A test as it is counted: in one variant, on one kind of processor."""

    __test__ = False

    test_id: int
    phase: str
    file: str
    title: str
    variant: str
    accelerator: str
    environment: str

    @property
    def shown(self) -> str:
        return f"{self.title} [{self.variant}]" if self.variant else self.title


@dataclass(frozen=True, slots=True)
class TestHistory:
    """A test and its runs, oldest first.

    Attributes:
        seconds: of its first attempt, where it passed.
        errors: what errors have in common → how often there was one.
    """

    __test__ = False

    key: TestKey
    observations: tuple[Observation, ...]
    verdict: Verdict
    seconds: tuple[float, ...]
    errors: Mapping[str, int]

    @property
    def drift(self) -> Drift | None:
        return drift(self.seconds)


def run_rows(connection: sqlite3.Connection, limit: int | None = None) -> list[sqlite3.Row]:
    """Runs, the newest first."""
    return connection.execute(
        "SELECT run.*, (SELECT count(*) FROM result WHERE result.run_id = run.run_id) AS tests,"
        " (SELECT count(*) FROM result WHERE result.run_id = run.run_id AND status = 'failed') AS failed,"
        " (SELECT count(*) FROM result WHERE result.run_id = run.run_id AND status = 'flaky') AS flaky"
        " FROM run ORDER BY started DESC, run_id DESC LIMIT ?",
        (-1 if limit is None else limit,),
    ).fetchall()


def night_rows(connection: sqlite3.Connection, limit: int | None = None) -> list[sqlite3.Row]:
    """Nights, the newest first."""
    return connection.execute(
        "SELECT * FROM night ORDER BY started DESC, night_id DESC LIMIT ?", (-1 if limit is None else limit,)
    ).fetchall()


def find_run(connection: sqlite3.Connection, name: str) -> sqlite3.Row | None:
    """The run whose id begins so, if it is one; ``latest`` is the newest."""
    if name == "latest":
        return next(iter(run_rows(connection, 1)), None)
    pattern = name.replace("\\", "\\\\").replace("%", "\\%").replace("_", "\\_")
    found = connection.execute(
        "SELECT * FROM run WHERE run_id LIKE ? || '%' ESCAPE '\\' ORDER BY run_id = ? DESC LIMIT 2", (pattern, name)
    ).fetchall()
    return found[0] if len(found) == 1 or (found and found[0]["run_id"] == name) else None


def tests(
    connection: sqlite3.Connection,
    *,
    word: str = "",
    environment: str | None = None,
    last: int | None = LAST,
) -> list[TestHistory]:
    """Tests with their runs and verdicts.

    Args:
        word: only tests whose title contains it.
        environment: only of this environment.
        last: so many of the newest runs of each environment and variant, and as many repetitions; None: all.
    """
    rows = connection.execute(
        "SELECT r.run_id, r.revision_set, r.variant, r.accelerator, r.environment, r.infrastructure, x.test_id,"
        " x.status, x.seconds, x.error_key, t.phase, t.file, t.title"
        " FROM result x JOIN run r USING (run_id) JOIN test t USING (test_id)"
        " WHERE (:word = '' OR instr(lower(t.title), lower(:word)))"
        " AND (:environment IS NULL OR r.environment = :environment)"
        " AND (:last < 0 OR r.run_id IN (SELECT run_id FROM (SELECT run_id, row_number() OVER"
        " (PARTITION BY environment, variant, partial ORDER BY started DESC) AS age FROM run) WHERE age <= :last))"
        " ORDER BY r.started, r.run_id",
        {"word": word, "environment": environment, "last": -1 if last is None else last},
    ).fetchall()
    attempts = _odd_attempts(connection, {row["run_id"] for row in rows})
    grouped: dict[tuple[object, ...], list[sqlite3.Row]] = defaultdict(list)
    for row in rows:
        grouped[row["environment"], row["variant"], row["accelerator"], row["test_id"]].append(row)
    return [_history(group, attempts) for group in grouped.values()]


def _odd_attempts(connection: sqlite3.Connection, runs: Collection[str]) -> dict[tuple[str, int], tuple[bool, ...]]:
    """The attempts of results that are more than one pass."""
    found: dict[tuple[str, int], list[bool]] = defaultdict(list)
    for run_id, test_id, status in connection.execute(
        "SELECT a.run_id, a.test_id, a.status FROM attempt a JOIN result x USING (run_id, test_id)"
        " WHERE x.status IN ('failed', 'flaky') AND a.status IN (?, ?, ?, ?)"
        " ORDER BY a.run_id, a.test_id, a.number",
        DECIDED,
    ):
        if run_id in runs:
            found[run_id, test_id].append(status == PASSED)
    return {key: tuple(values) for key, values in found.items()}


def _history(rows: Sequence[sqlite3.Row], attempts: Mapping[tuple[str, int], tuple[bool, ...]]) -> TestHistory:
    first = rows[-1]
    observations = []
    errors: dict[str, int] = {}
    for row in rows:
        results = attempts.get((row["run_id"], row["test_id"]), ())
        if not results and row["status"] in ("passed", "failed"):
            results = (row["status"] == PASSED,)
        observations.append(Observation(row["run_id"], row["revision_set"], results, bool(row["infrastructure"])))
        if row["error_key"]:
            errors[row["error_key"]] = errors.get(row["error_key"], 0) + 1
    key = TestKey(
        first["test_id"],
        first["phase"],
        first["file"],
        first["title"],
        first["variant"],
        first["accelerator"],
        first["environment"],
    )
    seconds = tuple(row["seconds"] for row in rows if row["status"] == PASSED)[-RECENT:]
    return TestHistory(key, tuple(observations), judge(observations), seconds, errors)


def slower_services(connection: sqlite3.Connection, environment: str | None = None) -> dict[str, Drift]:
    """Services that start slower (or faster) than they did, by variant and name; cold starts only."""
    rows = connection.execute(
        "SELECT r.variant, s.name, s.seconds FROM service s JOIN run r USING (run_id)"
        " WHERE s.seconds IS NOT NULL AND r.outcome IN ('passed', 'suspicious', 'failed')"
        " AND (? IS NULL OR r.environment = ?) ORDER BY r.started, r.run_id",
        (environment, environment),
    )
    series: dict[str, list[float]] = defaultdict(list)
    for variant, name, seconds in rows:
        series[f"{name} [{variant}]" if variant else name].append(seconds)
    found = {name: drift(values) for name, values in series.items()}
    return {name: one for name, one in found.items() if one is not None}
