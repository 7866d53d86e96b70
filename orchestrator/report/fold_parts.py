"""Folds the events of one machine, service or image into its view."""

from __future__ import annotations

from dataclasses import replace

from orchestrator.events.faults import FaultBegan, FaultEnded, FaultRecovered
from orchestrator.events.machines import ImageOutput, ImageStateChanged, MachineStateChanged
from orchestrator.events.run import PlannedMachine, PlannedService
from orchestrator.events.services import CheckResulted, ServiceStateChanged
from orchestrator.report import model as m
from orchestrator.report.fold_suite import ENTRIES, OUTPUT_LINES, append_line
from orchestrator.text import SENTENCE, TEXT, WORD, clean


class _StatesFold:
    """The states of one machine or service while the stream is read."""

    def __init__(self) -> None:
        self.states: list[tuple[float, str, str]] = []
        self.seconds: float | None = None

    def enter(self, event: MachineStateChanged | ServiceStateChanged) -> bool:
        """Record a state; False when there are too many."""
        state = clean(event.state, WORD) or "unknown"
        detail = clean(event.detail, SENTENCE, multiline=True)
        if self.states and self.states[-1][1] == state:
            at, _, earlier = self.states[-1]
            self.states[-1] = (at, state, detail or earlier)
            return True
        if len(self.states) >= ENTRIES:
            return False
        self.states.append((event.time, state, detail))
        if state in m.UP_STATES and self.seconds is None:
            began = next((at for at, s, _ in self.states if s != "pending"), event.time)
            self.seconds = max(0.0, event.time - began if event.elapsed is None else event.elapsed)
        return True

    def intervals(self, end: float) -> tuple[m.Interval, ...]:
        ends = [at for at, _, _ in self.states[1:]] + [end]
        return tuple(
            m.Interval(state, at, max(at, until), detail)
            for (at, state, detail), until in zip(self.states, ends, strict=False)
        )


class MachineFold(_StatesFold):
    def __init__(self) -> None:
        super().__init__()
        self.plan: PlannedMachine | None = None

    def view(self, name: str, ended: float) -> m.MachineView:
        """The machine, its last state until ``ended``."""
        plan = self.plan or PlannedMachine("", "", 0, 0)
        return m.MachineView(
            name,
            self.intervals(ended),
            self.seconds,
            image=clean(plan.image, WORD),
            cpus=plan.cpus,
            memory=plan.memory,
        )


class ServiceFold(_StatesFold):
    def __init__(self) -> None:
        super().__init__()
        self.plan: PlannedService | None = None
        self._checks: dict[str, m.CheckView] = {}

    def enter(self, event: MachineStateChanged | ServiceStateChanged) -> bool:
        if self.plan is None and isinstance(event, ServiceStateChanged):
            self.plan = PlannedService("", event.machine, "", None, ())
        return super().enter(event)

    def check(self, event: CheckResulted) -> None:
        name = clean(event.check, WORD)
        message = clean(event.message, SENTENCE, multiline=True)
        self._checks[name] = m.CheckView(name, event.ok, message, event.attempt or 1, event.elapsed)

    def view(self, name: str, ended: float) -> m.ServiceView:
        """The service, its last state until ``ended``."""
        plan = self.plan or PlannedService("", "", "", None, ())
        return m.ServiceView(
            name,
            self.intervals(ended),
            self.seconds,
            machine=clean(plan.machine, WORD),
            kind=clean(plan.kind, WORD),
            unit=clean(plan.unit or "", WORD),
            depends_on=tuple(clean(d, WORD) for d in plan.depends_on),
            checks=tuple(self._checks.values()),
        )


class ImageFold:
    """The last state of an image, and what its build printed last."""

    def __init__(self) -> None:
        self._provider = self._key = self._state = self._detail = ""
        self._seconds: float | None = None
        self._output: list[str] = []

    def apply(self, event: ImageStateChanged | ImageOutput) -> None:
        if isinstance(event, ImageOutput):
            append_line(self._output, clean(event.line, SENTENCE))
            return
        self._state = clean(event.state, WORD)
        self._provider = clean(event.provider, WORD) or self._provider
        self._key = clean(event.key, WORD) or self._key
        self._detail = clean(event.detail, TEXT, multiline=True) or self._detail
        self._seconds = self._seconds if event.seconds is None else event.seconds

    def view(self, name: str) -> m.ImageView:
        return m.ImageView(
            name=name,
            provider=self._provider,
            key=self._key,
            state=self._state,
            seconds=self._seconds,
            detail=self._detail,
            output=tuple(self._output[-OUTPUT_LINES:]),
        )


class FaultFold:
    """All faults of a run; one of the same name may begin again."""

    def __init__(self) -> None:
        self._all: list[m.FaultView] = []

    def apply(self, event: FaultBegan | FaultEnded | FaultRecovered, name: str) -> bool:
        """Take in what became of a fault; False when there are too many."""
        if isinstance(event, FaultBegan):
            if len(self._all) >= ENTRIES:
                return False
            self._all.append(
                m.FaultView(
                    name,
                    kind=clean(event.fault, WORD),
                    on=clean(event.on, SENTENCE),
                    keys=clean(event.parameters, SENTENCE),
                    told=clean(event.told, SENTENCE),
                    start=event.time,
                    end=0.0,
                    path=clean(event.path, SENTENCE),
                )
            )
            return True
        last = next((index for index in reversed(range(len(self._all))) if self._all[index].name == name), None)
        if last is None:
            return True  # it never began
        one = self._all[last]
        if isinstance(event, FaultEnded):
            told = clean(event.told, SENTENCE) or one.told
            one = replace(one, end=event.time, reason=clean(event.reason, WORD) or "asked", told=told)
        else:
            one = replace(one, recovered=event.seconds, within=event.within)
        self._all[last] = one
        return True

    def view(self, ended: float) -> tuple[m.FaultView, ...]:
        return tuple(one if one.reason else replace(one, end=max(ended, one.start)) for one in self._all)
