"""The two ends of a bisection: what differs between a good and a bad run, and what of it can be put back."""

from __future__ import annotations

import re
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.errors import HostError, UsageError
from orchestrator.history.queries import TestHistory, find_run, tests
from orchestrator.history.statistics import repetitions
from orchestrator.nightly.bisection import Axis
from orchestrator.nightly.worktrees import commits_between

COMMIT = re.compile(r"[0-9a-f]{40}")
MOST = 30  # repetitions of one probe


@dataclass(frozen=True, slots=True)
class Difference:
    """A part of the runs that differs: what it was in each."""

    kind: str
    good: str
    bad: str
    good_label: str
    bad_label: str
    folder: str

    @property
    def can_be_put_back(self) -> bool:
        """Whether both of its states are commits of one folder."""
        labels = (self.good_label, self.bad_label)
        return bool(self.folder) and all(COMMIT.fullmatch(one) for one in labels) and self.good_label != self.bad_label


@dataclass(frozen=True, slots=True)
class Ends:
    """Where a bisection begins.

    Attributes:
        repeat: how often a probe runs the test before it is called good.
    """

    test: TestHistory
    good: str
    bad: str
    variant: str
    topology: Path
    parts: tuple[Difference, ...]
    repeat: int


def ends_of(connection: sqlite3.Connection, word: str, good: str | None, bad: str | None, topology: Path) -> Ends:
    """The runs to compare: those named, else what the verdict says.

    Raises:
        UsageError: the test or a run is not known, or there is nothing to compare.
    """
    found = tests(connection, word=word, last=None)
    if good is None or bad is None:
        found = [one for one in found if one.verdict.state == "broken" and one.verdict.last_good] or found
    if len(found) != 1:
        raise UsageError(
            f"{len(found)} tests have {word!r} in their titles" if found else f"no test has {word!r} in its title",
            evidence=[one.key.shown for one in found[:10]],
            hint="write more of the title",
        )
    (test,) = found
    rows: list[sqlite3.Row] = []
    for given, own in ((good, test.verdict.last_good), (bad, test.verdict.since)):
        row = find_run(connection, given or own) if given or own else None
        if row is None:
            raise UsageError(
                f"which run is {'good' if not rows else 'bad'}?",
                why=f"the test is {test.verdict.state}: no run is known to be the last good and none the first bad one",
                hint="--good RUN --bad RUN",
            )
        rows.append(row)
    parts = _parts(connection, rows[0]["run_id"], rows[1]["run_id"])
    if not parts:
        raise UsageError(
            "nothing differs between these runs",
            why="all their digests are equal, so the test fails now and then, or something outside of them changed",
            hint=f"orchestrator history test {word!r}",
        )
    return Ends(test, rows[0]["run_id"], rows[1]["run_id"], rows[1]["variant"], topology, parts, _repeat(test))


def _repeat(test: TestHistory) -> int:
    """How often it must pass: once where it always fails, more often for one that fails now and then."""
    failed = sum(one.results.count(False) for one in test.observations if not all(one.results))
    mixed = sum(len(one.results) for one in test.observations if not all(one.results))
    if test.verdict.state == "broken" or not mixed or failed == mixed:
        return 1
    return min(MOST, repetitions(failed / mixed) or 1)


def _parts(connection: sqlite3.Connection, good: str, bad: str) -> tuple[Difference, ...]:
    def of(run_id: str) -> Mapping[str, sqlite3.Row]:
        rows = connection.execute("SELECT * FROM revision WHERE run_id = ?", (run_id,)).fetchall()
        return {row["kind"]: row for row in rows}

    before, after = of(good), of(bad)
    found = []
    for kind in sorted({*before, *after}):
        old, new = before.get(kind), after.get(kind)
        if old is None or new is None or old["digest"] != new["digest"]:
            texts = {
                "good": old["digest"] if old else "",
                "bad": new["digest"] if new else "",
                "good_label": old["label"] if old else "",
                "bad_label": new["label"] if new else "",
                "folder": new["folder"] if new else "",
            }
            found.append(Difference(kind, **texts))
    return tuple(found)


async def axes_of(parts: Sequence[Difference], topology: Path) -> tuple[list[Axis], list[str]]:
    """What can be put back, with its commits; and why the rest cannot, a line each."""
    axes, cannot = [], []
    for part in parts:
        folder = Path(part.folder or topology.parent)
        if not (part if part.folder else _with_folder(part, folder)).can_be_put_back or part.kind.startswith("image "):
            hint = ""
            if part.kind.startswith("image "):
                hint = f": orchestrator images diff {part.good[:16]} {part.bad[:16]}"
            cannot.append(f"{part.kind} differs, and is no commit that could be put back{hint}")
            continue
        try:
            commits = await commits_between(folder, part.good_label, part.bad_label)
        except HostError as error:
            cannot.append(f"{part.kind}: {error.brief}")
            continue
        axes.append(Axis(part.kind, part.good_label, part.bad_label, commits))
    return axes, cannot


def _with_folder(part: Difference, folder: Path) -> Difference:
    return Difference(part.kind, part.good, part.bad, part.good_label, part.bad_label, str(folder))
