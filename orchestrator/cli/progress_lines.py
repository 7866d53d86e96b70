"""Events as single lines of text, for logs, CI and the lines above the live view."""

from __future__ import annotations

from datetime import datetime

from orchestrator.cli.dev_lines import dev_line
from orchestrator.events import Event
from orchestrator.events.faults import FaultBegan, FaultEnded, FaultRecovered
from orchestrator.events.fleet import CellOutput, CellStateChanged, HostStateChanged, MatrixStarted
from orchestrator.events.machines import (
    ImageOutput,
    ImageStateChanged,
    LogMatched,
    MachineStateChanged,
    NetworkStateChanged,
    ScreenshotTaken,
)
from orchestrator.events.run import AcceleratorChosen, Failure, Note, RunFinished, RunReady, RunStarted
from orchestrator.events.services import CheckResulted, Heartbeat, ServiceStateChanged
from orchestrator.events.suite import (
    IsolationStateChanged,
    SuiteError,
    SuiteOutput,
    SuiteStateChanged,
    TestBegan,
    TestEnded,
)
from orchestrator.report.model import BROKEN_STATES
from orchestrator.report.model_tests import FAILED_TESTS, words
from orchestrator.text import WORD, about, clean, duration_text

HEARTBEAT = 30.0  # seconds between two lines about the same wait
_LINE = 300
_QUIET_STATES = frozenset({"pending"})


class LineWriter:
    """Turns events into lines; keeps what is needed to number tests and to space heartbeats."""

    def __init__(self, verbose: int = 0) -> None:
        self._verbose = verbose
        self._places: dict[str, str] = {}
        self._states: dict[tuple[str, str], str] = {}
        self._beats: dict[str, float] = {}
        self._restoring = False  # a fresh state for the next test: that all comes back as it was is no news

    def line(self, event: Event) -> str | None:
        """The line for an event, without time and newline; None when there is nothing to say."""
        subject = clean(event.subject, _LINE)
        match event:
            case RunStarted() | AcceleratorChosen() | RunReady() | RunFinished() | Note() | Failure():
                return self._run(event, subject)
            case ImageStateChanged():
                return self._state("image", subject, event.state, event.seconds, event.detail)
            case NetworkStateChanged():
                return self._state("network", subject, event.state)
            case MachineStateChanged():
                return self._state("machine", subject, event.state, event.elapsed, event.detail)
            case ServiceStateChanged():
                return self._state("service", subject, event.state, event.elapsed, event.detail)
            case LogMatched():
                return _log_match(event, subject)
            case FaultBegan() | FaultEnded() | FaultRecovered():
                return fault_line(event)
            case Heartbeat():
                return self._heartbeat(event, subject)
            case CheckResulted() | ScreenshotTaken() | ImageOutput() | SuiteOutput():
                return self._output(event, subject)
            case SuiteStateChanged() | SuiteError():
                return _suite(event, subject)
            case IsolationStateChanged():
                return self._isolation(event)
            case TestBegan():
                known = event.index and event.total
                self._places[event.subject] = f"{event.index}/{event.total} " if known else ""
            case TestEnded():
                return self.test(event)
        return dev_line(event) or self._matrix(event, subject)

    def test(self, event: TestEnded) -> str:
        """``✘ 3/24 file › title (1.2s)`` and the first line of the error."""
        status = clean(event.status, _LINE)
        mark = "✘" if status in FAILED_TESTS else "–" if status == "skipped" else "✔"
        word = "" if status in ("passed", "failed") else f" {status}"
        again = f" (retry {event.retry})" if event.retry else ""
        line = (
            f"{mark} {self._places.get(event.subject, '')}{clean(event.subject, _LINE)}"
            f"{word}{again} ({duration_text(event.duration)})"
        )
        error = _first_line(event.error)
        return f"{line}: {error}" if error and status in FAILED_TESTS else line

    def _run(
        self, event: RunStarted | AcceleratorChosen | RunReady | RunFinished | Note | Failure, subject: str
    ) -> str | None:
        match event:
            case RunStarted():
                plan = f"{len(event.machines)} machines, {len(event.services)} services"
                variant = f" variant {clean(event.variant, WORD)}," if event.variant else ""
                return f"{clean(event.command, WORD) or 'run'} {subject}:{variant} {plan}"
            case AcceleratorChosen():
                scale = event.time_scale or 1.0
                limits = f", time limits × {scale:g}" if scale != 1 else ""
                reason = f" ({clean(event.reason, _LINE)})" if event.reason else ""
                return f"host: {clean(event.accelerator, WORD)}{reason}, QEMU {clean(event.qemu, WORD)}{limits}"
            case RunReady():
                return f"READY in {duration_text(event.elapsed or 0.0)}"
            case RunFinished():
                took = duration_text(event.elapsed or 0.0)
                return f"{clean(event.outcome, WORD)} in {took} (exit code {event.exit_code})"
            case Note():
                level = "warning" if event.level == "warning" else "note"
                return f"{level}: {about(subject, clean(event.message, _LINE))}"
            case Failure():
                self._restoring = False  # it is explained as a whole, not in a line
        return None

    def _state(self, noun: str, subject: str, state: str, elapsed: float | None = None, detail: str = "") -> str | None:
        state = clean(state, WORD)
        if state in _QUIET_STATES or self._states.get((noun, subject)) == state:
            return None
        self._states[noun, subject] = state
        if (noun == "network" or (self._restoring and state not in BROKEN_STATES)) and not self._verbose:
            return None
        # while stopping, the seconds would be those since its start: true, but not what one reads
        spent = f" ({duration_text(elapsed)})" if elapsed and state not in ("stopping", "stopped") else ""
        why = clean(detail, _LINE)
        return f"{noun} {subject}: {state}{spent}" + (f": {why}" if why else "")

    def _heartbeat(self, event: Heartbeat, subject: str) -> str | None:
        what = about(subject, clean(event.what, _LINE))
        if event.time - self._beats.get(what, float("-inf")) < HEARTBEAT - 1 and not self._verbose:
            return None
        self._beats[what] = event.time
        last = clean(event.detail, _LINE)
        of = f" of {duration_text(event.timeout)}" if event.timeout else ""
        return f"waiting for {what}: {duration_text(round(event.elapsed))}{of}" + (
            f", last answer: {last}" if last else ""
        )

    def _output(self, event: CheckResulted | ScreenshotTaken | ImageOutput | SuiteOutput, subject: str) -> str | None:
        match event:
            case ImageOutput(shown=True):
                return f"{subject} | {clean(event.line, _LINE)}"
            case _ if not self._verbose:
                return None
            case ImageOutput() | SuiteOutput():
                return f"{subject} | {clean(event.line, _LINE)}"
            case ScreenshotTaken():
                return f"screenshot {subject}: {clean(event.path, _LINE)}"
            case CheckResulted():
                verdict = "ok" if event.ok else "not yet"
                return f"check {subject}/{clean(event.check, WORD)}: {verdict}: {clean(event.message, _LINE)}"

    def _matrix(self, event: Event, subject: str) -> str | None:
        match event:
            case MatrixStarted():
                return f"matrix {subject}: {len(event.cells)} cells on {', '.join(clean(h, WORD) for h in event.hosts)}"
            case HostStateChanged():
                return self._state("host", subject, event.state, None, event.detail)
            case CellStateChanged(state="starting"):
                return None
            case CellStateChanged():
                where = f" on {clean(event.host, WORD)}" if event.host else ""
                again = f", attempt {event.attempt}" if event.attempt > 1 else ""
                spent = f" ({duration_text(event.elapsed)})" if event.elapsed else ""
                why = f": {clean(event.detail, _LINE)}" if event.detail else ""
                return f"cell {subject}: {clean(event.state, WORD)}{where}{again}{spent}{why}"
            case CellOutput():
                return f"[{subject}] {clean(event.line, _LINE)}" if self._verbose else None
        return None

    def _isolation(self, event: IsolationStateChanged) -> str | None:
        self._restoring = event.state == "restoring"
        if self._restoring:
            return None
        return f"fresh state {event.number} of {event.total}: ready ({duration_text(event.elapsed or 0.0)})"


def fault_line(event: FaultBegan | FaultEnded | FaultRecovered) -> str:
    """What became of a fault."""
    name = clean(event.subject, WORD)
    match event:
        case FaultBegan():
            what = f"{clean(event.fault, WORD)} on {clean(event.on, _LINE)}"
            keys = f" ({clean(event.parameters, _LINE)})" if event.parameters else ""
            told = f": {clean(event.told, _LINE)}" if event.told else ""
            return f"fault {name}: {what}{keys} began{told}"
        case FaultEnded():
            why = "" if event.reason in ("phase", "asked", "over") else f" ({clean(event.reason, WORD)})"
            told = f": {clean(event.told, _LINE)}" if event.told else ""
            return f"fault {name}: ended after {duration_text(event.seconds)}{why}{told}"
        case FaultRecovered():
            within = f" of {duration_text(event.within)}" if event.within else ""
            return f"fault {name}: recovered in {duration_text(event.seconds)}{within}"


def _log_match(event: LogMatched, machine: str) -> str:
    line = f"machine {machine}: {clean(event.pattern, WORD)}: {clean(event.line, _LINE)}"
    meaning = f"waived: {clean(event.waiver, _LINE)}" if event.waiver else clean(event.explanation, _LINE)
    return f"{line} ({meaning})" if meaning else line


def _suite(event: SuiteStateChanged | SuiteError, phase: str) -> str:
    if isinstance(event, SuiteError):
        return f"✘ suite {phase}: {_first_line(event.error)}"
    if event.state != "finished":
        return f"suite {phase}: {clean(event.state, WORD)}"
    told = [f"{count} {words(status)}" for status, count in event.counts.items() if count]
    return f"suite {phase}: {', '.join(told) or 'no test ran'} ({duration_text(event.elapsed or 0.0)})"


def _first_line(text: str) -> str:
    return clean(clean(text, 4_000, multiline=True).strip().split("\n", 1)[0], _LINE)


def stamp(at: float) -> str:
    """Local time of day, ``12:03:44``."""
    try:
        return f"{datetime.fromtimestamp(at).astimezone():%H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return "--:--:--"
