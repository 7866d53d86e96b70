"""``orchestrator history prune``, and the same at the end of a night."""

from __future__ import annotations

import argparse
import json
import sqlite3
import sys
from pathlib import Path

from orchestrator.cli.history import looked_at
from orchestrator.cli.runtime import say
from orchestrator.errors import HostError
from orchestrator.events import wall_clock
from orchestrator.history.queries import tests
from orchestrator.nightly.removing import keep_images, needed_runs, remove, run_folders
from orchestrator.nightly.retention import Removal, removals
from orchestrator.text import size_text
from orchestrator.topology.nightly import Retention
from orchestrator.topology.read_nightly import load_nightly


def run(arguments: argparse.Namespace) -> int:
    retention = load_nightly(arguments.file).retention if arguments.file.exists() else Retention()
    gone = prune(retention, arguments.runs, dry_run=arguments.dry_run)
    if arguments.json:
        shown = [
            {
                "run_id": one.run.run_id,
                "folder": one.run.folder,
                "part": one.part,
                "bytes": one.size,
                "reason": one.reason,
            }
            for one in gone
        ]
        sys.stdout.write(json.dumps({"dry_run": arguments.dry_run, "removed": shown}, indent=2) + "\n")
        return 0
    for one in gone:
        sys.stdout.write(f"{one.run.run_id}\t{one.part}\t{size_text(one.size)}\t{one.reason}\n")
    say(told(gone, dry_run=arguments.dry_run))
    return 0


def prune(retention: Retention, below: Path, *, dry_run: bool = False, nights: bool = False) -> list[Removal]:
    """Remove what the rules say of the runs below a folder, and keep the images that a bisection needs.

    Args:
        nights: only runs of nights.
    """

    def plan(connection: sqlite3.Connection) -> list[Removal]:
        needed = needed_runs(tests(connection))
        if not dry_run:
            keep_images(connection, needed)
        return removals(run_folders(connection, below, needed, nights=nights), retention, wall_clock())

    gone = looked_at(plan)
    done = []
    for one in gone:
        try:
            if not dry_run:
                remove(one)
            done.append(one)
        except HostError as error:
            say(f"warning: {error.brief}")
    return done


def told(gone: list[Removal], *, dry_run: bool) -> str:
    """One line: how much went."""
    whole = sum(one.part == "all" for one in gone)
    verb = "would go" if dry_run else "went"
    size = size_text(sum(one.size for one in gone))
    return f"old runs: {size} {verb}, of {len(gone)} runs; {whole} of them wholly"
