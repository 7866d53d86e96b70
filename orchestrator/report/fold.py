"""Folds a stream of events into a `RunView`.

The stream may end anywhere (a killed run) and may hold anything (text of
guests, fields of the wrong type): what cannot be understood is left out, and
nothing here raises because of it.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping

from orchestrator.events import Event
from orchestrator.report import model as m
from orchestrator.report.fold_suite import ENTRIES, OUTPUT_LINES, PhaseFold, append, append_line
from orchestrator.report.read import SENTENCE, TEXT, WORD, about, entries, load_events, number, tables, text, whole
from orchestrator.text import clean, clean_lines

__all__ = ["Fold", "failure", "fold", "load_events"]

EVIDENCE_LINES = 200


def fold(events: Iterable[Event]) -> m.RunView:
    """What the events tell about the run."""
    folding = Fold()
    for event in events:
        folding.add(event)
    return folding.view()


class _Track:
    """The states of one machine or service while the stream is read."""

    def __init__(self, plan: Mapping[str, object]) -> None:
        self.plan = plan
        self.states: list[tuple[float, str, str]] = []
        self.checks: dict[str, m.CheckView] = {}
        self.seconds: float | None = None

    def enter(self, event: Event) -> bool:
        """Record a state; False when there are too many."""
        state = text(event.data, "state") or "unknown"
        detail = text(event.data, "detail", SENTENCE, multiline=True)
        if self.states and self.states[-1][1] == state:
            at, _, earlier = self.states[-1]
            self.states[-1] = (at, state, detail or earlier)
            return True
        if len(self.states) >= ENTRIES:
            return False
        self.states.append((event.at, state, detail))
        if state in m.UP_STATES and self.seconds is None:
            began = next((at for at, s, _ in self.states if s != "pending"), event.at)
            elapsed = number(event.data, "elapsed")
            self.seconds = max(0.0, event.at - began if elapsed is None else elapsed)
        return True

    def intervals(self, end: float) -> tuple[m.Interval, ...]:
        ends = [at for at, _, _ in self.states[1:]] + [end]
        return tuple(
            m.Interval(state, at, max(at, until), detail)
            for (at, state, detail), until in zip(self.states, ends, strict=False)
        )


class Fold:
    """The fold as it stands; `add` takes the next event, `view` may be called at any time."""

    def __init__(self) -> None:
        self._run: Mapping[str, object] = {}
        self._host: Mapping[str, object] = {}
        self._end: Mapping[str, object] | None = None
        self._environment = ""
        self._first: float | None = None
        self._last = 0.0
        self._ready: tuple[float, float | None] | None = None
        self._machines: dict[str, _Track] = {}
        self._services: dict[str, _Track] = {}
        self._phases: dict[str, PhaseFold] = {}
        self._images: dict[str, tuple[dict[str, object], list[str]]] = {}
        self._networks: dict[str, str] = {}
        self._screenshots: list[m.Screenshot] = []
        self._signs: list[m.Sign] = []
        self._notes: list[m.Note] = []
        self._failures: list[m.Failure] = []
        self._waiting: m.Wait | None = None
        self._dropped = 0

    def add(self, event: Event) -> None:
        """Take in one event; unknown kinds only move the end of the run."""
        self._first = event.at if self._first is None else min(self._first, event.at)
        self._last = max(self._last, event.at)
        data, subject = event.data, clean(event.subject, SENTENCE)
        match event.kind:
            case "run.started":
                self._run, self._environment = data, subject
                for table, tracks in (("machines", self._machines), ("services", self._services)):
                    for plan in tables(data, table):
                        self._track(tracks, text(plan, "name")).plan = plan
            case "host.accelerator":
                self._host = data
            case "image.state":
                known, _ = self._images.setdefault(subject, ({}, []))
                known.update(data)
            case "image.output":
                _, output = self._images.setdefault(subject, ({}, []))
                append_line(output, text(data, "line", SENTENCE))
            case "network.state":
                self._networks[subject] = text(data, "state")
            case "machine.state":
                self._keep(self._track(self._machines, subject).enter(event))
            case "machine.sign":
                line = text(data, "line", SENTENCE)
                meaning, reason = text(data, "explanation", SENTENCE), text(data, "accepted", SENTENCE)
                sign = m.Sign(subject, text(data, "sign"), line, meaning, event.at, text(data, "weight"), reason)
                self._keep(append(self._signs, sign))
            case "service.state":
                track = self._track(self._services, subject)
                if not track.plan:
                    track.plan = {"machine": data.get("machine")}
                self._keep(track.enter(event))
            case "check.answer":
                self._check(subject, data)
            case "wait.heartbeat":
                what = about(subject, text(data, "what", SENTENCE))
                elapsed, limit = number(data, "elapsed") or 0.0, number(data, "limit") or 0.0
                self._waiting = m.Wait(what, elapsed, limit, text(data, "last", SENTENCE), event.at)
            case "screenshot":
                path = text(data, "path", SENTENCE)
                shot = m.Screenshot(subject, path, text(data, "step", SENTENCE), event.at)
                self._keep(append(self._screenshots, shot))
            case "suite.state" | "suite.output" | "suite.error" | "test.planned" | "test.begin" | "test.end":
                self._suite(event, subject)
            case "note":
                message = about(subject, text(data, "message", TEXT, multiline=True))
                note = m.Note(message, text(data, "level"), event.at)
                self._keep(append(self._notes, note))
            case "failure":
                self._keep(append(self._failures, failure(subject, data, event.at)))
            case "run.ready":
                self._ready = (event.at, number(data, "elapsed"))
            case "run.finished":
                self._end = data

    def view(self) -> m.RunView:
        """The run as far as the events told, intervals closed at the last event."""
        run, host, end = self._run, self._host, self._end
        started, ended = self._first or 0.0, self._last
        finished = end is not None
        elapsed = number(end, "elapsed") if end is not None else None
        ready_after: float | None = None
        if self._ready is not None:
            ready_after = self._ready[0] - started if self._ready[1] is None else self._ready[1]
        return m.RunView(
            run_id=text(run, "run_id"),
            environment=self._environment,
            command=text(run, "command"),
            variant=text(run, "variant"),
            provider=text(run, "provider"),
            topology=text(run, "topology", SENTENCE),
            version=text(run, "version"),
            accelerator=text(host, "accelerator"),
            accelerator_reason=text(host, "reason", SENTENCE),
            factor=number(host, "factor") or 1.0,
            qemu=text(host, "qemu"),
            outcome=(text(end, "outcome") or "error") if end is not None else "interrupted",
            exit_code=whole(end, "exit_code") if end is not None else None,
            finished=finished,
            started=started,
            ended=ended,
            elapsed=ended - started if elapsed is None else elapsed,
            ready_at=self._ready[0] if self._ready else None,
            ready_after=ready_after,
            images=tuple(_image(name, state, lines) for name, (state, lines) in self._images.items()),
            networks=dict(self._networks),
            machines=tuple(_machine(name, track, ended) for name, track in self._machines.items()),
            services=tuple(_service(name, track, ended) for name, track in self._services.items()),
            phases=tuple(phase.view(ended) for phase in self._phases.values()),
            screenshots=tuple(self._screenshots),
            signs=tuple(self._signs),
            notes=tuple(self._notes),
            failures=tuple(self._failures),
            waiting=None if finished else self._waiting,
            dropped=self._dropped,
        )

    def _keep(self, kept: bool) -> None:
        self._dropped += not kept

    @staticmethod
    def _track(tracks: dict[str, _Track], name: str) -> _Track:
        if name not in tracks and len(tracks) >= ENTRIES:
            return _Track({})  # beyond the bound: taken in and forgotten
        return tracks.setdefault(name, _Track({}))

    def _check(self, service: str, data: Mapping[str, object]) -> None:
        name = text(data, "check")
        self._track(self._services, service).checks[name] = m.CheckView(
            name=name,
            ok=data.get("ok") is True,
            answer=text(data, "answer", SENTENCE, multiline=True),
            attempts=whole(data, "attempt") or 1,
            elapsed=number(data, "elapsed") or 0.0,
        )

    def _suite(self, event: Event, subject: str) -> None:
        name = subject if event.kind.startswith("suite.") else text(event.data, "phase", SENTENCE)
        self._keep(self._phases.setdefault(name, PhaseFold(name, event.at)).apply(event, subject))


def failure(subject: str, data: Mapping[str, object], at: float = 0.0) -> m.Failure:
    """The data of a ``failure`` event, or of `OrchestratorError.as_dict`, bounded and clean."""
    return m.Failure(
        subject=clean(subject, WORD),
        type=text(data, "type"),
        what=text(data, "what", SENTENCE) or "an error that was not described",
        why=text(data, "why", TEXT, multiline=True),
        where=clean_lines(entries(data, "where"), count=50, limit=SENTENCE),
        hint=text(data, "hint", SENTENCE, multiline=True),
        evidence=clean_lines(entries(data, "evidence"), count=EVIDENCE_LINES, limit=SENTENCE),
        exit_code=whole(data, "exit_code"),
        at=at,
    )


def _image(name: str, state: Mapping[str, object], lines: list[str]) -> m.ImageView:
    return m.ImageView(
        name=name,
        provider=text(state, "provider"),
        key=text(state, "key"),
        state=text(state, "state"),
        seconds=number(state, "seconds"),
        why=text(state, "why", TEXT, multiline=True),
        output=tuple(lines[-OUTPUT_LINES:]),
    )


def _machine(name: str, track: _Track, ended: float) -> m.MachineView:
    return m.MachineView(
        name,
        track.intervals(ended),
        track.seconds,
        image=text(track.plan, "image"),
        cpus=whole(track.plan, "cpus") or 0,
        memory=whole(track.plan, "memory") or 0,
    )


def _service(name: str, track: _Track, ended: float) -> m.ServiceView:
    depends_on = [clean(d, WORD) for d in entries(track.plan, "depends_on") if isinstance(d, str)]
    return m.ServiceView(
        name,
        track.intervals(ended),
        track.seconds,
        machine=text(track.plan, "machine"),
        kind=text(track.plan, "kind"),
        unit=text(track.plan, "unit"),
        depends_on=tuple(depends_on),
        checks=tuple(track.checks.values()),
    )
