"""Which tests are known to have failed, and which phases are not begun for nothing."""

from __future__ import annotations

from pathlib import Path
from typing import Any, cast

from orchestrator.dev.changes import ALL, FAILED, Selection
from orchestrator.dev.suite_runs import Known, SuiteRuns, failed_before
from orchestrator.environment.suite_events import Case
from orchestrator.environment.suite_tally import Outcome, Tally
from orchestrator.events import JsonLinesLog
from orchestrator.events.suite import TestEnded
from orchestrator.images.layer_parts import _parts
from orchestrator.topology.model import Layer, Suite, SuitePhase

ONE, TWO = (Case(name, f"a.spec.ts › {name}", "a.spec.ts", 1) for name in ("one", "two"))
SUITE = cast("Suite", type("S", (), {"phases": (SuitePhase("stack"), SuitePhase("down"))}))


def tally(**results: str) -> Tally:
    return Tally(planned={case.id: case for case in (ONE, TWO) if case.id in results}, results=dict(results))


def parts(known: Known, selection: Selection) -> list[tuple[str, list[str] | None, tuple[str, ...]]]:
    runs = SuiteRuns(cast("Any", None), None, known)
    found = runs._parts(SUITE, selection, Outcome())
    return [(one.phase.name, None if one.tests is None else list(one.tests), one.files) for one in found]


def test_a_failed_test_is_known_until_it_passes() -> None:
    known = Known()
    known.learn("stack", tally(one="failed", two="passed"), whole=True)
    assert known.any_failed
    assert parts(known, FAILED) == [("stack", ["one"], ())]
    known.learn("stack", tally(one="passed"), whole=False)
    assert not known.any_failed


def test_a_phase_without_a_test_is_not_begun_again() -> None:
    known = Known()
    known.learn("down", Tally(), whole=True)
    assert parts(known, ALL) == [("stack", None, ())]


def test_a_phase_that_only_has_none_of_some_files_is_begun() -> None:
    known = Known()
    known.learn("down", Tally(), whole=False)
    some = Selection("files", frozenset({"b.spec.ts", "a.spec.ts"}))
    assert parts(known, some) == [(name, None, ("a.spec.ts", "b.spec.ts")) for name in ("stack", "down")]


def test_a_changed_suite_may_have_tests_in_each_phase() -> None:
    known = Known()
    known.learn("down", Tally(), whole=True)
    SuiteRuns(cast("Any", None), None, known).changed()
    assert [name for name, *_ in parts(known, ALL)] == ["stack", "down"]


def test_the_failed_tests_of_the_last_run_are_read(tmp_path: Path) -> None:
    (tmp_path / "latest").mkdir()
    with JsonLinesLog(tmp_path / "latest/events.jsonl") as log:
        for case, status, retry in ((ONE, "failed", 0), (ONE, "passed", 1), (TWO, "timedOut", 0)):
            log(
                TestEnded(
                    case.title, phase="stack", id=case.id, file=case.file, line=1, status=status, duration=1.0,
                    retry=retry,
                )
            )  # fmt: skip
    assert failed_before(tmp_path).failed == {"stack": {"two": TWO}}, "one passed at the second attempt"
    assert not failed_before(tmp_path / "no runs").any_failed


def test_files_of_a_layer_are_in_three_groups(tmp_path: Path) -> None:
    for name in ("lib/main.py", "share/pages/index.html", "share/sql/001.sql", "tests/x"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("one")
    layer = Layer("app", tmp_path, "/opt/app", exclude=("/tests",), static=("/share/pages",), resets=("*.sql",))
    before = _parts(layer)
    (tmp_path / "tests/x").write_text("two")
    assert _parts(layer) == before
    for name, group in (("share/pages/index.html", "static"), ("share/sql/001.sql", "resets"), ("lib/main.py", "rest")):
        (tmp_path / name).write_text("two")
        after = _parts(layer)
        changed = [one for one in ("static", "resets", "rest") if getattr(after, one) != getattr(before, one)]
        assert changed == [group]
        before = after
    (tmp_path / "lib/main.py").chmod(0o755)
    assert _parts(layer).rest != before.rest, "that it can be run is a part of it"
