"""What came of a round of `dev`, as text. Pure."""

from __future__ import annotations

from orchestrator.events import Event
from orchestrator.events.dev import DevCycleEnded, DevStateChanged
from orchestrator.text import WORD, clean, duration_text

LINE = 300
STATES = {"waiting": "waiting for a change", "deploying": "deploying", "testing": "testing", "starting": "starting"}


def dev_line(event: Event) -> str | None:
    """The line for an event of the loop; None for others, and where others tell of it."""
    if isinstance(event, DevCycleEnded):
        return round_line(event)
    if isinstance(event, DevStateChanged) and event.state != "starting":
        return state_text(event)
    return None


def state_text(event: DevStateChanged) -> str:
    """``deploying: app/lib/main.py``."""
    detail = clean(event.detail, LINE)
    return STATES.get(event.state, clean(event.state, WORD)) + (f": {detail}" if detail else "")


def round_line(event: DevCycleEnded) -> str:
    """One line: what was changed, what was done, how it went, how long it took."""
    mark = {"passed": "✔", "failed": "✘", "error": "✘"}.get(event.outcome, "–")
    head = f"{mark} {event.number} {clean(event.cause, LINE)}"
    if event.outcome == "unchanged":
        return f"{head}: nothing changed"
    parts = []
    if event.deployed:
        parts.append(f"{clean(event.deployed, LINE)} ({duration_text(event.deploy_seconds)})")
    if event.outcome == "error":
        parts.append(clean(event.error, LINE))
    elif event.outcome == "superseded":
        parts.append("the next change came while tests ran")
    elif event.tests:
        counts = [f"{event.passed} passed"] if event.passed or not event.failed else []
        counts += [f"{event.failed} failed"] if event.failed else []
        parts.append(f"{', '.join(counts)} ({duration_text(event.test_seconds)})")
    return f"{head}: {'; '.join(parts) or clean(event.outcome, WORD)}; {duration_text(event.elapsed)}"
