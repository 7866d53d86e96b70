"""The mathematics of rare failures: what a few runs say of the rate at which a test fails. Pure.

>>> round(share_above(1.5, 19.5, 0.02), 2)
0.85
>>> round(failure_rate(0, 20).high, 2)
0.12
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cache
from statistics import median

JEFFREYS = 0.5  # what is added to failures and passes before anything was seen
ITERATIONS = 300
TINY = 1e-300
PRECISE = 1e-12
TO_SIGMA = 1.4826  # the median deviation of a normal distribution, as a standard deviation
SAME_WINDOW = 14  # values on each side of a comparison


@dataclass(frozen=True, slots=True)
class Rate:
    """A rate of failure, 0 to 1: the middle of what it may be, and where it is with 95 %."""

    mean: float
    low: float
    high: float


@cache
def failure_rate(failures: int, passes: int) -> Rate:
    """The Jeffreys interval. Without a failure it begins at 0, without a pass it ends at 1."""
    a, b = failures + JEFFREYS, passes + JEFFREYS
    low = 0.0 if failures == 0 else _quantile(a, b, 0.025)
    high = 1.0 if passes == 0 else _quantile(a, b, 0.975)
    return Rate(a / (a + b), low, high)


@cache
def rate_above(failures: int, passes: int, limit: float) -> float:
    """How probable it is that the rate is above a limit, after so many failures and passes."""
    return share_above(failures + JEFFREYS, passes + JEFFREYS, limit)


def share_above(a: float, b: float, x: float) -> float:
    """The part of a Beta distribution above ``x``."""
    return 1.0 - _share_below(a, b, x)


def _share_below(a: float, b: float, x: float) -> float:
    """The regularised incomplete beta function, by its continued fraction (Lentz)."""
    if x <= 0.0:
        return 0.0
    if x >= 1.0:
        return 1.0
    front = math.exp(math.lgamma(a + b) - math.lgamma(a) - math.lgamma(b) + a * math.log(x) + b * math.log1p(-x))
    if x < (a + 1.0) / (a + b + 2.0):
        return front * _fraction(a, b, x) / a
    return 1.0 - front * _fraction(b, a, 1.0 - x) / b


def _fraction(a: float, b: float, x: float) -> float:
    c, d = 1.0, 1.0 / _away_from_zero(1.0 - (a + b) * x / (a + 1.0))
    result = d
    for m in range(1, ITERATIONS):
        for numerator in (
            m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m)),
            -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1)),
        ):
            d = 1.0 / _away_from_zero(1.0 + numerator * d)
            c = _away_from_zero(1.0 + numerator / c)
            result *= d * c
        if abs(d * c - 1.0) < PRECISE:
            break
    return result


def _away_from_zero(value: float) -> float:
    return value if abs(value) > TINY else TINY


def _quantile(a: float, b: float, share: float) -> float:
    low, high = 0.0, 1.0
    for _ in range(60):
        middle = (low + high) / 2
        if _share_below(a, b, middle) < share:
            low = middle
        else:
            high = middle
    return (low + high) / 2


def rate_text(rate: Rate, runs: int) -> str:
    """A rate as people read it: never 0 %, which nobody has seen.

    >>> rate_text(Rate(0.02, 0.0, 0.14), 20)
    'in at most 14 % of 20 runs'
    """
    low, high = (f"{value:.0%}".replace("%", " %") for value in (rate.low, rate.high))
    return f"in at most {high} of {runs} runs" if rate.low <= 0.0 else f"in {low} to {high} of {runs} runs"


def repetitions(rate: float, doubt: float = 0.05) -> int | None:
    """How many passes in a row say that what fails at a rate does not fail any more; None: it never fails.

    >>> repetitions(0.5), repetitions(0.1), repetitions(1.0)
    (5, 29, 1)
    """
    if rate <= 0.0:
        return None
    if rate >= 1.0:
        return 1
    return max(1, math.ceil(math.log(doubt) / math.log1p(-rate)))


@dataclass(frozen=True, slots=True)
class Drift:
    """Medians in seconds, before and now."""

    before: float
    now: float


def drift(seconds: Sequence[float], window: int = SAME_WINDOW) -> Drift | None:
    """Whether the last values are others than those before them; None: they are not, or there are too few.

    A fifth of the median and half a second are too little to be told, whatever they are compared with.

    >>> drift([1.0, 1.1] * 7 + [2.0, 2.1] * 7)
    Drift(before=1.05, now=2.05)
    """
    if len(seconds) < 2 * window:
        return None
    old, new = list(seconds[-2 * window : -window]), list(seconds[-window:])
    before, now = median(old), median(new)
    spread = TO_SIGMA * median(abs(one - before) for one in old)
    # Of a median of n values, 1.25 σ / √n; three of that.
    least = max(3 * 1.25 * spread / math.sqrt(window), 0.2 * before, 0.5)
    return Drift(before, now) if abs(now - before) > least else None
