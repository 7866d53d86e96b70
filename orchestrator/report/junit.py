"""``junit.xml``: services, machines and browser tests as test cases.

Attempts are reported as Surefire does (``flakyFailure``, ``rerunFailure``);
readers that do not know these elements see a passed or failed case.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from xml.etree.ElementTree import Element, SubElement, indent, tostring

from orchestrator.errors import NothingRan
from orchestrator.events import utc_text
from orchestrator.report.model import Failure, MachineView, RunView, ServiceView
from orchestrator.report.model_tests import Attempt, PhaseView, TestView, words
from orchestrator.text import clean

_LIMIT = 50_000


def junit_xml(view: RunView) -> str:
    """The text of ``junit.xml``.

    Returns:
        ``testsuites`` with one ``testsuite`` named ``services`` (a case per machine
        start and per service, and one named ``run`` when the run failed for a
        reason no other case shows), then one per phase of the suite. Times in seconds.
    """
    root = Element("testsuites", name=_text(view.environment or "run"), time=_seconds(view.elapsed))
    services = SubElement(root, "testsuite", name="services", timestamp=_timestamp(view.started))
    told: set[int] = set()
    for machine in view.machines:
        _part_case(services, "machine", machine, view, told)
    for service in view.services:
        _part_case(services, "service", service, view, told)
    _run_case(services, view, told)
    for phase in view.phases:
        suite = SubElement(root, "testsuite", name=_text(phase.name), timestamp=_timestamp(phase.start))
        for test in phase.tests:
            _test_case(suite, test)
        # A phase that executes no test is no error: `--grep` and `--shard` leave some empty, others are all skipped.
        well = phase.exit_code in (0, None, NothingRan.exit_code)
        if phase.unfinished or phase.errors or not (well or phase.count("failed")):
            _phase_case(suite, phase)
    for suite in root:
        _count(suite, list(suite))
    _count(root, [case for suite in root for case in suite])
    indent(root)
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def _part_case(suite: Element, kind: str, part: MachineView | ServiceView, view: RunView, told: set[int]) -> None:
    began, broken = part.began, part.broken
    spent = part.seconds
    if spent is None and began is not None:
        spent = (broken.start if broken else view.ended) - began
    case = SubElement(suite, "testcase", classname=kind, name=_text(part.name), time=_seconds(spent or 0.0))
    failures = [(i, f) for i, f in enumerate(view.failures) if i not in told and _is_about(f, part)]
    if broken is not None or failures:
        told.update(i for i, _ in failures)
        what = failures[0][1].what if failures else f"{kind} {part.name}: {broken.state if broken else 'failed'}"
        body = "\n\n".join(explain(f) for _, f in failures) or (broken.detail if broken else "")
        SubElement(case, "failure", message=_text(what), type=_text(_type(failures, kind))).text = _text(body)
    elif part.seconds is None and began is not None:
        message = f"still {part.state} when the run ended"
        SubElement(case, "error", message=_text(message), type="Interrupted").text = _text(part.detail)
    elif part.seconds is None:
        SubElement(case, "skipped", message=_text(part.detail or "never reached"))
    if isinstance(part, ServiceView) and part.checks:
        answers = (f"{c.name}: {'ok' if c.ok else 'not ok'} after {c.attempts}: {c.message}" for c in part.checks)
        SubElement(case, "system-out").text = _text("\n".join(answers))


def _is_about(failure: Failure, part: MachineView | ServiceView) -> bool:
    """By its subject; one without a subject is about the broken part that its sentence names."""
    if failure.subject:
        return failure.subject == part.name
    return part.broken is not None and part.name in re.split(r"[\s:,]+", failure.what)


def _run_case(suite: Element, view: RunView, told: set[int]) -> None:
    left = [f for i, f in enumerate(view.failures) if i not in told and f.type != "SuiteFailed"]
    shown = bool(told) or view.count("failed") > 0
    if not left and (view.outcome in ("passed", "suspicious") or shown):
        return
    case = SubElement(suite, "testcase", classname="run", name="run", time=_seconds(view.elapsed))
    what = left[0].what if left else view.cause or view.outcome
    kind = (left[0].type if left else "") or view.outcome
    body = "\n\n".join(explain(f) for f in left)
    SubElement(case, "error", message=_text(what), type=_text(kind)).text = _text(body)


def _phase_case(suite: Element, phase: PhaseView) -> None:
    case = SubElement(suite, "testcase", classname="suite", name=_text(phase.name), time="0.000")
    ended = f"the suite ended with exit code {phase.exit_code}"
    what = "the suite did not finish" if phase.unfinished else ended
    if phase.errors:
        what = phase.errors[0].strip().split("\n", 1)[0] or what
    body = "\n\n".join(phase.errors) or "\n".join(phase.output[-50:])
    SubElement(case, "error", message=_text(what), type="Suite").text = _text(body)


def _test_case(suite: Element, test: TestView) -> None:
    case = SubElement(
        suite,
        "testcase",
        classname=_text(test.file or test.phase),
        name=_text(test.title),
        file=_text(test.file),
        line=str(test.line),
        time=_seconds(test.duration),
    )
    properties = SubElement(case, "properties")
    SubElement(properties, "property", name="status", value=test.status)
    SubElement(properties, "property", name="attempts", value=str(len(test.attempts)))
    failed = [attempt for attempt in test.attempts if attempt.failed]
    if test.status == "flaky":
        for attempt in failed:
            _error(SubElement(case, "flakyFailure"), attempt)
    elif test.status == "failed":
        first, *others = failed or test.attempts
        _error(SubElement(case, "failure"), first)
        for attempt in others:
            _error(SubElement(case, "rerunFailure"), attempt)
    elif test.status == "skipped":
        SubElement(case, "skipped")
    elif test.status == "did_not_run":
        # JUnit has no word for it, and "skipped" would be a wrong one: it was to run.
        SubElement(case, "error", message=words(test.status), type="DidNotRun")
    # The form that GitLab, Jenkins and Playwright's own reporter share.
    paths = [f"[[ATTACHMENT|{a.path}]]" for attempt in test.attempts for a in attempt.attachments if a.path]
    if paths:
        SubElement(case, "system-out").text = _text("\n".join(paths))


def _error(element: Element, attempt: Attempt) -> None:
    first_line = attempt.error.strip().split("\n", 1)[0]
    element.set("message", _text(first_line or attempt.status))
    element.set("type", _text(attempt.status))
    element.text = _text(attempt.error)


def explain(failure: Failure) -> str:
    """A failure as plain text of several lines: what, why, evidence, where, next."""
    parts = [failure.what]
    if failure.why:
        parts.append(f"why: {failure.why}")
    if failure.evidence:
        parts.append("evidence:\n" + "\n".join(f"  {line}" for line in failure.evidence))
    if failure.where:
        parts.append("where: " + "\n       ".join(failure.where))
    if failure.hint:
        parts.append(f"next: {failure.hint}")
    return "\n".join(parts)


def _count(element: Element, cases: Iterable[Element]) -> None:
    listed = list(cases)
    element.set("tests", str(len(listed)))
    for name, child in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        element.set(name, str(sum(case.find(child) is not None for case in listed)))
    if element.tag == "testsuite":
        element.set("time", _seconds(sum(float(case.get("time", "0")) for case in listed)))


def _type(failures: list[tuple[int, Failure]], kind: str) -> str:
    return (failures[0][1].type if failures else "") or f"{kind.capitalize()}Error"


def _text(value: str) -> str:
    return clean(value, _LIMIT, multiline=True)


def _seconds(value: float) -> str:
    return f"{max(0.0, value):.3f}"


def _timestamp(at: float) -> str:
    try:
        return utc_text(at).removesuffix("Z")
    except (ValueError, OverflowError, OSError):
        return "1970-01-01T00:00:00.000"
