"""The reports of a run that was divided among clones: one summary, one JUnit file, one page with links to theirs."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import Any
from xml.etree.ElementTree import Element, ParseError, SubElement, fromstring, tostring

from orchestrator.atomic import write_atomically
from orchestrator.events.read import load_events
from orchestrator.events.suite import TestPlanned
from orchestrator.fields import SENTENCE
from orchestrator.report.model_tests import STATUSES, words
from orchestrator.report.summary import SUMMARY_FORMAT
from orchestrator.text import clean

FOLDER = "clones"  # in the run folder: CLONE/RUN, one folder of runs for each clone
ABOUT = ("run_id", "environment", "command", "seconds")
TOTALS = STATUSES
# Of several outcomes the worst is reported. A clone without a test is no fault as long as another had one.
WORST_FIRST = ("error", "interrupted", "failed", "suspicious", "passed", "nothing-ran")
GREEN = frozenset({"passed", "suspicious", "nothing-ran"})
NAMED = 1_000  # tests that the reports name


@dataclass(frozen=True, slots=True)
class ClonePart:
    """One clone's run.

    Attributes:
        folder: its run folder; None when it did not get that far.
        summary: its ``summary.json``; empty without one.
    """

    name: str
    folder: Path | None
    summary: dict[str, Any]

    @property
    def outcome(self) -> str:
        found = str(self.summary.get("outcome", "error"))
        return found if found in WORST_FIRST else "error"


def read_parts(run_folder: Path) -> list[ClonePart]:
    """The parts below a run folder, by the clones' names; of each clone the latest run."""
    root = run_folder / FOLDER
    return [_read_part(path) for path in sorted(root.iterdir(), key=_natural)] if root.is_dir() else []


def _natural(path: Path) -> tuple[int, str]:
    number = path.name.rpartition("-")[2]
    return (int(number) if number.isdigit() else 0, path.name)


def _read_part(path: Path) -> ClonePart:
    runs = sorted(one for one in path.iterdir() if one.is_dir() and not one.is_symlink()) if path.is_dir() else []
    if not runs:
        return ClonePart(path.name, None, {})
    return ClonePart(path.name, runs[-1], json_of(runs[-1] / "summary.json"))


def json_of(path: Path) -> dict[str, Any]:
    """An object in a file; nothing where there is none."""
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}


def worst(parts: list[ClonePart]) -> tuple[str, int]:
    """Outcome and exit code of all parts together. Pure."""
    if not parts:
        return "error", 3
    return min(((part.outcome, _code(part)) for part in parts), key=lambda one: (WORST_FIRST.index(one[0]), -one[1]))


def _code(part: ClonePart) -> int:
    code = part.summary.get("exit_code")
    return code if isinstance(code, int) and part.outcome == part.summary.get("outcome") else 3


def in_no_clone(parts: list[ClonePart]) -> list[str]:
    """Titles of tests that clones know to be in another shard, and that no clone was to run."""
    known: dict[tuple[str, str], str] = {}
    planned: set[tuple[str, str]] = set()
    for part in parts:
        for event in load_events(part.folder / "events.jsonl") if part.folder is not None else ():
            if isinstance(event, TestPlanned):
                test = (event.phase, event.id)
                if event.other_shard:
                    known[test] = clean(event.subject, SENTENCE)
                else:
                    planned.add(test)
    return [title for test, title in known.items() if test not in planned]


def summary_of(
    parts: list[ClonePart], about: dict[str, Any], run_folder: Path, missing: Sequence[str] = ()
) -> dict[str, Any]:
    """``summary.json`` of the whole. Pure.

    Args:
        missing: titles of tests that were in no clone's shard: with them, nothing has passed.
    """
    outcome, code = worst(parts)
    counted = [part.summary.get("tests") for part in parts]
    tests = {word: sum(_count(one, word) for one in counted if isinstance(one, dict)) for word in TOTALS}
    tests["did_not_run"] += len(missing)
    cause = {}
    if missing:
        cause = {"cause": f"{len(missing)} browser tests ran in no clone, first: {missing[0]}"}
        if outcome in GREEN:
            outcome, code = "failed", 1
    return {
        "format": SUMMARY_FORMAT,
        "outcome": outcome,
        "exit_code": code,
        **cause,
        **about,
        "tests": tests,
        "missing": list(missing[:NAMED]),
        "clones": [
            {
                "name": part.name,
                "outcome": part.outcome,
                "exit_code": part.summary.get("exit_code"),
                "cause": part.summary.get("cause"),
                "tests": part.summary.get("tests"),
                "seconds": part.summary.get("seconds"),
                "run_folder": str(part.folder.relative_to(run_folder)) if part.folder else None,
            }
            for part in parts
        ],
    }


def _count(counts: dict[str, Any], word: str) -> int:
    number = counts.get(word, 0)
    return number if isinstance(number, int) else 0


def junit_of(parts: list[ClonePart], missing: Sequence[str] = ()) -> str:
    """One JUnit text: every clone's suites, named after it, and what ran in none."""
    return joined_junit("clones", "clone", ((part.name, one) for part in parts for one in suites_of(part)), missing)


def joined_junit(name: str, part: str, suites: Iterable[tuple[str, Element]], missing: Sequence[str]) -> str:
    """One JUnit text of the suites of several runs. Pure.

    Args:
        part: what each of them is called.
        suites: each with the name of its part.
        missing: titles of tests that ran in none.
    """
    root = Element("testsuites", name=name)
    for of, suite in suites:
        suite.set("name", f"{of} {suite.get('name', '')}".strip())
        root.append(suite)
    if missing:
        count = str(len(missing[:NAMED]))
        counts = {"tests": count, "errors": count, "failures": "0", "skipped": "0"}
        suite = SubElement(root, "testsuite", {"name": f"in no {part}", **counts})
        for title in missing[:NAMED]:
            case = SubElement(suite, "testcase", classname="suite", name=title, time="0.000")
            SubElement(case, "error", message=f"did not run in any {part}", type="DidNotRun")
    for word in ("tests", "failures", "errors", "skipped"):
        numbers = [suite.get(word, "0") for suite in root]
        root.set(word, str(sum(int(number) for number in numbers if number.isdigit())))
    return '<?xml version="1.0" encoding="UTF-8"?>\n' + tostring(root, encoding="unicode") + "\n"


def suites_of(part: ClonePart) -> list[Element]:
    if part.folder is None:
        return []
    try:
        return list(fromstring((part.folder / "junit.xml").read_text(encoding="utf-8")))  # noqa: S314 - our own file
    except (OSError, ParseError):
        return []


def page_of(parts: list[ClonePart], summary: dict[str, Any], run_folder: Path) -> str:
    """A small page, readable on a phone: each clone, and the way to its report."""
    rows = "".join(_row(part, run_folder) for part in parts)
    tests = ", ".join(f"{summary['tests'][word]} {words(word)}" for word in TOTALS)
    title = f"{summary['outcome']}: {len(parts)} clones"
    return (
        '<!doctype html><html lang="en"><meta charset="utf-8">'
        '<meta name="viewport" content="width=device-width, initial-scale=1">'
        f"<title>{escape(title)}</title>"
        "<style>body{font:16px/1.5 system-ui,sans-serif;margin:1rem;max-width:60rem}"
        "td,th{padding:.3rem .8rem .3rem 0;text-align:left;vertical-align:top}</style>"
        f"<h1>{escape(title)}</h1><p>{escape(tests)}</p>{_missing(summary)}"
        f"<table><tr><th>clone</th><th>outcome</th><th>tests</th><th>seconds</th></tr>{rows}</table></html>\n"
    )


def _missing(summary: dict[str, Any]) -> str:
    titles = "".join(f"<li>{escape(title)}</li>" for title in summary.get("missing", ()))
    return f"<p>{escape(summary['cause'])}</p><ul>{titles}</ul>" if titles else ""


def _row(part: ClonePart, run_folder: Path) -> str:
    tests = part.summary.get("tests")
    known = tests if isinstance(tests, dict) else {}
    counted = ", ".join(f"{known[word]} {words(word)}" for word in TOTALS if known.get(word))
    seconds = part.summary.get("seconds")
    total = seconds.get("total", "") if isinstance(seconds, dict) else ""
    name = escape(part.name)
    if part.folder is not None:
        link = "../" + "/".join(escape(word, quote=True) for word in part.folder.relative_to(run_folder).parts)
        name = f'<a href="{link}/report/index.html">{name}</a>'
    cause = str(part.summary.get("cause") or "")
    outcome = escape(part.outcome) + (f"<br>{escape(cause)}" if cause else "")
    return f"<tr><td>{name}</td><td>{outcome}</td><td>{escape(counted)}</td><td>{escape(str(total))}</td></tr>"


def write_clones(run_folder: Path, about: dict[str, Any] | None = None) -> dict[str, Any]:
    """Write ``summary.json``, ``junit.xml`` and ``report/index.html`` from what the clones left; the summary.

    Args:
        about: run, environment, command and seconds of the whole; None: as the summary of before has them.
    """
    parts = read_parts(run_folder)
    if about is None:
        before = json_of(run_folder / "summary.json")
        about = {key: before[key] for key in ABOUT if key in before}
    missing = in_no_clone(parts)
    summary = summary_of(parts, about, run_folder, missing)
    write_atomically(run_folder / "summary.json", json.dumps(summary, indent=2) + "\n", mode=0o644)
    write_atomically(run_folder / "junit.xml", junit_of(parts, missing), mode=0o644)
    (run_folder / "report").mkdir(exist_ok=True)
    write_atomically(run_folder / "report" / "index.html", page_of(parts, summary, run_folder), mode=0o644)
    return summary
