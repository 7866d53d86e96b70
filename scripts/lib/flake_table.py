"""How often the verdict on a test is wrong: invented histories of tests whose rate of failure is known.

A night runs each test once; what fails is run again in fresh states, as `nightly` does. Some nights have another
revision, which may break a test until the next one; some nights say nothing, because everything failed.
"""

from __future__ import annotations

import argparse
import random
import sys
from collections import Counter
from dataclasses import dataclass

from orchestrator.history.verdicts import Observation, State, judge

RATES = (0.0, 0.001, 0.005, 0.02, 0.05, 0.1, 0.2, 0.5)
NIGHTS = (7, 14, 30, 60)
HARMLESS = 0.01  # a test that fails less often is not to be called flaky
NEW_REVISION = 0.3  # of the nights
BREAKS = 0.02  # of the revisions break a test
BAD_NIGHT = 0.03  # of the nights say nothing


@dataclass(frozen=True)
class Invented:
    """A test: the observations, and whether the last revision breaks it."""

    observations: list[Observation]
    broken: bool


def invent(chance: random.Random, rate: float, nights: int, reruns: int, *, breaks: float = BREAKS) -> Invented:
    """The nights of one test."""
    revision, broken = 0, False
    found = []
    for night in range(nights):
        if chance.random() < NEW_REVISION:
            revision += 1
            broken = chance.random() < breaks
        if chance.random() < BAD_NIGHT:
            found.append(Observation(str(night), str(revision), (False,), infrastructure=True))
            continue
        results = [not broken and chance.random() >= rate]
        if not results[0]:
            results += [not broken and chance.random() >= rate for _ in range(reruns)]
        found.append(Observation(str(night), str(revision), tuple(results)))
    return Invented(found, broken)


def called(rate: float, nights: int, reruns: int, tests: int, *, breaks: float = BREAKS) -> Counter[State]:
    """How often each verdict was given on tests of a rate that nothing breaks at the end."""
    chance = random.Random(f"{rate} {nights} {reruns} {breaks}")  # an experiment, to be repeated
    found: Counter[State] = Counter()
    while found.total() < tests:
        test = invent(chance, rate, nights, reruns, breaks=breaks)
        if not test.broken:
            found[judge(test.observations).state] += 1
    return found


def main() -> int:
    parser = argparse.ArgumentParser(description=(__doc__ or "").splitlines()[0])
    parser.add_argument("--tests", type=int, default=4000, metavar="N", help="invented tests of each cell [4000]")
    parser.add_argument("--reruns", type=int, default=3, metavar="N", help="repetitions of what failed [3]")
    arguments = parser.parse_args()
    out = sys.stdout
    out.write(f"| fails in | {' | '.join(f'{nights} nights' for nights in NIGHTS)} |\n")
    out.write(f"|---|{'---|' * len(NIGHTS)}\n")
    worst = 0.0
    for rate in RATES:
        cells = []
        for nights in NIGHTS:
            counts = called(rate, nights, arguments.reruns, arguments.tests)
            share = counts["flaky"] / counts.total()
            wrong = (counts["broken"] + (counts["flaky"] if rate < HARMLESS else 0)) / counts.total()
            worst = max(worst, wrong)
            text = f"accused {share:.1%}" if rate < HARMLESS else f"missed {1 - share:.0%}"
            cells.append(
                text + (f", called broken {counts['broken'] / counts.total():.1%}" if counts["broken"] else "")
            )
        out.write(f"| {rate:.1%} of its runs | {' | '.join(cells)} |\n")
    out.write(f"\nworst share of wrong verdicts: {worst:.2%}\n")
    return 0


if __name__ == "__main__":
    sys.exit(main())
