"""What is removed of old runs: first what is large, later the rest; never what is pinned or a bisection needs. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

from orchestrator.text import duration_text, size_text
from orchestrator.topology.nightly import Retention

Extent = Literal["large", "all"]
GOOD = frozenset({"passed", "suspicious"})
UNDER_WAY = 86_400.0  # seconds in which a run without an end may still go on


@dataclass(frozen=True, slots=True)
class Kept:
    """A run folder.

    Attributes:
        started: seconds since the epoch.
        good: it passed, and nothing in it was flaky.
        finished: it told its end.
        large: bytes of it that are no evidence.
        evidence: bytes of events, summary and JUnit file.
        needed: why it is never removed; empty: it may be.
    """

    run_id: str
    folder: str
    started: float
    good: bool
    finished: bool
    large: int
    evidence: int
    needed: str = ""


@dataclass(frozen=True, slots=True)
class Removal:
    """What goes: ``large`` leaves the evidence, ``all`` nothing."""

    run: Kept
    part: Extent
    reason: str

    @property
    def size(self) -> int:
        return self.run.large + (self.run.evidence if self.part == "all" else 0)


def removals(runs: Sequence[Kept], retention: Retention, now: float) -> list[Removal]:
    """What the rules remove of these runs, the oldest first."""
    free = [run for run in sorted(runs, key=lambda run: run.started) if _may_go(run, now)]
    good = [run.run_id for run in sorted(runs, key=lambda run: run.started) if run.good]
    newest_good = frozenset(good[len(good) - retention.passed_runs :] if retention.passed_runs else ())
    found: dict[str, Removal] = {}
    for run in free:
        age = now - run.started
        limit = retention.passed if run.good else retention.failed
        if age > retention.evidence:
            found[run.folder] = Removal(run, "all", f"older than {duration_text(retention.evidence)}")
        elif run.large and age > limit and run.run_id not in newest_good:
            word = "passed" if run.good else "failed"
            found[run.folder] = Removal(run, "large", f"{word}, older than {duration_text(limit)}")
    if retention.size is not None:
        _shrink(runs, free, retention.size, found)
    return sorted(found.values(), key=lambda one: one.run.started)


def _may_go(run: Kept, now: float) -> bool:
    # A clock that was set back makes a run of the future, which is as new as can be.
    return not run.needed and (run.finished or now - run.started > UNDER_WAY)


def _shrink(runs: Sequence[Kept], free: Sequence[Kept], size: int, found: dict[str, Removal]) -> None:
    """Add removals until the rest fits: large files before evidence, what passed before what failed, old before new."""
    total = sum(run.large + run.evidence for run in runs) - sum(one.size for one in found.values())
    reason = f"all runs together have more than {size_text(size)}"
    parts: tuple[Extent, ...] = ("large", "all")
    for part in parts:
        for run in sorted(free, key=lambda run: not run.good):
            if total <= size:
                return
            before = found.get(run.folder)
            if before is not None and (before.part == "all" or part == "large"):
                continue
            removal = Removal(run, part, reason)
            total -= removal.size - (before.size if before is not None else 0)
            if removal.size:
                found[run.folder] = removal
