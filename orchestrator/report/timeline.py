"""The timeline: machines, services and tests as bars on one axis of seconds.

Plain HTML with positions in per cent, so that it fits any width without
script; the dependencies are one SVG over all rows.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from orchestrator.report import markup as h
from orchestrator.report.model import UP_STATES, Interval, MachineView, RunView, ServiceView
from orchestrator.report.model_tests import TestView

ROW = 30  # height of a row in CSS pixels; report.css has the same number
LANES = 6  # rows of tests that overlap
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


def timeline(view: RunView) -> str:
    """The whole chart as HTML; empty when nothing was ever started."""
    if not any(p.intervals for p in (*view.machines, *view.services)) and not view.phases:
        return ""
    axis = make_axis(view)
    rows: list[str] = []
    places: dict[str, int] = {}
    if view.machines:
        rows.append(_heading("Machines"))
        for machine in view.machines:
            marks = "".join(
                _sign(axis, s.at, f"{s.pattern}: {s.line}") for s in view.log_matches if s.machine == machine.name
            )
            rows.append(_row(machine.name, "", _bars(axis, machine) + marks))
    if view.services:
        rows.append(_heading("Services"))
        for service in view.services:
            places[service.name] = len(rows)
            rows.append(_row(service.name, service.machine, _bars(axis, service)))
    if view.tests:
        rows.append(_heading("Tests"))
        for number, phase in enumerate(view.phases):
            for i, lane in enumerate(_lanes(phase.tests)):
                bars = "".join(_test(axis, test, test_id(number, index)) for test, index in lane)
                rows.append(_row(phase.name if i == 0 else "", "", bars, "tests"))
    height = len(rows) * ROW
    guides = "".join(
        f'<span class="tick" style="left:{axis.x(at):.2f}%"><b>{_label(axis.second(at))}</b></span>'
        for at in axis.ticks
    )
    if view.ready_at is not None:
        x = axis.x(view.ready_at)
        side = " left" if x > 80 else ""
        word = f"<b>ready {h.seconds(view.ready_after)}</b>"
        guides += f'<span class="ready{side}" style="left:{x:.2f}%">{word}</span>'
    return (
        f'<div class="timeline" style="--height:{height}px">'
        f'<div class="guides">{guides}</div>\n{"".join(rows)}'
        f"{_dependencies(axis, view.services, places, height)}</div>\n{_legend(view)}{_left_out(axis)}"
    )


def _row(name: str, place: str, bars: str, kind: str = "") -> str:
    small = f"<small>{h.text(place)}</small>" if place else ""
    return (
        f'<div class="row {kind}"><div class="name" title="{h.text(name)}">'
        f"<span>{h.text(name)}</span>{small}</div>"
        f'<div class="track">{bars}</div></div>\n'
    )


def _heading(title: str) -> str:
    return f'<div class="row heading"><div class="name">{title}</div></div>\n'


def _bars(axis: Axis, part: MachineView | ServiceView) -> str:
    out: list[str] = []
    for interval in part.intervals:
        if interval.state in _HIDDEN or interval.end < axis.start:
            continue
        left = axis.x(interval.start)
        width = axis.x(interval.end) - left
        quiet = " quiet" if interval.state in _QUIET else ""
        out.append(
            f'<span class="bar {h.slug(interval.state)}{quiet}" '
            f'style="left:{left:.2f}%;width:{width:.2f}%" title="{_tip(axis, part, interval)}"></span>'
        )
    return "".join(out) + _end_label(axis, part)


def _tip(axis: Axis, part: MachineView | ServiceView, interval: Interval) -> str:
    from_, to = axis.second(interval.start), axis.second(interval.end)
    tip = f"{part.name}: {interval.state} for {interval.seconds:.2f} s (second {from_:.2f} to {to:.2f})"
    if isinstance(part, ServiceView) and part.depends_on:
        tip += f"\nafter: {', '.join(part.depends_on)}"
    return h.block(tip + (f"\n{interval.detail}" if interval.detail else ""))


def _end_label(axis: Axis, part: MachineView | ServiceView) -> str:
    """The seconds to up, or the word for what went wrong, at the end of the start-up bars."""
    broken, began = part.broken, part.began
    if broken is not None and broken.start >= (part.up_at or 0.0):
        at, label, kind = broken.start, broken.state, " bad"
        if part.up_at is None and began is not None:
            label += f" after {h.seconds(broken.start - began)}"
    elif part.seconds is not None and part.up_at is not None:
        at, label, kind = part.up_at, h.seconds(part.seconds), ""
    elif began is not None and part.intervals:
        last = part.intervals[-1]
        at, label, kind = last.end, f"{last.state}, never up", " bad"
    else:
        return f'<span class="label none">{h.text(part.state)}</span>'
    x = axis.x(at)
    start = axis.x(began if began is not None else at)
    if x > 86:  # no room to the right: before the bars, or inside them when they fill the row
        side, edge = ("before", start) if start > 20 else ("inside", x)
        return f'<span class="label {side}{kind}" style="right:{100 - edge:.2f}%">{h.text(label)}</span>'
    return f'<span class="label{kind}" style="left:{x:.2f}%">{h.text(label)}</span>'


def _sign(axis: Axis, at: float, title: str) -> str:
    return f'<a class="sign" href="#signs" style="left:{axis.x(at):.2f}%" title="{h.text(title)}">▲</a>'


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


def _test(axis: Axis, test: TestView, anchor: str) -> str:
    out = []
    for attempt in test.attempts:
        left = axis.x(attempt.start)
        width = axis.x(attempt.end) - left
        status = ("flaky" if test.status == "flaky" else "failed") if attempt.failed else attempt.status
        tip = f"{test.title}\n{attempt.status}, {attempt.duration:.2f} s, attempt {attempt.retry + 1}"
        out.append(
            f'<a class="bar {h.slug(status)}" href="#{anchor}" '
            f'style="left:{left:.2f}%;width:{width:.2f}%" title="{h.block(tip)}"></a>'
        )
    return "".join(out)


def test_id(phase: int, index: int) -> str:
    """The anchor of a test, from the number of its phase and its place in it."""
    return f"test-{phase + 1}-{index + 1}"


def _dependencies(axis: Axis, services: Sequence[ServiceView], places: dict[str, int], height: int) -> str:
    by_name = {service.name: service for service in services}
    paths: list[str] = []
    for service in services:
        start = service.began
        for name in service.depends_on:
            before = by_name.get(name)
            if start is None or before is None or before.up_at is None or before.up_at > start + 1:
                continue
            x1, x2 = axis.x(before.up_at) * 10, axis.x(start) * 10
            y1, y2 = (places[n] * ROW + ROW / 2 for n in (name, service.name))
            paths.append(f'<path d="M{x1:.1f} {y1:.0f}V{y2:.0f}H{x2:.1f}"/>')
            paths.append(f'<path class="dot" d="M{x2:.1f} {y2:.0f}h.01"/>')
    if not paths:
        return ""
    return (
        f'<svg class="edges" viewBox="0 0 1000 {height}" preserveAspectRatio="none" aria-hidden="true">'
        f"{''.join(paths)}</svg>"
    )


def _legend(view: RunView) -> str:
    parts = (*view.machines, *view.services)
    states = dict.fromkeys(i.state for p in parts for i in p.intervals if i.state not in _HIDDEN)
    tests = dict.fromkeys(f"test {t.status}" for t in view.tests)
    items = [f'<li><i class="bar {h.slug(s)}{" quiet" if s in _QUIET else ""}"></i>{h.text(s)}</li>' for s in states]
    items += [f'<li><i class="bar {h.slug(t.removeprefix("test "))}"></i>{h.text(t)}</li>' for t in tests]
    if any(service.depends_on for service in view.services):
        items.append('<li><i class="edge"></i>started after</li>')
    if view.log_matches:
        items.append('<li><span class="mark">▲</span>known pattern in a log</li>')
    return f'<ul class="legend">{"".join(items)}</ul>\n' if items else ""


def _left_out(axis: Axis) -> str:
    if axis.start <= axis.zero:
        return ""
    return (
        f'<p class="quiet-text">The first {h.seconds(axis.start - axis.zero)}, before any machine was '
        "started (images), are left out of the picture; seconds count from the start of the run.</p>\n"
    )


def _label(second: float) -> str:
    if second >= 600 and second % 60 == 0:
        return f"{second / 60:.0f} min"
    return f"{second:.1f} s" if second % 1 >= 0.05 else f"{second:.0f} s"
