"""Events as single lines of text, for logs, CI and the lines above the live view."""

from __future__ import annotations

from datetime import datetime

from orchestrator.events import Event
from orchestrator.report.model import FAILED_TESTS, STATUSES, words
from orchestrator.report.read import about, entries, number, text, whole
from orchestrator.text import clean

HEARTBEAT = 30.0  # seconds between two lines about the same wait
_LINE = 300
_QUIET_STATES = frozenset({"pending"})
_BAD_STATES = frozenset({"failed", "died", "panicked"})


class LineWriter:
    """Turns events into lines; keeps what is needed to number tests and to space heartbeats."""

    def __init__(self, verbose: int = 0) -> None:
        self._verbose = verbose
        self._places: dict[str, str] = {}
        self._states: dict[tuple[str, str], str] = {}
        self._beats: dict[str, float] = {}
        self._restoring = False  # a fresh world for the next test: that all comes back as it was is no news

    def line(self, event: Event) -> str | None:
        """The line for an event, without time and newline; None when there is nothing to say."""
        data, subject = event.data, clean(event.subject, _LINE)
        match event.kind:
            case "run.started":
                plan = f"{len(entries(data, 'machines'))} machines, {len(entries(data, 'services'))} services"
                variant = f" variant {text(data, 'variant')}," if text(data, "variant") else ""
                return f"{text(data, 'command') or 'run'} {subject}:{variant} {plan}"
            case "host.accelerator":
                factor = number(data, "factor") or 1.0
                limits = f", time limits × {factor:g}" if factor != 1 else ""
                reason = f" ({text(data, 'reason', _LINE)})" if text(data, "reason") else ""
                return f"host: {text(data, 'accelerator')}{reason}, QEMU {text(data, 'qemu')}{limits}"
            case "image.state" | "network.state" | "machine.state" | "service.state":
                return self._state(event, subject)
            case "machine.sign":
                meaning = text(data, "explanation", _LINE)
                line = f"machine {subject}: {text(data, 'sign')}: {text(data, 'line', _LINE)}"
                known = text(data, "accepted", _LINE)
                if known:
                    return f"{line} (accepted: {known})"
                return f"{line} ({meaning})" if meaning else line
            case "check.answer" if self._verbose:
                verdict = "ok" if data.get("ok") is True else "not yet"
                return f"check {subject}/{text(data, 'check')}: {verdict}: {text(data, 'answer', _LINE)}"
            case "wait.heartbeat":
                return self._heartbeat(event, subject)
            case "screenshot" if self._verbose:
                return f"screenshot {subject}: {text(data, 'path', _LINE)}"
            case "image.output" | "suite.output" if self._verbose or data.get("shown") is True:
                return f"{subject} | {text(data, 'line', _LINE)}"
            case "suite.state":
                return self._suite(event, subject)
            case "suite.error":
                first = text(data, "error", 4_000, multiline=True).strip().split("\n", 1)[0]
                return f"✘ suite {subject}: {clean(first, _LINE)}"
            case "test.begin":
                index, total = whole(data, "index"), whole(data, "total")
                self._places[event.subject] = f"{index}/{total} " if index and total else ""
                return None
            case "test.end":
                return self.test(event)
            case "world.state":
                return self._world(event)
            case "failure":
                self._restoring = False
                return None
            case "note":
                level = "warning" if text(data, "level") == "warning" else "note"
                return f"{level}: {about(subject, text(data, 'message', _LINE))}"
            case "run.ready":
                return f"READY in {number(data, 'elapsed') or 0.0:.1f} s"
            case "run.finished":
                elapsed, code = number(data, "elapsed") or 0.0, whole(data, "exit_code")
                return f"{text(data, 'outcome')} in {elapsed:.1f} s (exit code {code})"
        return None

    def test(self, event: Event) -> str:
        """``✘ 3/24 file › title (1.2s)`` and the first line of the error."""
        data = event.data
        status, retry = text(event.data, "status"), whole(data, "retry") or 0
        sign = "✘" if status in FAILED_TESTS else "–" if status == "skipped" else "✔"
        word = "" if status in ("passed", "failed") else f" {status}"
        again = f" (retry {retry})" if retry else ""
        line = (
            f"{sign} {self._places.get(event.subject, '')}{clean(event.subject, _LINE)}"
            f"{word}{again} ({number(data, 'duration') or 0.0:.1f}s)"
        )
        error = text(data, "error", 4_000, multiline=True).strip().split("\n", 1)[0]
        return f"{line}: {clean(error, _LINE)}" if error and status in FAILED_TESTS else line

    def _state(self, event: Event, subject: str) -> str | None:
        noun, state = event.kind.split(".")[0], text(event.data, "state")
        if state in _QUIET_STATES or self._states.get((noun, subject)) == state:
            return None
        self._states[noun, subject] = state
        if (noun == "network" or (self._restoring and state not in _BAD_STATES)) and not self._verbose:
            return None
        elapsed = number(event.data, "elapsed")
        if elapsed is None:
            elapsed = number(event.data, "seconds")
        # while stopping, the seconds would be those since its start: true, but not what one reads
        spent = f" ({elapsed:.1f}s)" if elapsed and state not in ("stopping", "stopped") else ""
        why = text(event.data, "detail", _LINE) or text(event.data, "why", _LINE)
        return f"{noun} {subject}: {state}{spent}" + (f": {why}" if why else "")

    def _heartbeat(self, event: Event, subject: str) -> str | None:
        data = event.data
        what = about(subject, text(data, "what", _LINE))
        if event.at - self._beats.get(what, float("-inf")) < HEARTBEAT - 1 and not self._verbose:
            return None
        self._beats[what] = event.at
        elapsed, limit, last = number(data, "elapsed") or 0.0, number(data, "limit"), text(data, "last", _LINE)
        of = f" of {limit:.0f}s" if limit else ""
        return f"waiting for {what}: {elapsed:.0f}s{of}" + (f", last answer: {last}" if last else "")

    def _world(self, event: Event) -> str | None:
        data = event.data
        self._restoring = text(data, "state") == "restoring"
        if self._restoring:
            return None
        return f"world {whole(data, 'number')} of {whole(data, 'total')}: ready ({number(data, 'elapsed') or 0.0:.1f}s)"

    def _suite(self, event: Event, subject: str) -> str | None:
        data, state = event.data, text(event.data, "state")
        if state != "finished":
            return f"suite {subject}: {state}"
        counts = [f"{whole(data, status)} {words(status)}" for status in STATUSES if whole(data, status)]
        return f"suite {subject}: {', '.join(counts) or 'no test ran'} ({number(data, 'elapsed') or 0.0:.1f}s)"


def stamp(at: float) -> str:
    """Local time of day, ``12:03:44``."""
    try:
        return f"{datetime.fromtimestamp(at).astimezone():%H:%M:%S}"
    except (ValueError, OverflowError, OSError):
        return "--:--:--"
