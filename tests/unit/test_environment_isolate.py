"""What a suite's runner lists, as the parts that each get a world of their own; and what parts come to together."""

from __future__ import annotations

import pytest

from orchestrator.environment.isolate import selectors
from orchestrator.environment.suite import NO_TEST_RAN, Counts, Outcome

# Playwright 1.5x, and with projects; noise of a suite's own output among it.
LISTING = """\
Listing tests:
  conversations.spec.ts:4:5 › a created conversation is still there
  conversations.spec.ts:17:5 › a message is answered › in time
  deep/er/page.spec.ts:9:3 › on a phone › fits the screen
  [chromium] › data.test.mts:3:1 › one
  [firefox] › data.test.mts:3:1 › one
::e2e {"event":"begin","title":"x.spec.ts:1:1 › not a listed test"}
reading x.spec.ts:1:1
Total: 5 tests in 3 files
"""


def test_files_and_tests_each_once_in_their_order() -> None:
    lines = LISTING.splitlines()
    assert selectors(lines, "file") == ["conversations.spec.ts", "deep/er/page.spec.ts", "data.test.mts"]
    assert selectors(lines, "test") == [
        "conversations.spec.ts:4", "conversations.spec.ts:17", "deep/er/page.spec.ts:9", "data.test.mts:3",
    ]  # fmt: skip
    assert selectors(["Listing tests:", "Total: 0 tests in 0 files"], "file") == []


@pytest.mark.parametrize(
    ("codes", "code", "broken"),
    [([0, 0], 0, False), ([0, NO_TEST_RAN], 0, False), ([NO_TEST_RAN, NO_TEST_RAN], NO_TEST_RAN, False),
     ([0, 3, 0], 3, True), ([1, 0], 1, False), ([1, 130, 1], 130, True)],
)  # fmt: skip
def test_of_a_phases_parts_the_worst_counts(codes: list[int], code: int, broken: bool) -> None:
    outcome = Outcome()
    for one in codes:
        outcome.add("stack", one, Counts(passed=1, failed=int(one == 1), errors=("e",) if one == 3 else ()))
    assert outcome.phases["stack"][0] == code
    assert outcome.ran == len(codes) + codes.count(1)
    assert outcome.failed == codes.count(1)
    assert bool(outcome.broken) is broken
