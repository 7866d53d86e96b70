"""Which tests are repeated, and what their repetitions make of a cell. Pure."""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable, Sequence
from datetime import date

from orchestrator.history.records import RunRecord, TestRecord
from orchestrator.nightly.model import WORST_FIRST, CellState
from orchestrator.topology.nightly import Nightly

MOST_REPEATED = 20  # where more tests failed, it was not by chance

_SPECIAL = re.compile(r"[.*+?^${}()|\[\]\\/]")


def failed_tests(record: RunRecord) -> list[TestRecord]:
    return [test for test in record.tests if test.status == "failed"]


def to_repeat(record: RunRecord) -> list[TestRecord]:
    """The failed tests whose repetition says something; none where the run itself went wrong, or nearly all failed."""
    failed = failed_tests(record)
    return [] if record.infrastructure or len(failed) > MOST_REPEATED else failed


def new_tests(record: RunRecord, known: Collection[tuple[str, str, str]]) -> list[TestRecord]:
    """Tests that no earlier run had; none where there was no earlier run, or most are new."""
    if not known or record.infrastructure:
        return []
    found = [one for one in record.tests if (one.phase, one.file, one.title) not in known]
    ran = [one for one in found if one.attempts and one.status != "failed"]
    return ran if len(ran) <= MOST_REPEATED else []


def pattern_of(tests: Iterable[TestRecord]) -> str:
    r"""A pattern for ``run --grep`` that finds these tests. A test's title is ``file › group › title``.

    >>> test = TestRecord("all", "a.spec.ts", "[web] › a.spec.ts › group › costs 5 $", "failed", 1.0, ())
    >>> pattern_of([test])
    'group costs 5 \\$'
    """
    found = []
    for test in tests:
        parts = test.title.split(" › ")
        if len(parts) > 1 and parts[0].startswith("["):
            parts = parts[1:]
        if len(parts) > 1 and parts[0] == test.file:
            parts = parts[1:]
        found.append(_SPECIAL.sub(lambda one: f"\\{one[0]}", " ".join(parts)))
    return "|".join(dict.fromkeys(found))


def judge_cell(cell: CellState, first: RunRecord, reruns: Sequence[RunRecord], nightly: Nightly, today: date) -> None:
    """Outcome of a cell from its first run and the repetitions of what failed in it.

    A pass in a fresh state never makes a test green: it makes it flaky.
    """
    passed_again = {
        (test.phase, test.title) for run in reruns for test in run.tests if test.status in ("passed", "flaky")
    }
    failed = failed_tests(first)
    counted = []
    for test in failed:
        if nightly.quarantined(test.title, today):
            cell.quarantined.append(test.title)
        elif (test.phase, test.title) in passed_again:
            cell.flaky.append(test.title)
        else:
            counted.append(test)
            cell.failed.append(test.title)
    cell.flaky += [
        test.title for test in first.tests if test.status == "flaky" and not nightly.quarantined(test.title, today)
    ]
    cell.tests = len(first.tests)
    cell.seconds = first.seconds
    cell.outcome = first.outcome if first.outcome in WORST_FIRST else "error"
    cell.cause = first.cause
    if first.outcome == "failed" and failed and not first.infrastructure.startswith("machine "):
        if counted:
            error = f": {counted[0].error}" if counted[0].error else ""
            cell.cause = f"{len(counted)} of {cell.tests} tests failed, first: {counted[0].title}{error}"
        else:
            unrun = [test for test in first.tests if test.status == "did_not_run"]
            cell.outcome = "failed" if unrun else "passed"
            cell.cause = f"{len(unrun)} tests did not run, first: {unrun[0].title}" if unrun else ""
    if cell.outcome in ("passed", "suspicious") and cell.flaky:
        cell.outcome = "flaky"
        cell.cause = f"{cell.flaky[0]} failed and passed on the same revision"
    cell.exit_code = first.exit_code if first.exit_code is not None and cell.outcome == first.outcome else 0
    if cell.outcome not in ("passed", "suspicious", "flaky") and not cell.exit_code:
        cell.exit_code = 1 if cell.outcome == "failed" else 3
