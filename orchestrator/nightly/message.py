"""What a night says in the morning: only what changed, the first cause first. Pure."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from datetime import date, timedelta

from orchestrator.history.queries import TestHistory
from orchestrator.history.verdicts import Verdict, judge
from orchestrator.nightly.model import Night
from orchestrator.topology.nightly import Nightly

GOOD = frozenset({"passed", "suspicious", "flaky"})
NAMED = 10  # tests that a message names
SUBJECTS = {
    "passed": "passed",
    "suspicious": "passed, with log lines to look at",
    "flaky": "passed, with flaky tests",
    "failed": "failed",
    "error": "could not run",
    "interrupted": "was interrupted",
    "nothing-ran": "ran no test",
    "skipped": "was skipped",
}


def note_verdicts(night: Night, found: Sequence[TestHistory]) -> None:
    """Which tests got another verdict by the runs of this night."""
    tonight = {run.run_id for cell in night.cells for run in cell.runs}
    for one in found:
        if not any(seen.run_id in tonight for seen in one.observations):
            continue
        before = _before(one, tonight)
        if one.verdict.state == before.state:
            continue
        if one.verdict.state == "broken":
            night.broken.append(one.key.shown)
        elif one.verdict.state == "fixed":
            night.fixed.append(one.key.shown)
        elif one.verdict.state == "flaky":
            night.newly_flaky.append(one.key.shown)


def _before(one: TestHistory, tonight: Collection[str]) -> Verdict:
    return judge([seen for seen in one.observations if seen.run_id not in tonight])


def changes(
    night: Night, last_outcome: str | None, nightly: Nightly, today: date, failed_before: Collection[str] = ()
) -> list[str]:
    """What is worth a message, a line each; none: the night is as the one before.

    Args:
        last_outcome: of the night before; None: there was none.
        failed_before: the updates that failed in it too.
    """
    found = []
    if night.missed:
        nights = "a night is" if night.missed == 1 else f"{night.missed} nights are"
        found.append(f"{nights} missing before this one: the host was off, or the timer did not fire")
    if night.clock_back:
        found.append("the last night is in the future: the clock of this host was set back")
    was_good = last_outcome in GOOD
    is_good = night.outcome in GOOD
    if last_outcome is None:
        if not is_good:
            found.append(f"the first night {SUBJECTS.get(night.outcome, night.outcome)}")
    elif was_good != is_good:
        found.append(
            f"was: {SUBJECTS.get(last_outcome, last_outcome)}; is: {SUBJECTS.get(night.outcome, night.outcome)}"
        )
    found += _tests("broken now", night.broken)
    found += _tests("flaky", night.newly_flaky)
    found += _tests("fixed", night.fixed)
    failed = [one for one in night.updates if not one.ok and one.what not in failed_before]
    found += [f"update failed: {one.what}: {one.message}" for one in failed]
    if left := [cell.name for cell in night.cells if cell.left_out]:
        found.append(f"no time was left for {', '.join(left)}")
    ended = [one for one in nightly.quarantine if one.until == today - timedelta(days=1)]
    found += [f"the quarantine of {one.test} has ended ({one.reason}): it counts again" for one in ended]
    return found


def _tests(word: str, titles: Sequence[str]) -> list[str]:
    told = [f"{word}: {title}" for title in titles[:NAMED]]
    return [*told, f"… and {len(titles) - NAMED} more {word}"] if len(titles) > NAMED else told


def subject_of(night: Night) -> str:
    """One line."""
    return f"{night.name}: the night {SUBJECTS.get(night.outcome, night.outcome)}"


def message_of(night: Night, told: Sequence[str], link: str) -> str:
    """The whole message: subject, first cause, what changed, each cell, where to look."""
    lines = [subject_of(night)]
    if night.reason:
        lines.append(night.reason)
    if told:
        lines += ["", *(f"- {line}" for line in told)]
    lines.append("")
    for cell in night.cells:
        state = "left out" if cell.left_out else cell.outcome or "not run"
        facts = [f"{cell.tests} tests"] if cell.tests else []
        facts += [
            f"{len(titles)} {word}"
            for word, titles in (
                ("failed", cell.failed),
                ("flaky", cell.flaky),
                ("in quarantine", cell.quarantined),
                ("new", cell.new),
            )
            if titles
        ]
        lines.append(f"{cell.name}: {', '.join([state, *facts])}")
    lines += [f"{one.what}: {one.before[:12]} → {one.after[:12]}" for one in night.updates if one.before != one.after]
    lines += ["", link or str(night.folder)]
    return "\n".join(lines) + "\n"
