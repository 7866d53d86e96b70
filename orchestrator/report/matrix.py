"""The reports of a matrix: one summary, one JUnit file, and one page with its cells, the failures first."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, SubElement

from orchestrator.atomic import write_atomically
from orchestrator.report.clones import (
    GREEN,
    NAMED,
    TOTALS,
    WORST_FIRST,
    ClonePart,
    in_no_clone,
    joined_junit,
    json_of,
    suites_of,
)
from orchestrator.report.matrix_page import page_of
from orchestrator.report.summary import SUMMARY_FORMAT
from orchestrator.text import clean

FOLDER = "cells"  # in the run folder: CELL/ATTEMPT/RUN
_LIMIT = 2_000  # characters of a cause


@dataclass(frozen=True, slots=True)
class CellPart:
    """One cell as the reports show it.

    Attributes:
        group: what its shards have in common: which tests ran in none is seen in all of them together.
        folder: its run folder, relative to that of the matrix; empty: it has none.
        began: seconds since the epoch, or 0.
    """

    id: str
    group: str
    outcome: str
    code: int | None
    cause: str = ""
    host: str = ""
    attempt: int = 0
    seconds: float = 0.0
    folder: str = ""
    began: float = 0.0


def write_matrix(run_folder: Path, cells: Sequence[CellPart], about: Mapping[str, Any]) -> dict[str, Any]:
    """Write ``summary.json``, ``junit.xml`` and ``report/index.html``; the summary.

    Args:
        about: what the summary says of the whole: run, topology, command, seconds, hosts; ``left`` has what could
            not be ended.
    """
    parts = {cell.id: _part(run_folder, cell) for cell in cells}
    missing = _missing(cells, parts)
    summary = summary_of(cells, parts, about, missing)
    write_atomically(run_folder / "summary.json", json.dumps(summary, indent=2) + "\n", mode=0o644)
    write_atomically(run_folder / "junit.xml", junit_of(cells, parts, missing), mode=0o644)
    (run_folder / "report").mkdir(exist_ok=True)
    write_atomically(run_folder / "report" / "index.html", page_of(summary), mode=0o644)
    return summary


def write_again(run_folder: Path) -> dict[str, Any]:
    """The reports once more, from the summary that is there and the cells' own reports."""
    before = json_of(run_folder / "summary.json")
    cells = [
        CellPart(
            id=str(one.get("id", "")),
            group=str(one.get("group", "")),
            outcome=str(one.get("outcome", "error")),
            code=one.get("exit_code") if isinstance(one.get("exit_code"), int) else None,
            cause=str(one.get("cause") or ""),
            host=str(one.get("host", "")),
            attempt=int(one.get("attempt", 0)),
            seconds=float(one.get("seconds", 0.0)),
            folder=str(one.get("run_folder") or ""),
            began=float(one.get("began", 0.0)),
        )
        for one in before.get("cells", ())
        if isinstance(one, dict)
    ]
    about = {key: value for key, value in before.items() if key not in OWN}
    return write_matrix(run_folder, cells, about)


OWN = frozenset({"format", "outcome", "exit_code", "cause", "tests", "missing", "cells"})


def _part(run_folder: Path, cell: CellPart) -> ClonePart:
    folder = run_folder / cell.folder if cell.folder else None
    return ClonePart(cell.id, folder, json_of(folder / "summary.json") if folder else {})


def _missing(cells: Sequence[CellPart], parts: Mapping[str, ClonePart]) -> list[str]:
    """Tests that the shards of a group know, and that none of them was to run; of groups that ran wholly."""
    groups: dict[str, list[CellPart]] = {}
    for cell in cells:
        groups.setdefault(cell.group, []).append(cell)
    found: list[str] = []
    for group in groups.values():
        if len(group) > 1 and all(one.outcome in GREEN or one.outcome == "failed" for one in group):
            found += in_no_clone([parts[one.id] for one in group])
    return found


def worst(cells: Sequence[CellPart]) -> tuple[str, int]:
    """Outcome and exit code of all cells together. Pure."""
    if not cells:
        return "error", 3
    known = [
        (one.outcome if one.outcome in WORST_FIRST else "error", 3 if one.code is None else one.code) for one in cells
    ]
    return min(known, key=lambda one: (WORST_FIRST.index(one[0]), -one[1]))


def summary_of(
    cells: Sequence[CellPart], parts: Mapping[str, ClonePart], about: Mapping[str, Any], missing: Sequence[str]
) -> dict[str, Any]:
    """``summary.json``. Pure."""
    outcome, code = worst(cells)
    bad = [one for one in cells if one.outcome not in GREEN]
    cause = f"{len(bad)} of {len(cells)} cells: {bad[0].id}: {bad[0].cause or bad[0].outcome}" if bad else ""
    if missing and outcome in GREEN:
        outcome, code = "failed", 1
        cause = f"{len(missing)} browser tests ran in no cell, first: {missing[0]}"
    if about.get("left") and outcome in GREEN:
        outcome, code = "error", 3
        cause = f"something was left: {about['left'][0]}"
    tests = {word: sum(_counts(parts[one.id]).get(word, 0) for one in cells) for word in TOTALS}
    tests["did_not_run"] += len(missing)
    return {
        "format": SUMMARY_FORMAT,
        "outcome": outcome,
        "exit_code": code,
        "cause": clean(cause, _LIMIT),
        **about,
        "tests": tests,
        "missing": list(missing[:NAMED]),
        "cells": [
            {
                "id": one.id,
                "group": one.group,
                "outcome": one.outcome,
                "exit_code": one.code,
                "cause": clean(one.cause, _LIMIT),
                "host": one.host,
                "attempt": one.attempt,
                "seconds": one.seconds,
                "began": one.began,
                "tests": _counts(parts[one.id]),
                "run_folder": one.folder or None,
            }
            for one in cells
        ],
    }


def _counts(part: ClonePart) -> dict[str, int]:
    found = part.summary.get("tests")
    known = found if isinstance(found, dict) else {}
    return {word: known[word] for word in TOTALS if isinstance(known.get(word), int)}


def junit_of(cells: Sequence[CellPart], parts: Mapping[str, ClonePart], missing: Sequence[str]) -> str:
    """One JUnit text: every cell's suites, named after it; of a cell without any, itself as a case."""
    suites = ((cell.id, one) for cell in cells for one in suites_of(parts[cell.id]) or [_own_suite(cell)])
    return joined_junit("matrix", "cell", suites, missing)


def _own_suite(cell: CellPart) -> Element:
    failed, broken = cell.outcome == "failed", cell.outcome not in GREEN and cell.outcome != "failed"
    counts = {"tests": "1", "failures": str(int(failed)), "errors": str(int(broken)), "skipped": "0"}
    suite = Element("testsuite", {"name": "cell", **counts, "time": f"{cell.seconds:.3f}"})
    case = SubElement(suite, "testcase", classname="cell", name=clean(cell.id, 200), time=f"{cell.seconds:.3f}")
    if failed or broken:
        message = clean(cell.cause or cell.outcome, _LIMIT)
        SubElement(case, "failure" if failed else "error", message=message, type=cell.outcome)
    return suite
