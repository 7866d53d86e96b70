"""The timeline: machines, services and tests as bars on one axis of seconds.

Positions are per cent, so that the chart fits any width without script;
the dependencies are one SVG over all rows. ``templates/timeline.html`` draws it.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from orchestrator.report.markup import seconds
from orchestrator.report.model import UP_STATES, FaultView, Interval, MachineView, RunView, ServiceView
from orchestrator.report.model_tests import TestView
from orchestrator.report.sections import test_id

ROW = 30  # height of a row in CSS pixels; report.css has the same number
_SERVICE = "service"  # the kind of a row
LANES = 6  # rows of tests that overlap
BARS = 2_000  # tests; of more, only those that did not pass have one
FAULT, CAPTURE, RECOVERING = "fault", "capture", "recovering"  # states of the bars of faults
_STEPS = (0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 30, 60, 120, 300, 600, 1200, 1800, 3600, 7200, 21600, 86400)
_HIDDEN = frozenset({"pending", "skipped"})
_QUIET = UP_STATES | {"stopped"}


@dataclass(frozen=True, slots=True)
class Axis:
    """The visible part of time: ``start`` to ``end``, labelled from ``zero``."""

    zero: float
    start: float
    end: float

    def x(self, at: float) -> float:
        """Per cent from the left edge."""
        return min(100.0, max(0.0, (at - self.start) / (self.end - self.start) * 100))

    def second(self, at: float) -> float:
        return at - self.zero

    @property
    def ticks(self) -> list[float]:
        """Points in time at round seconds, at most eight."""
        width = self.end - self.start
        step = next((s for s in _STEPS if width / s <= 7), width)
        first = int((self.start - self.zero) / step)
        marks = (self.zero + i * step for i in range(first, first + 12))
        return [mark for mark in marks if self.start - 1e-6 <= mark <= self.end]


def make_axis(view: RunView) -> Axis:
    """The axis of a run; a long time before the first machine (images) is left out."""
    first = [p.began for p in (*view.machines, *view.services) if p.began is not None]
    start = view.started
    if first and min(first) - start > max(15.0, 0.25 * (view.ended - start)):
        start = min(first)
    return Axis(view.started, start, max(view.ended, start + 0.1))


@dataclass(frozen=True, slots=True)
class Bar:
    """A state on the axis; ``anchor`` is the test's it belongs to, ``""`` for other bars."""

    state: str
    left: float
    width: float
    tip: str
    quiet: bool = False
    anchor: str = ""


@dataclass(frozen=True, slots=True)
class Label:
    """Words at the end of a row's bars; ``edge`` is ``left`` or ``right``, from which ``at`` counts, or ``""``."""

    text: str
    css: str
    edge: str = ""
    at: float = 0.0


@dataclass(frozen=True, slots=True)
class Mark:
    """A labelled point of the axis."""

    left: float
    label: str


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    place: str = ""
    bars: tuple[Bar, ...] = ()
    label: Label | None = None
    marks: tuple[Mark, ...] = ()
    css: str = ""
    heading: bool = False


@dataclass(frozen=True, slots=True)
class Timeline:
    """The whole chart.

    Attributes:
        edges: each dependency as x1, y1, x2, y2; x in 1/1000 of the width, y in CSS pixels.
        states, statuses: for the legend; a state with whether its bars are quiet.
        left_out: the time before the first machine, in words; ``""`` when the picture has it.
    """

    rows: tuple[Row, ...]
    ticks: tuple[Mark, ...]
    ready: Mark | None
    edges: tuple[tuple[float, float, float, float], ...]
    edges_known: bool
    states: tuple[tuple[str, bool], ...]
    statuses: tuple[str, ...]
    left_out: str

    @property
    def height(self) -> int:
        """In CSS pixels."""
        return len(self.rows) * ROW


def timeline(view: RunView) -> Timeline | None:
    """The chart of a run; None when nothing was ever started."""
    parts = (*view.machines, *view.services)
    if not any(part.intervals for part in parts) and not view.phases:
        return None
    axis = make_axis(view)
    rows = [*_machines(axis, view), *_services(axis, view), *_faults(axis, view), *_tests(axis, view)]
    ready = None
    if view.ready_at is not None:
        ready = Mark(axis.x(view.ready_at), seconds(view.ready_after))
    states = dict.fromkeys(i.state for part in parts for i in part.intervals if i.state not in _HIDDEN)
    return Timeline(
        rows=tuple(rows),
        ticks=tuple(Mark(axis.x(at), _label(axis.second(at))) for at in axis.ticks),
        ready=ready,
        edges=tuple(_edges(axis, view.services, rows)),
        edges_known=any(service.depends_on for service in view.services),
        states=tuple((state, state in _QUIET) for state in (*states, *_fault_states(view))),
        statuses=tuple(dict.fromkeys(test.status for test in view.tests)),
        left_out=seconds(axis.start - axis.zero) if axis.start > axis.zero else "",
    )


def _machines(axis: Axis, view: RunView) -> Iterator[Row]:
    if view.machines:
        yield Row("Machines", heading=True)
    for machine in view.machines:
        signs = tuple(
            Mark(axis.x(s.at), f"{s.pattern}: {s.line}") for s in view.log_matches if s.machine == machine.name
        )
        yield Row(machine.name, "", _bars(axis, machine), _end_label(axis, machine), signs)


def _services(axis: Axis, view: RunView) -> Iterator[Row]:
    if view.services:
        yield Row("Services", heading=True)
    for service in view.services:
        yield Row(service.name, service.machine, _bars(axis, service), _end_label(axis, service), css=_SERVICE)


def _faults(axis: Axis, view: RunView) -> Iterator[Row]:
    """A row for each fault, however often it was on; the time to recover is a bar of its own."""
    if view.faults:
        yield Row("Faults", heading=True)
    for name in dict.fromkeys(fault.name for fault in view.faults):
        mine = [fault for fault in view.faults if fault.name == name]
        bars = tuple(bar for fault in mine for bar in _fault_bars(axis, fault))
        last = mine[-1]
        label = None
        if last.recovered is not None:
            x = axis.x(last.end + last.recovered)
            text = f"recovered in {seconds(last.recovered)}"
            label = (
                Label(text, "", "left", x) if x <= 70 else Label(text, "before", "right", 100 - axis.x(mine[0].start))
            )
        yield Row(name, last.on, bars, label)


def _fault_bars(axis: Axis, fault: FaultView) -> Iterator[Bar]:
    left, right = axis.x(fault.start), axis.x(fault.end)
    keys = f" ({fault.keys})" if fault.keys else ""
    tip = f"{fault.name}: {fault.kind} on {fault.on}{keys} for {fault.seconds:.2f} s\n{fault.told}"
    yield Bar(CAPTURE if fault.kind == CAPTURE else FAULT, left, right - left, tip)
    if fault.recovered is not None:
        width = axis.x(fault.end + fault.recovered) - right
        yield Bar(RECOVERING, right, width, f"{fault.name}: all was healthy {fault.recovered:.2f} s after its end")


def _fault_states(view: RunView) -> list[str]:
    """Words of the legend."""
    kinds = {FAULT if fault.kind != CAPTURE else CAPTURE for fault in view.faults}
    kinds |= {RECOVERING for fault in view.faults if fault.recovered is not None}
    return [word for word in (FAULT, CAPTURE, RECOVERING) if word in kinds]


def _tests(axis: Axis, view: RunView) -> Iterator[Row]:
    few = len(view.tests) <= BARS
    if view.tests:
        yield Row("Tests", heading=True)
    for number, phase in enumerate(view.phases):
        for i, lane in enumerate(_lanes(phase.tests)):
            shown = [pair for pair in lane if few or pair[0].status not in ("passed", "skipped")]
            bars = tuple(bar for test, index in shown for bar in _test(axis, test, test_id(number, index)))
            yield Row(phase.name if i == 0 else "", "", bars, css="tests")


def _bars(axis: Axis, part: MachineView | ServiceView) -> tuple[Bar, ...]:
    return tuple(
        Bar(
            interval.state,
            axis.x(interval.start),
            axis.x(interval.end) - axis.x(interval.start),
            _tip(axis, part, interval),
            interval.state in _QUIET,
        )
        for interval in part.intervals
        if interval.state not in _HIDDEN and interval.end >= axis.start
    )


def _tip(axis: Axis, part: MachineView | ServiceView, interval: Interval) -> str:
    from_, to = axis.second(interval.start), axis.second(interval.end)
    tip = f"{part.name}: {interval.state} for {interval.seconds:.2f} s (second {from_:.2f} to {to:.2f})"
    if isinstance(part, ServiceView) and part.depends_on:
        tip += f"\nafter: {', '.join(part.depends_on)}"
    return tip + (f"\n{interval.detail}" if interval.detail else "")


def _end_label(axis: Axis, part: MachineView | ServiceView) -> Label:
    """The seconds to up, or the word for what went wrong, at the end of the start-up bars."""
    broken, began = part.broken, part.began
    if broken is not None and broken.start >= (part.up_at or 0.0):
        at, text, kind = broken.start, broken.state, " bad"
        if part.up_at is None and began is not None:
            text += f" after {seconds(broken.start - began)}"
    elif part.seconds is not None and part.up_at is not None:
        at, text, kind = part.up_at, seconds(part.seconds), ""
    elif began is not None and part.intervals:
        last = part.intervals[-1]
        at, text, kind = last.end, f"{last.state}, never up", " bad"
    else:
        return Label(part.state, "none")
    x = axis.x(at)
    start = axis.x(began if began is not None else at)
    if x > 86:  # no room to the right: before the bars, or inside them when they fill the row
        side, edge = ("before", start) if start > 20 else ("inside", x)
        return Label(text, side + kind, "right", 100 - edge)
    return Label(text, kind.strip(), "left", x)


def _lanes(tests: Sequence[TestView]) -> list[list[tuple[TestView, int]]]:
    """Tests in rows so that none overlaps another, as long as `LANES` rows are enough."""
    lanes: list[list[tuple[TestView, int]]] = []
    free: list[float] = []
    ran = [(index, test) for index, test in enumerate(tests) if test.attempts]
    for index, test in sorted(ran, key=lambda pair: pair[1].attempts[0].start):
        start, end = test.attempts[0].start, test.attempts[-1].end
        fitting = next((i for i, until in enumerate(free) if until <= start + 0.05), None)
        if fitting is None and len(lanes) < LANES:
            fitting = len(lanes)
            lanes.append([])
            free.append(end)
        lane = len(lanes) - 1 if fitting is None else fitting
        lanes[lane].append((test, index))
        free[lane] = max(free[lane], end)
    return lanes


def _test(axis: Axis, test: TestView, anchor: str) -> Iterator[Bar]:
    for attempt in test.attempts:
        left = axis.x(attempt.start)
        status = ("flaky" if test.status == "flaky" else "failed") if attempt.failed else attempt.status
        tip = f"{test.title}\n{attempt.status}, {attempt.duration:.2f} s, attempt {attempt.retry + 1}"
        yield Bar(status, left, axis.x(attempt.end) - left, tip, anchor=anchor)


def _edges(
    axis: Axis, services: Sequence[ServiceView], rows: Sequence[Row]
) -> Iterator[tuple[float, float, float, float]]:
    by_name = {service.name: service for service in services}
    middle = {row.name: index * ROW + ROW / 2 for index, row in enumerate(rows) if row.css == _SERVICE}
    for service in services:
        start = service.began
        for name in service.depends_on:
            before = by_name.get(name)
            if start is None or before is None or before.up_at is None or before.up_at > start + 1:
                continue
            yield axis.x(before.up_at) * 10, middle[name], axis.x(start) * 10, middle[service.name]


def _label(second: float) -> str:
    if second >= 600 and second % 60 == 0:
        return f"{second / 60:.0f} min"
    return f"{second:.1f} s" if second % 1 >= 0.05 else f"{second:.0f} s"
