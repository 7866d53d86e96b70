"""The run as spans of OpenTelemetry, in the JSON of its protocol (OTLP), for Jaeger, Tempo and the like. Pure.

The run is one trace, or part of the one that TRACEPARENT named. The suite got its own span as TRACEPARENT, so that an
application with OpenTelemetry is in the same trace.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from orchestrator.events.run import RunStarted
from orchestrator.report.model import Interval, RunView
from orchestrator.timeline.model import Timeline
from orchestrator.trace_context import TraceContext

_INTERNAL = 1  # SPAN_KIND_INTERNAL
_OK, _ERROR = 1, 2
_BAD = frozenset({"failed", "timedOut", "interrupted", "panicked", "died", "error"})

Span = dict[str, Any]


def otlp_text(view: RunView, timeline: Timeline) -> str:
    """One line: an ``ExportTraceServiceRequest``.

    Args:
        view: of events whose times are on the axis.
    """
    resource = _attributes({"service.name": "orchestrator", "service.version": view.version, "host.arch": ""})
    scope = {"name": "orchestrator", "version": view.version}
    spans = list(_spans(view, context_of(timeline)))
    data = {"resourceSpans": [{"resource": {"attributes": resource}, "scopeSpans": [{"scope": scope, "spans": spans}]}]}
    return json.dumps(data, ensure_ascii=False, separators=(",", ":")) + "\n"


def context_of(timeline: Timeline) -> TraceContext:
    """The trace that a run is, or belongs to."""
    started = next((event for event in timeline.events if isinstance(event, RunStarted)), None)
    return TraceContext.of("", "") if started is None else TraceContext.of(started.run_id, started.traceparent)


def _spans(view: RunView, context: TraceContext) -> Iterator[Span]:
    def span(
        parent: str, names: tuple[str, ...], times: tuple[float, float], status: str, **attributes: object
    ) -> Span:
        return {
            "traceId": context.trace,
            "spanId": context.span(*names),
            **({"parentSpanId": parent} if parent else {}),
            "name": " ".join(names) if names else "run",
            "kind": _INTERNAL,
            "startTimeUnixNano": str(round(times[0] * 1e9)),
            "endTimeUnixNano": str(round(max(times) * 1e9)),
            "attributes": _attributes(attributes),
            "status": {"code": _ERROR if status in _BAD else _OK},
        }

    root = context.span()
    about = {"orchestrator.run": view.run_id, "orchestrator.environment": view.environment}
    yield span(context.parent, (), (view.started, view.ended), view.outcome, **about, outcome=view.outcome)
    for machine in view.machines:
        if machine.intervals:
            times = _whole(machine.intervals)
            yield span(root, ("machine", machine.name), times, machine.state, image=machine.image)
            for number, one in enumerate(machine.intervals):
                of_state = ("machine", machine.name, str(number), one.state)
                yield span(context.span("machine", machine.name), of_state, (one.start, one.end), one.state)
    for service in view.services:
        began = service.began
        if began is not None:
            end = service.up_at or service.intervals[-1].end
            parent = context.span("machine", service.machine)
            needs = ", ".join(service.depends_on)
            yield span(
                parent, ("service", service.name), (began, end), service.state, unit=service.unit, depends_on=needs
            )
    if view.phases:
        times = (min(phase.start for phase in view.phases), max(phase.end for phase in view.phases))
        yield span(root, ("suite",), times, "")
    for phase in view.phases:
        yield span(context.span("suite"), ("phase", phase.name), (phase.start, phase.end), "")
        for test in phase.tests:
            for tried in test.attempts:
                of_test = ("test", test.title, str(tried.retry))
                told = {"test.case.result.status": tried.status, "error": tried.error[:500]}
                times = (tried.start, tried.end)
                yield span(context.span("phase", phase.name), of_test, times, tried.status, **told)


def _whole(intervals: tuple[Interval, ...]) -> tuple[float, float]:
    return intervals[0].start, intervals[-1].end


def _attributes(values: dict[str, object]) -> list[dict[str, Any]]:
    return [{"key": key, "value": {"stringValue": str(value)}} for key, value in values.items() if value]
