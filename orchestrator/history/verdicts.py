"""What the runs of one test say of it: ok, new, flaky, broken, fixed, or not known yet. Pure.

A failure proves that a test is flaky only if the same thing passed as well: all digests of the run
equal (one revision set), or a retry. A failure that begins with another revision is none of the test's own.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import Literal

from orchestrator.history.statistics import Rate, failure_rate, rate_above, repetitions

State = Literal["ok", "new", "flaky", "broken", "fixed", "unknown"]

TOLERATED = 0.02  # a rate below this is none of a flaky test
SURE = 0.95  # how probable it must be that the rate is above that
FLAKES = 2  # with one failure alone nobody is accused
STREAK = 3  # failures without a pass between them, for broken
BY_CHANCE = 0.03  # a streak that a flaky test has as often as this, proves nothing
YOUNG = 3  # runs of a test that is new
RECENT = 60  # runs that count


@dataclass(frozen=True, slots=True)
class Observation:
    """What a test did in one run.

    Attributes:
        run_id: the run.
        revision_set: what it ran on.
        results: of each attempt in their order: whether it passed.
        infrastructure: the run says nothing about its tests.
    """

    run_id: str
    revision_set: str
    results: tuple[bool, ...]
    infrastructure: bool = False


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is known of a test.

    Attributes:
        rate: at which it fails by itself, without what a revision broke.
        runs: runs that count.
        failures: those among its attempts that were no revision's fault.
        since: the first run of what holds now (broken, fixed); empty: no such run.
        last_good: the last run before that in which it passed.
    """

    state: State
    rate: Rate
    runs: int
    failures: int
    passes: int
    since: str = ""
    last_good: str = ""


@dataclass(slots=True)
class _Set:
    """All attempts on one revision set."""

    passes: int = 0
    failures: int = 0

    @property
    def mixed(self) -> bool:
        return self.passes > 0 and self.failures > 0


@dataclass(slots=True)
class _Tail:
    """The failures at the end without a pass between them, and what was before."""

    failures: int = 0
    runs: list[Observation] = field(default_factory=list)
    before: list[Observation] = field(default_factory=list)


def judge(observations: Sequence[Observation], recent: int = RECENT) -> Verdict:
    """The verdict on a test, from its runs in their order."""
    counted = [one for one in observations if not one.infrastructure and one.results]
    window = counted[-recent:]
    if not window:
        return Verdict("unknown", failure_rate(0, 0), 0, 0, 0)
    tail = _tail(window)
    own = _own_failures(tail.before if _broken(tail) else window)
    passes = sum(sum(one.results) for one in window)
    rate = failure_rate(own, passes)
    last_good = _last_good(tail.before)
    if _broken(tail):
        return Verdict("broken", rate, len(window), own, passes, tail.runs[0].run_id, last_good)
    if fixed := _fixed(window):
        return Verdict("fixed", failure_rate(0, _passes_since(window, fixed)), len(window), 0, passes, fixed)
    if own >= FLAKES and passes and rate_above(own, passes, TOLERATED) > SURE:
        return Verdict("flaky", rate, len(window), own, passes, last_good=last_good)
    if tail.runs or own:
        since = tail.runs[0].run_id if tail.runs else ""
        return Verdict("unknown", rate, len(window), own, passes, since, last_good)
    state: State = "new" if len(counted) < YOUNG else "ok"
    return Verdict(state, rate, len(window), own, passes, last_good=last_good)


def _tail(window: Sequence[Observation]) -> _Tail:
    tail = _Tail(before=list(window))
    while tail.before and not any(tail.before[-1].results):
        last = tail.before.pop()
        tail.runs.insert(0, last)
        tail.failures += len(last.results)
    return tail


def _broken(tail: _Tail) -> bool:
    """Whether the failures at the end are more than chance makes of what the test did before."""
    if tail.failures < STREAK:
        return False
    if not tail.before:
        return True  # it never passed
    own = _own_failures(tail.before)
    passes = sum(sum(one.results) for one in tail.before)
    rate = failure_rate(own, passes)
    # What passed before on the very same revision may fail at the highest rate that is still likely.
    same = any(one.revision_set == tail.runs[0].revision_set for one in tail.before)
    return float(rate.high if same else rate.mean) ** tail.failures < BY_CHANCE


def _own_failures(window: Iterable[Observation]) -> int:
    """Failures on revision sets that passed as well."""
    sets: dict[str, _Set] = {}
    for one in window:
        found = sets.setdefault(one.revision_set, _Set())
        found.passes += sum(one.results)
        found.failures += len(one.results) - sum(one.results)
    return sum(found.failures for found in sets.values() if found.mixed)


def _fixed(window: Sequence[Observation]) -> str:
    """The first run of a revision set since which a broken or flaky test passes; empty: there is none.

    It must pass often enough that what was before would have failed again; soon it is plainly ok.
    """
    now = window[-1].revision_set
    begin = len(window)
    while begin and all(window[begin - 1].results):
        begin -= 1
    good = window[begin:]
    while good and begin and good[0].revision_set == window[begin - 1].revision_set:
        good, begin = good[1:], begin + 1  # passes on what also failed prove nothing
    if not good or good[-1].revision_set != now or begin == 0 or len(good) > STREAK * 3:
        return ""
    before = window[:begin]
    tail = _tail(before)
    passes = sum(len(one.results) for one in good)
    if _broken(tail):
        return good[0].run_id
    own, had = _own_failures(before), sum(sum(one.results) for one in before)
    if own < FLAKES or rate_above(own, had, TOLERATED) <= SURE:
        return ""
    needed = repetitions(failure_rate(own, had).mean)
    return good[0].run_id if needed is not None and passes >= needed else ""


def _passes_since(window: Sequence[Observation], run_id: str) -> int:
    begin = next(index for index, one in enumerate(window) if one.run_id == run_id)
    return sum(sum(one.results) for one in window[begin:])


def _last_good(before: Sequence[Observation]) -> str:
    return next((one.run_id for one in reversed(before) if any(one.results)), "")
