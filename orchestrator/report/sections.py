"""What the sections of the HTML report show, as plain values; the templates say how."""

from __future__ import annotations

from collections.abc import Iterable
from datetime import UTC, datetime

from orchestrator.report.markup import seconds
from orchestrator.report.model import Failure, LogMatch, RunView
from orchestrator.report.model_tests import STATUSES, Attempt, PhaseView, TestView, words

FILES_OF_A_MACHINE = 200  # linked in the page
_RUN_FILES: tuple[str, ...] = ("playwright/report/index.html", "events.jsonl", "summary.json", "junit.xml", "debug.log")
_HEADLINES = {
    "passed": "Passed",
    "suspicious": "Passed, with suspicious log lines",
    "failed": "Tests failed",
    "error": "Environment failed",
    "interrupted": "Interrupted",
    "nothing-ran": "Nothing ran",
}


def headline(view: RunView) -> str:
    """The outcome in words."""
    return _HEADLINES.get(view.outcome, view.outcome)


def facts(view: RunView) -> list[tuple[str, str]]:
    """The numbers that matter, by label."""
    found = [("ready after", seconds(view.ready_after) if view.ready_after is not None else "never")]
    found.append(("total", seconds(view.elapsed)))
    if view.services:
        up = sum(service.seconds is not None for service in view.services)
        found.append(("services up", f"{up} of {len(view.services)}"))
    if view.phases:
        total = sum(phase.total for phase in view.phases)
        found.append(("tests passed", f"{view.count('passed') + view.count('flaky')} of {total}"))
        found += [(words(s), str(view.count(s))) for s in STATUSES if s != "passed" and view.count(s)]
    broken = [fault for fault in view.faults if fault.kind != "capture"]
    if broken:
        found.append(("faults", str(len(broken))))
        times = [fault.recovered for fault in broken if fault.recovered is not None]
        found += [("slowest recovery", seconds(max(times)))] if times else []
    return [*found, ("exit code", "–" if view.exit_code is None else str(view.exit_code))]


def about(view: RunView) -> list[str]:
    """The environment, command, variant, images and host of the run, those that are known."""
    host = f"{view.accelerator} (time limits × {view.time_scale:g})" if view.time_scale != 1 else view.accelerator
    images = f"{view.provider} images" if view.provider else ""
    return [text for text in (view.environment, view.command, view.variant, images, host) if text]


def date(at: float) -> datetime | None:
    """A point in time; None for 0 and what no calendar has."""
    try:
        return datetime.fromtimestamp(at, UTC) if at else None
    except (ValueError, OverflowError, OSError):
        return None


def failures(view: RunView) -> list[Failure]:
    """The reported failures, without the one that only says that tests failed, which are shown themselves."""
    return [failure for failure in view.failures if failure.type != "SuiteFailed" or not view.count("failed")]


def failed_tests(view: RunView) -> list[tuple[TestView, Attempt, str]]:
    """Every failed test with its first failing attempt and its anchor."""
    return [
        (test, test.first_failure, test_id(number, index))
        for number, phase in enumerate(view.phases)
        for index, test in enumerate(phase.tests)
        if test.status == "failed" and test.first_failure is not None
    ]


def test_id(phase: int, index: int) -> str:
    """The anchor of a test, from the number of its phase and its place in it."""
    return f"test-{phase + 1}-{index + 1}"


def named_file(place: str, files: frozenset[str]) -> str:
    """The file of the run folder that a place names, with or without its line; ``""`` for none."""
    for file in (place, place.rsplit(":", 1)[0]):
        if file in files:
            return file
    return max((f for f in files if "/" in f and place.endswith("/" + f)), key=len, default="")


def plan(view: RunView) -> list[tuple[str, str]]:
    """Environment, host and versions, by label."""
    scale = f", time limits × {view.time_scale:g}" if view.time_scale != 1 else ""
    return [
        ("Environment", view.environment),
        ("Variant", view.variant),
        ("Command", view.command),
        ("Run", view.run_id),
        ("Topology", view.topology),
        ("Accelerator", view.accelerator + scale),
        ("Because", view.accelerator_reason),
        ("QEMU", view.qemu),
        ("Orchestrator", view.version),
        ("Networks", ", ".join(f"{name} ({state})" for name, state in view.networks.items())),
    ]


def counts(phase: PhaseView) -> str:
    """``12 passed, 1 failed``"""
    return ", ".join(f"{phase.count(s)} {words(s)}" for s in STATUSES if phase.count(s))


def colour(match: LogMatch) -> str:
    """The state that has the colour of a match's badge."""
    if match.waiver or match.severity == "noted":
        return "skipped"
    return "flaky" if match.severity == "suspicious" else "failed"


def evidence(files: Iterable[str]) -> dict[str, list[str]]:
    """The files of the run to link, and those of each machine by its name."""
    groups = {"run": [path for path in _RUN_FILES if path in set(files)]}
    for path in sorted(files):
        parts = path.split("/")
        if path.endswith(".pcap"):
            groups.setdefault("captures", []).append(path)
        if parts[0] == "machines" and len(parts) >= 3 and not path.endswith(".png"):
            groups.setdefault(parts[1], []).append(path)
    return {name: paths[:FILES_OF_A_MACHINE] for name, paths in groups.items() if paths}


def short(path: str) -> str:
    """The name of a file below its group of `evidence`."""
    if path == "playwright/report/index.html":
        return "Playwright's report"
    return path.split("/", 2)[2] if path.startswith("machines/") else path
