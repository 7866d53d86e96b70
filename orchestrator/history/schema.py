"""The tables of the history."""

from __future__ import annotations

VERSION = 1  # PRAGMA user_version
APPLICATION = 0x6F726368  # PRAGMA application_id: "orch"

TABLES = """
CREATE TABLE run (
    run_id TEXT PRIMARY KEY, folder TEXT NOT NULL, stamp TEXT NOT NULL,
    environment TEXT NOT NULL, command TEXT NOT NULL, variant TEXT NOT NULL, provider TEXT NOT NULL,
    accelerator TEXT NOT NULL, started REAL NOT NULL, ended REAL NOT NULL, seconds REAL NOT NULL, ready REAL,
    outcome TEXT NOT NULL, exit_code INTEGER, cause TEXT NOT NULL, revision_set TEXT NOT NULL,
    infrastructure TEXT NOT NULL, partial INTEGER NOT NULL, pinned INTEGER NOT NULL,
    night_id TEXT NOT NULL DEFAULT '', cell TEXT NOT NULL DEFAULT '', role TEXT NOT NULL DEFAULT ''
);
CREATE INDEX run_started ON run (started);
CREATE TABLE revision (
    run_id TEXT NOT NULL, kind TEXT NOT NULL, digest TEXT NOT NULL, label TEXT NOT NULL, folder TEXT NOT NULL,
    PRIMARY KEY (run_id, kind)
) WITHOUT ROWID;
CREATE TABLE test (
    test_id INTEGER PRIMARY KEY, phase TEXT NOT NULL, file TEXT NOT NULL, title TEXT NOT NULL,
    UNIQUE (phase, file, title)
);
CREATE TABLE result (
    run_id TEXT NOT NULL, test_id INTEGER NOT NULL, status TEXT NOT NULL, seconds REAL NOT NULL,
    error TEXT NOT NULL, error_key TEXT NOT NULL, PRIMARY KEY (run_id, test_id)
) WITHOUT ROWID;
CREATE INDEX result_test ON result (test_id);
CREATE TABLE attempt (
    run_id TEXT NOT NULL, test_id INTEGER NOT NULL, number INTEGER NOT NULL, retry INTEGER NOT NULL,
    status TEXT NOT NULL, seconds REAL NOT NULL, error TEXT NOT NULL, PRIMARY KEY (run_id, test_id, number)
) WITHOUT ROWID;
CREATE TABLE service (
    run_id TEXT NOT NULL, name TEXT NOT NULL, state TEXT NOT NULL, seconds REAL, PRIMARY KEY (run_id, name)
) WITHOUT ROWID;
CREATE TABLE log_match (
    run_id TEXT NOT NULL, machine TEXT NOT NULL, pattern TEXT NOT NULL, severity TEXT NOT NULL
);
CREATE INDEX log_match_run ON log_match (run_id);
CREATE TABLE night (
    night_id TEXT PRIMARY KEY, folder TEXT NOT NULL, stamp TEXT NOT NULL, topology TEXT NOT NULL,
    started REAL NOT NULL, ended REAL NOT NULL, outcome TEXT NOT NULL, reason TEXT NOT NULL
);
CREATE TABLE night_run (
    run_id TEXT PRIMARY KEY, night_id TEXT NOT NULL, cell TEXT NOT NULL, role TEXT NOT NULL
) WITHOUT ROWID;
"""

OF_A_RUN = ("revision", "result", "attempt", "service", "log_match")  # tables whose rows go with their run
