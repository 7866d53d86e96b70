"""Events as entries of a timeline: one line each, and how much it matters. Pure."""

from __future__ import annotations

from orchestrator.events import Event
from orchestrator.events.machines import (
    ImageStateChanged,
    LogMatched,
    MachineClock,
    MachineStateChanged,
    NetworkStateChanged,
    ScreenshotTaken,
)
from orchestrator.events.run import AcceleratorChosen, Failure, Note, RunFinished, RunReady, RunStarted
from orchestrator.events.services import CheckResulted, Heartbeat, ServiceStateChanged
from orchestrator.events.suite import IsolationStateChanged, SuiteError, SuiteStateChanged, TestBegan, TestEnded
from orchestrator.text import clean, duration_text
from orchestrator.timeline.model import Axis, Entry, Severity, Source

LINE = 500
FAILED = frozenset({"failed", "timedOut", "interrupted"})
_BAD_STATES = {
    "panicked": Severity.FATAL,
    "died": Severity.FATAL,
    "failed": Severity.ERROR,
    "skipped": Severity.WARNING,
}


def entry_of(event: Event, axis: Axis) -> Entry | None:
    """The entry of an event; None for one that has no place among lines, such as what a suite prints."""
    told = _of_parts(event) or _of_run(event) or _of_suite(event)
    if told is None:
        return None
    source, machine, severity, text = told
    at, until = axis.place(event), 0.0
    if isinstance(event, TestEnded):
        at, until = at - event.duration, at
    return Entry(
        at, source, machine, event.kind, severity, clean(text, LINE), until=until, key=clean(event.subject, LINE)
    )


Told = tuple[Source, str, Severity, str]  # source, machine, severity, text


def _of_parts(event: Event) -> Told | None:
    """Of a machine, a service, a network or an image."""
    name = event.subject
    match event:
        case MachineStateChanged(state=state, detail=detail):
            text = f"machine {name}: {state}" + (f": {detail}" if detail else "")
            return "event", name, _BAD_STATES.get(state, Severity.INFO), text
        case ServiceStateChanged(state=state, detail=detail, machine=machine):
            text = f"service {name}: {state}" + (f": {detail}" if detail else "")
            return "event", machine, _BAD_STATES.get(state, Severity.INFO), text
        case CheckResulted(check=check, ok=ok, message=message):
            verdict = "passed" if ok else "not yet"
            return "event", "", Severity.DEBUG, f"check {check} of {name}: {verdict}: {message}"
        case LogMatched(pattern=pattern, explanation=explanation, waiver=waiver):
            severity = Severity.INFO if waiver else Severity.of_pattern(event.severity)
            return "event", name, severity, f"{explanation} ({pattern}): {event.line}"
        case MachineClock(offset=offset, uncertainty=uncertainty, reason=reason):
            text = f"clock of {name}: {offset * 1000:+.1f} ms ± {uncertainty * 1000:.1f} ms ({reason})"
            return "event", name, Severity.DEBUG, text
        case ScreenshotTaken(step=step):
            return "event", name, Severity.DEBUG, f"screenshot of {name} ({step})"
        case NetworkStateChanged(state=state):
            return "event", "", Severity.DEBUG, f"network {name}: {state}"
        case ImageStateChanged(state=state, detail=detail):
            text = f"image {name}: {state}" + (f": {detail}" if detail else "")
            return "event", "", _BAD_STATES.get(state, Severity.INFO), text
    return None


def _of_run(event: Event) -> Told | None:
    """Of the whole run."""
    match event:
        case RunStarted(command=command):
            return "event", "", Severity.INFO, f"{command} begins"
        case AcceleratorChosen(accelerator=accelerator, time_scale=scale):
            return "event", "", Severity.DEBUG, f"host: {accelerator}, time limits × {scale:g}"
        case RunReady(elapsed=elapsed):
            return "event", "", Severity.INFO, f"READY after {duration_text(elapsed or 0.0)}"
        case RunFinished(outcome=outcome, exit_code=code):
            return "event", "", Severity.INFO, f"{outcome} (exit code {code})"
        case Note(level=level, message=message):
            severity = Severity.WARNING if level == "warning" else Severity.INFO
            return "event", event.subject, severity, f"{event.subject}: {message}" if event.subject else message
        case Failure(what=what, why=why):
            return "event", "", Severity.ERROR, what + (f": {why}" if why else "")
        case Heartbeat(what=what, elapsed=elapsed, detail=detail):
            text = f"still waiting for {what} of {event.subject} after {duration_text(round(elapsed))}"
            return "event", "", Severity.DEBUG, text + (f": {detail}" if detail else "")
    return None


def _of_suite(event: Event) -> Told | None:
    """Of the browser suite."""
    match event:
        case SuiteStateChanged(state=state, exit_code=code):
            text = f"suite {event.subject}: {state}" + (f" (exit code {code})" if code is not None else "")
            return "event", "", Severity.INFO, text
        case SuiteError(error=error):
            return "test", "", Severity.ERROR, f"suite {event.subject}: {error}"
        case IsolationStateChanged(state=state, number=number, total=total):
            return "event", "", Severity.INFO, f"fresh state {number} of {total}: {state}"
        case TestBegan():
            return "test", "", Severity.DEBUG, f"{event.subject} begins"
        case TestEnded(status=status, error=error, retry=retry):
            again = f", attempt {retry + 1}" if retry else ""
            severity = Severity.ERROR if status in FAILED else Severity.INFO
            text = f"{event.subject}: {status}{again}" + (f": {error}" if error and status in FAILED else "")
            return "test", "", severity, text
    return None
