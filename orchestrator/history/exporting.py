"""What the history holds as JSON-ready data; times as UTC text, durations in seconds."""

from __future__ import annotations

import sqlite3

from orchestrator.events import utc_text
from orchestrator.history.queries import TestHistory, night_rows, run_rows, tests

_TIMES = ("started", "ended")
_FLAGS = ("partial", "pinned")


def row_as_dict(row: sqlite3.Row) -> dict[str, object]:
    """A row, its times as text and its flags as such."""
    found = {key: row[key] for key in row.keys() if key != "stamp"}  # noqa: SIM118 - a Row iterates over values
    found |= {name: utc_text(found[name]) for name in _TIMES if isinstance(found.get(name), float) and found[name] > 0}
    return found | {name: bool(found[name]) for name in _FLAGS if name in found}


def run_as_dict(row: sqlite3.Row, connection: sqlite3.Connection | None = None) -> dict[str, object]:
    """A run; with the connection also what it was made of, its tests, services and log matches."""
    found = row_as_dict(row)
    if connection is None:
        return found
    queries = {
        "revisions": "SELECT kind, digest, label, folder FROM revision WHERE run_id = ? ORDER BY kind",
        "tests": "SELECT phase, file, title, status, seconds, error FROM result JOIN test USING (test_id)"
        " WHERE run_id = ? ORDER BY phase, file, title",
        "services": "SELECT name, state, seconds FROM service WHERE run_id = ? ORDER BY name",
        "log_matches": "SELECT machine, pattern, severity FROM log_match WHERE run_id = ?",
    }
    for name, query in queries.items():
        found[name] = [dict(one) for one in connection.execute(query, (row["run_id"],))]
    return found


def test_as_dict(one: TestHistory) -> dict[str, object]:
    """A test: its verdict, rate with interval, runs and errors."""
    verdict, key = one.verdict, one.key
    return {
        "title": key.title,
        "phase": key.phase,
        "file": key.file,
        "environment": key.environment,
        "variant": key.variant,
        "accelerator": key.accelerator,
        "verdict": verdict.state,
        "rate": {"mean": verdict.rate.mean, "low": verdict.rate.low, "high": verdict.rate.high},
        "runs": verdict.runs,
        "failures": verdict.failures,
        "passes": verdict.passes,
        "since": verdict.since,
        "last_good": verdict.last_good,
        "drift": None if one.drift is None else {"before": one.drift.before, "now": one.drift.now},
        "errors": dict(one.errors),
        "results": [
            {
                "run_id": seen.run_id,
                "revision_set": seen.revision_set,
                "passed": list(seen.results),
                "infrastructure": seen.infrastructure,
            }
            for seen in one.observations
        ],
    }


def export_rows(connection: sqlite3.Connection) -> dict[str, object]:
    """Everything: nights, runs with what they were made of, tests with verdicts."""
    return {
        "nights": [row_as_dict(row) for row in night_rows(connection)],
        "runs": [run_as_dict(row, connection) for row in run_rows(connection)],
        "tests": [test_as_dict(one) for one in tests(connection)],
    }
