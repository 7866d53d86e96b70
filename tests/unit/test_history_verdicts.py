"""What runs say of a test: flaky, broken, new, fixed; and how sure that is."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts/lib"))

import flake_table

from orchestrator.history.statistics import drift, failure_rate, rate_above, repetitions, share_above
from orchestrator.history.verdicts import Observation, judge


def observed(text: str) -> list[Observation]:
    """Runs from words such as ``b:fpp``: the revision set, then each attempt; ``!`` at the end: infrastructure."""
    found = []
    for number, word in enumerate(text.split()):
        revision, _, attempts = word.removesuffix("!").rpartition(":")
        results = tuple(one == "p" for one in attempts)
        found.append(Observation(f"r{number}", revision or "a", results, word.endswith("!")))
    return found


@pytest.mark.parametrize(
    ("runs", "state"),
    [
        ("p", "new"),
        ("p p p p", "ok"),
        ("p p p p p f", "unknown"),  # one failure accuses nobody
        ("p p p p fp p fp p p p p p", "flaky"),
        ("p p p p f p f p p p", "flaky"),  # pass and failure on one revision set
        ("p p p p p p b:f b:f b:f", "broken"),
        ("p p p p p p b:ffff", "broken"),  # the first night, by its repetitions in fresh states
        ("ffff", "broken"),  # it never passed
        ("p p p p p b:ffff c:p", "fixed"),
        ("p p p p p b:ffff c:p c:p c:p c:p c:p c:p c:p c:p c:p c:p", "ok"),
        ("p b:f c:p d:f e:p", "ok"),  # each failure may be its revision's
        ("p p p p p f! f! f!", "ok"),
        ("f! f!", "unknown"),
    ],
)
def test_the_verdict(runs: str, state: str) -> None:
    assert judge(observed(runs)).state == state


def test_a_regression_is_none_of_the_tests_failures() -> None:
    verdict = judge(observed("p p p p p p p b:ffff b:ffff"))
    assert (verdict.state, verdict.since, verdict.last_good) == ("broken", "r7", "r6")
    assert verdict.failures == 0


def test_a_flaky_test_is_not_broken_by_a_streak_that_it_has_now_and_then() -> None:
    assert judge(observed("fp p fp fp p fp p fp fp f f f")).state == "flaky"


def test_a_flaky_test_is_fixed_when_it_would_have_failed_again() -> None:
    flaky = "fp fp p fp p fp p "
    assert judge(observed(flaky + "b:p b:p")).state != "fixed"
    assert judge(observed(flaky + "b:p " * 8)).state == "fixed"
    assert judge(observed(flaky + "a:p " * 8)).state == "flaky", "nothing changed that could have fixed it"


@pytest.mark.parametrize(("rate", "nights"), [(0.0, 30), (0.001, 30), (0.005, 14), (0.005, 30)])
def test_hardly_any_test_is_accused_wrongly(rate: float, nights: int) -> None:
    counts = flake_table.called(rate, nights, reruns=3, tests=500)
    assert max(counts["flaky"], counts["broken"]) <= 5, counts


def test_a_test_that_fails_often_is_found() -> None:
    assert flake_table.called(0.2, 30, reruns=3, tests=200)["flaky"] >= 180


def test_no_failure_is_not_a_rate_of_zero() -> None:
    """Known values of the Jeffreys interval: 0 of 20 and 1 of 20."""
    assert (failure_rate(0, 20).low, round(failure_rate(0, 20).high, 3)) == (0.0, 0.117)
    one = failure_rate(1, 19)
    assert (round(one.low, 4), round(one.high, 3)) == (0.0054, 0.211)
    assert rate_above(0, 3, 0.02) < 0.95


@given(st.integers(0, 200), st.integers(0, 200))
def test_the_interval_holds_what_was_seen(failures: int, passes: int) -> None:
    rate = failure_rate(failures, passes)
    assert 0.0 <= rate.low <= rate.mean <= rate.high <= 1.0
    if failures + passes:
        assert rate.low <= failures / (failures + passes) <= rate.high


@given(st.floats(0.5, 60), st.floats(0.5, 60), st.floats(0.001, 0.999))
def test_both_sides_of_a_beta_distribution_are_one(a: float, b: float, x: float) -> None:
    assert share_above(a, b, x) + share_above(b, a, 1 - x) == pytest.approx(1.0, abs=1e-9)


def test_repetitions_grow_with_rarity() -> None:
    found = [repetitions(rate) for rate in (0.9, 0.5, 0.2, 0.05, 0.01)]
    assert found == [2, 5, 14, 59, 299]
    assert repetitions(0.0) is None


def test_a_duration_that_drifts() -> None:
    steady = [2.0, 2.1, 1.9, 2.05] * 7
    assert drift(steady) is None
    assert drift([*steady[:14], *(one + 3 for one in steady[:14])]) is not None
    assert drift([*steady[:14], *(one + 0.1 for one in steady[:14])]) is None, "too little to be told"
    assert drift(steady[:20]) is None, "too few"
    noisy = [1.0, 9.0] * 7
    assert drift([*noisy, *(one + 1 for one in noisy)]) is None
