"""The fold: what a stream of events tells, also when it breaks off or lies."""

import json
from pathlib import Path
from xml.etree import ElementTree

import pytest
from event_records import notes, recorded

from orchestrator.events import Event, read
from orchestrator.events.read import load_events
from orchestrator.report import fold_suite as f
from orchestrator.report.fold import fold
from orchestrator.report.html import render_html
from orchestrator.report.junit import junit_xml
from orchestrator.report.summary import summary

GOLDEN = Path(__file__).parents[1] / "golden" / "report"
PASSED = GOLDEN / "sample-events.jsonl"
MIGRATIONS = GOLDEN / "failed-migrations-events.jsonl"
TESTS = GOLDEN / "failed-tests-events.jsonl"


def at(second: float, kind: str, subject: str = "", **data: object) -> Event:
    return recorded(kind, subject, data, 1_000_000.0 + second)


def test_a_passed_run() -> None:
    view = fold(load_events(PASSED))
    assert (view.outcome, view.exit_code, view.cause) == ("passed", 0, "")
    assert view.ready_after == 58.9
    assert [m.name for m in view.machines] == ["server", "client"]
    assert [s.name for s in view.services][:3] == ["network", "postgresql", "database"]
    backend = next(s for s in view.services if s.name == "backend")
    assert backend.seconds == 7.92, "the first start counts, not the one after backend-down"
    assert backend.depends_on == ("migrations", "mock-llm", "mock-livekit")
    assert [i.state for i in backend.intervals].count("healthy") == 2
    assert {c.name: c.message for c in backend.checks}["health"] == 'HTTP 200 {"status":"ok"}'
    assert [(p.name, p.total, p.count("passed"), p.count("skipped")) for p in view.phases] == [
        ("stack", 8, 7, 1),
        ("backend-down", 2, 2, 0),
    ]


def test_a_service_failed_and_its_dependants_were_skipped() -> None:
    view = fold(load_events(MIGRATIONS))
    states = {s.name: s.state for s in view.services}
    assert states["migrations"] == "failed"
    assert states["backend"] == states["nginx"] == states["client"] == "skipped"
    assert view.ready_after is None
    assert "alicia-migrate.service" in view.cause
    assert next(s for s in view.services if s.name == "backend").began is None


def test_every_attempt_is_kept_and_a_pass_at_last_is_flaky() -> None:
    view = fold(load_events(TESTS))
    by_status = {status: view.count(status) for status in ("passed", "failed", "flaky", "skipped")}
    assert by_status == {"passed": 6, "failed": 2, "flaky": 1, "skipped": 1}
    flaky = next(t for t in view.tests if t.status == "flaky")
    assert [a.status for a in flaky.attempts] == ["timedOut", "passed"]
    assert flaky.first_failure is flaky.attempts[0]
    assert "\x1b" not in view.tests[0].attempts[0].error


@pytest.mark.parametrize("kept", [0.0, 0.1, 0.35, 0.6, 0.9, 0.999])
@pytest.mark.parametrize("sample", [PASSED, MIGRATIONS, TESTS])
def test_a_killed_run_ends_at_its_last_event(tmp_path: Path, sample: Path, kept: float) -> None:
    whole = sample.read_bytes()
    cut = tmp_path / "events.jsonl"
    cut.write_bytes(whole[: int(len(whole) * kept)])
    view = fold(load_events(cut))
    assert (view.outcome, view.exit_code, view.finished) == ("interrupted", None, False)
    assert view.cause
    assert not view.notes or all("could not be read" not in n.message for n in view.notes)
    for part in (*view.machines, *view.services):
        assert all(i.start <= i.end <= view.ended for i in part.intervals)
        if part.intervals:
            assert part.intervals[-1].end == view.ended


def test_interrupted_says_what_was_waited_for() -> None:
    view = fold(
        [
            at(0, "run.started", "alicia"),
            at(1, "wait.heartbeat", "backend", what="service backend", elapsed=30, limit=60, last="HTTP 503"),
        ]
    )
    assert view.cause == "ended while waiting for service backend (last answer: HTTP 503)"


def test_a_wait_that_was_over_is_not_the_cause() -> None:
    view = fold(
        [
            at(0, "service.state", "backend", state="checking"),
            at(1, "wait.heartbeat", "backend", what="service backend", elapsed=30, limit=60, last="HTTP 503"),
            at(2, "service.state", "backend", state="healthy"),
            at(3, "service.state", "nginx", state="starting"),
        ]
    )
    assert view.cause == "ended while these were starting: nginx"


def test_a_test_that_never_ended_is_a_failure() -> None:
    view = fold([at(0, "test.begin", "a › b", phase="p", file="a", line=3), at(4, "note", message="x")])
    (test,) = view.tests
    assert (test.status, test.duration, test.line) == ("failed", 4.0, 3)


def test_missing_file_is_an_empty_run(tmp_path: Path) -> None:
    view = fold(load_events(tmp_path / "none.jsonl"))
    assert (view.outcome, view.started, view.machines) == ("interrupted", 0.0, ())


def test_unreadable_lines_are_counted_and_huge_ones_skipped(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(read, "LINE_LIMIT", 1000)
    good = json.dumps({"time": "2026-11-23T02:00:00Z", "kind": "note", "subject": "", "message": "hello"})
    path = tmp_path / "events.jsonl"
    path.write_bytes(
        good.encode()
        + b"\n\xff\xfe broken\n[1, 2]\n\n"
        + b'{"kind": "note", "message": "'
        + b"x" * 5000
        + b'"}\n'
        + good.encode()
        + b'\n{"time": "2026-11-23T02:0'
    )
    events = list(load_events(path))
    assert notes(events) == ["hello", "hello", "3 lines of events.jsonl could not be read"]


@pytest.mark.parametrize("value", [None, True, [], {}, "x", 1e400, float("nan"), -1, 10**400, "\x00\x1b[31m"])
def test_fields_of_any_type_do_no_harm(value: object) -> None:
    fields = ("state", "elapsed", "machines", "services", "attachments", "duration", "what", "where", "evidence")
    more = (
        "retry",
        "line",
        "phase",
        "status",
        "check",
        "message",
        "attempt",
        "exit_code",
        "time_scale",
        "path",
        "detail",
    )
    kinds = ("run.started", "machine.state", "service.state", "check.result", "test.begin", "test.end", "failure")
    others = ("suite.state", "image.state", "run.finished", "wait.heartbeat", "screenshot", "host.accelerator")
    data = dict.fromkeys((*fields, *more), value)
    view = fold(at(i, kind, "x", **data) for i, kind in enumerate((*kinds, *others)))
    assert view.finished
    assert all(p.seconds is None or p.seconds >= 0 for p in (*view.machines, *view.services))


def test_what_is_beyond_the_bounds_is_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(f, "ENTRIES", 10)
    view = fold(at(i, "note", message=str(i)) for i in range(25))
    assert (len(view.notes), view.dropped) == (10, 15)


def test_a_test_that_was_to_run_and_has_no_end_did_not_run_also_when_the_stream_breaks_off() -> None:
    planned = [at(1, "test.planned", f"a › {name}", phase="stack", id=name, file="a", line=1) for name in "xyz"]
    others = [at(1, "test.planned", "b › far", phase="stack", id="w", elsewhere=True)]
    began = at(2, "test.begin", "a › x", phase="stack", id="x")
    ended = at(3, "test.end", "a › x", phase="stack", id="x", status="failed", duration=1.0, error="no")
    view = fold([*planned, *others, began, ended, at(4, "test.begin", "a › y", phase="stack", id="y")])
    assert [(test.title, test.status) for test in view.tests] == [
        ("a › x", "failed"),
        ("a › y", "failed"),
        ("a › z", "did_not_run"),
    ]
    assert view.tests[1].attempts[0].error == "never ended"
    assert view.cause == "2 of 3 tests failed, 1 did not run, first: a › x"


def test_tests_of_one_title_are_told_apart_by_their_ids() -> None:
    ends = [at(n, "test.end", "same", phase="stack", id=str(n), status=s) for n, s in enumerate(("passed", "failed"))]
    assert [test.status for test in fold(ends).tests] == ["passed", "failed"]


def test_a_pass_in_another_fresh_state_does_not_undo_a_failure() -> None:
    words = ("failed", "passed")
    ends = [at(n, "test.end", "setup", phase="p", id="1", status=word, retry=0) for n, word in enumerate(words)]
    assert fold(ends).tests[0].status == "failed"
    retried = at(2, "test.end", "setup", phase="p", id="1", status="passed", retry=1)
    assert fold([*ends[:1], retried]).tests[0].status == "flaky"


def test_a_phase_begins_when_it_is_started_and_not_when_its_tests_are_listed() -> None:
    listed = at(1, "test.planned", "a › x", phase="stack", id="x")
    view = fold([listed, *(at(n, "suite.state", "stack", state=s) for n, s in ((50, "starting"), (60, "finished")))])
    assert view.phases[0].end - view.phases[0].start == 10


def test_an_empty_shard_says_so() -> None:
    others = [at(1, "test.planned", f"t{n}", phase="stack", id=str(n), elsewhere=True) for n in range(3)]
    view = fold([*others, at(2, "run.finished", "e", outcome="nothing-ran", exit_code=0)])
    assert view.cause == "its shard is empty, other shards have all 3 tests"


def test_errors_of_the_suite_itself_are_kept() -> None:
    view = fold([at(1, "suite.error", "stack", error="SyntaxError: no"), at(2, "suite.error", "stack", error=[])])
    assert view.phases[0].errors == ("SyntaxError: no", "")


def pytest_events() -> list[Event]:
    """What the pytest plugin reports: tests, and no phase that begins or ends."""

    def one(kind: str, name: str, second: float, **data: object) -> Event:
        common = {"phase": "pytest", "id": f"test_a.py::{name}", "file": "test_a.py", "line": 3}
        return at(second, kind, f"test_a.py › {name}", **common, **data)

    return [
        at(0, "run.ready", "vm"),
        one("test.begin", "test_one", 10),
        one("test.end", "test_one", 12, status="passed", duration=2.0, retry=0),
        one("test.begin", "test_two", 20),
        one("test.end", "test_two", 25, status="failed", duration=4.5, retry=0, error="assert 1 == 2\nmore"),
        at(60, "run.finished", "vm", outcome="failed", exit_code=1, elapsed=60.0),
    ]


def test_the_tests_of_a_driver_are_listed_with_their_times_and_no_suite_is_missed() -> None:
    view = fold(pytest_events())
    [phase] = view.phases
    assert [(test.title, test.status, test.duration) for test in phase.tests] == [
        ("test_a.py › test_one", "passed", 2.0),
        ("test_a.py › test_two", "failed", 4.5),
    ]
    assert (phase.end - phase.start, phase.unfinished) == (15.0, False)
    assert view.cause == "1 of 2 tests failed, first: test_a.py › test_two"
    [_, suite] = ElementTree.fromstring(junit_xml(view))
    assert (suite.get("name"), suite.get("tests"), suite.get("failures"), suite.get("errors")) == (
        "pytest",
        "2",
        "1",
        "0",
    )
    assert [case.get("time") for case in suite] == ["2.000", "4.500"]
    assert "did not finish" not in render_html(view)
    assert summary(view)["tests"]["failed"] == 1  # type: ignore[index]


def test_a_driver_that_is_killed_leaves_its_test_interrupted() -> None:
    view = fold(pytest_events()[:4])
    assert [test.status for test in view.tests] == ["passed", "failed"]
    assert view.tests[1].attempts[0].status == "interrupted"
