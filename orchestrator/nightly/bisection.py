"""Which change broke a test: first on which axis, then at which commit. The probes are somebody else's. Pure.

An axis is something that a run was made of and that can be put back: the suite, a layer, the topology. Points of
an axis are in order, the good one first, the bad one last.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Literal

ProbeResult = Literal["good", "bad", "unknown"]
Point = Mapping[str, str]  # axis → commit
Probe = Callable[[Point], Awaitable[ProbeResult]]


@dataclass(frozen=True, slots=True)
class Axis:
    """What differs between the good and the bad run.

    Attributes:
        good, bad: the commits.
        commits: those after ``good`` up to ``bad``, oldest first.
    """

    name: str
    good: str
    bad: str
    commits: tuple[str, ...] = ()


@dataclass(slots=True)
class Finding:
    """What a bisection came to.

    Attributes:
        axis: the guilty one; empty: none alone is.
        first_bad: the first bad commit, or the possible ones where some could not be tried.
        why: what is known, in a sentence.
        probes: how many were made.
    """

    axis: str = ""
    first_bad: list[str] = field(default_factory=list)
    why: str = ""
    probes: int = 0


async def bisect(axes: Sequence[Axis], probe: Probe) -> Finding:
    """Find the axis by putting back one at a time, then the commit by halves. It stops where nothing can be said."""
    found = Finding()

    async def ask(point: Point) -> ProbeResult:
        found.probes += 1
        return await probe(point)

    bad_point = {axis.name: axis.bad for axis in axes}
    answer = await ask(bad_point)
    if answer != "bad":
        found.why = (
            "the failure does not happen any more with everything as it was in the bad run: it has another cause than "
            "what is compared here, or is rarer than the repetitions"
            if answer == "good"
            else "the bad run cannot be repeated"
        )
        return found
    axis = await _guilty(axes, bad_point, ask, found)
    if axis is None:
        return found
    found.axis = axis.name
    await _first_bad(axis, bad_point, ask, found)
    return found


async def _guilty(
    axes: Sequence[Axis], bad_point: Point, ask: Callable[[Point], Awaitable[ProbeResult]], found: Finding
) -> Axis | None:
    unsure = []
    for axis in axes:
        answer = await ask({**bad_point, axis.name: axis.good})
        if answer == "good":
            return axis
        if answer == "unknown":
            unsure.append(axis.name)
    if len(axes) > 1 and await ask({axis.name: axis.good for axis in axes}) == "good":
        found.why = "no axis alone is guilty: the good run passes, and with one part put back it still fails"
    else:
        found.why = "it also fails with everything that can be put back as it was in the good run"
    if unsure:
        found.why += f"; could not be tried: {', '.join(unsure)}"
    return None


async def _first_bad(
    axis: Axis, bad_point: Point, ask: Callable[[Point], Awaitable[ProbeResult]], found: Finding
) -> None:
    """Halve the commits; those that cannot be tried are stepped over, and stay possible."""
    commits = list(axis.commits) or [axis.bad]
    low, high = -1, len(commits) - 1  # low is good, high is bad
    untried: set[int] = set()
    while True:
        inside = [index for index in range(low + 1, high) if index not in untried]
        if not inside:
            break
        middle = inside[len(inside) // 2]
        answer = await ask({**bad_point, axis.name: commits[middle]})
        if answer == "good":
            low = middle
        elif answer == "bad":
            high = middle
        else:
            untried.add(middle)
    found.first_bad = commits[low + 1 : high + 1]
    if len(found.first_bad) == 1:
        found.why = f"{axis.name}: it passes before {found.first_bad[0][:12]} and fails with it"
    else:
        found.why = f"{axis.name}: one of {len(found.first_bad)} commits; all but the last could not be tried"
