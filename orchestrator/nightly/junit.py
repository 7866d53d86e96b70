"""One JUnit file of all runs of a night: the first run of each cell, with what repetitions and quarantine say."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path
from xml.etree.ElementTree import Element, SubElement, fromstring, indent, tostring

from orchestrator.events.read import load_events
from orchestrator.history.records import EVENTS
from orchestrator.nightly.model import CellState, Night
from orchestrator.report.fold import fold
from orchestrator.report.junit import junit_xml

HEADER = '<?xml version="1.0" encoding="UTF-8"?>\n'


def night_junit(night: Night) -> str:
    """The text of ``junit.xml``. A test that is flaky has ``flakyFailure``, one in quarantine is ``skipped``."""
    root = Element("testsuites", name=night.name)
    for cell in night.cells:
        first = next((run for run in cell.runs if run.role == "first"), None)
        suites = _suites(Path(first.folder)) if first is not None else None
        if suites is None:
            _not_run(root, cell)
            continue
        for suite in suites:
            suite.set("name", f"{cell.name}: {suite.get('name', '')}")
            for case in suite.iter("testcase"):
                _change(case, cell.flaky, "flakyFailure")
                _change(case, cell.quarantined, "skipped")
            _count(suite)
            root.append(suite)
    for name in ("tests", "failures", "errors", "skipped"):
        root.set(name, str(sum(int(suite.get(name, "0")) for suite in root)))
    indent(root)
    return HEADER + tostring(root, encoding="unicode") + "\n"


def _suites(folder: Path) -> list[Element] | None:
    """Those of a run, from its events: one that was killed wrote no reports."""
    try:
        return list(fromstring(junit_xml(fold(load_events(folder / EVENTS)))))  # noqa: S314 - our own text
    except OSError:
        return None


def _not_run(root: Element, cell: CellState) -> None:
    suite = SubElement(root, "testsuite", name=cell.name)
    case = SubElement(suite, "testcase", classname="night", name=cell.name, time="0")
    why = "no time was left for it" if cell.left_out else cell.cause or "it did not run"
    SubElement(case, "error", message=why, type=cell.outcome or "NotRun")
    _count(suite)


def _change(case: Element, titles: Collection[str], tag: str) -> None:
    if case.get("name") in titles:
        for failure in [*case.findall("failure"), *case.findall("rerunFailure")]:
            failure.tag = tag


def _count(suite: Element) -> None:
    cases = list(suite.iter("testcase"))
    suite.set("tests", str(len(cases)))
    for name, child in (("failures", "failure"), ("errors", "error"), ("skipped", "skipped")):
        suite.set(name, str(sum(case.find(child) is not None for case in cases)))
