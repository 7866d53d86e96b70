"""Events from files of this version, of others, and of nobody at all."""

from __future__ import annotations

import json
from dataclasses import fields
from pathlib import Path

import pytest
from event_records import notes, recorded
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.events import Event
from orchestrator.events.base import FORMAT, KINDS
from orchestrator.events.machines import ImageStateChanged, LogMatched, MachineStateChanged
from orchestrator.events.read import RENAMED, UnknownEvent, event_of, load_events, parse_event
from orchestrator.events.run import (
    AcceleratorChosen,
    Failure,
    Note,
    PlannedMachine,
    PlannedService,
    RunFinished,
    RunReady,
    RunStarted,
)
from orchestrator.events.services import CheckResulted, Heartbeat, ServiceStateChanged, UnitAlias
from orchestrator.events.states import ServiceState
from orchestrator.events.suite import (
    Attachment,
    IsolationStateChanged,
    SuiteError,
    SuiteOutput,
    SuiteStateChanged,
    TestEnded,
    TestPlanned,
)
from orchestrator.log_patterns import Severity
from orchestrator.report.fold import fold

STARTED = RunStarted(
    "shop",
    format=FORMAT,
    command="run",
    run_id="r1",
    run_folder="/runs/r1",
    variant="full",
    provider="debian",
    topology="t.toml",
    machines=(PlannedMachine("server", "debian", 2, 2048),),
    services=(PlannedService("web", "server", "daemon", "web.service", ("db",)),),
    version="1.0",
)
EVERYTHING: list[Event] = [
    STARTED,
    AcceleratorChosen(accelerator="tcg", reason="no /dev/kvm", time_scale=10.0, qemu="10.0"),
    ImageStateChanged("debian", state="ready", provider="debian", key="k", seconds=1.5, path="/i", detail="d"),
    MachineStateChanged("server", state="died", elapsed=1.25, detail="SIGKILL"),
    LogMatched(
        "server", pattern="oops", line="BUG: ", explanation="a bug", severity=Severity.FAILING, waiver="it is known"
    ),
    ServiceStateChanged("web", machine="server", state=ServiceState.HEALTHY, elapsed=0.0),
    UnitAlias("sshd.service", machine="server", id="ssh.service"),
    CheckResulted("web", check="page", ok=True, message="HTTP 200", attempt=3, elapsed=2.0),
    Heartbeat("web", what="check page", elapsed=30.0, timeout=60.0, detail="HTTP 503"),
    IsolationStateChanged("shop", state="ready", number=2, total=9, elapsed=3.5),
    SuiteStateChanged("stack", state="finished", exit_code=1, passed=3, failed=1, did_not_run=0, elapsed=9.0),
    SuiteOutput("stack", line="ü", stream="stderr"),
    SuiteError("stack", error="no"),
    TestPlanned("a › b", phase="stack", id="1", file="a", line=7, other_shard=True),
    TestEnded(
        "a › b",
        phase="stack",
        id="1",
        file="a",
        line=7,
        status="failed",
        duration=1.0,
        retry=1,
        error="no",
        attachments=(Attachment("trace", "playwright/trace.zip", "application/zip"),),
    ),
    Note("server", message="m", level="warning", run_folder="/runs/r0"),
    Failure("web", type="ServiceError", what="w", why="y", where=("a", "b"), hint="h", evidence=("e",), exit_code=3),
    RunReady("shop", elapsed=60.0, restored=False),
    RunFinished("shop", outcome="failed", exit_code=1, elapsed=61.0),
]


@pytest.mark.parametrize("event", EVERYTHING, ids=lambda event: event.kind)
def test_what_is_written_is_read_again(event: Event) -> None:
    read = parse_event(event.as_json())
    assert type(read) is type(event)
    assert read.data() == event.data()
    assert (read.subject, read.at) == (event.subject, event.at)
    assert read.time == pytest.approx(event.time, abs=0.002)  # a file has milliseconds


def test_the_names_of_format_1_are_read() -> None:
    match = recorded(
        "machine.sign", "server", {"sign": "oops", "line": "BUG: ", "weight": "failing", "accepted": "it is known"}
    )
    assert isinstance(match, LogMatched)
    assert (match.pattern, match.severity, match.waiver) == ("oops", Severity.FAILING, "it is known")
    assert match.severity is Severity.FAILING
    check = recorded("check.answer", "web", {"check": "page", "ok": True, "answer": "HTTP 200", "attempt": 2})
    assert isinstance(check, CheckResulted)
    assert (check.message, check.attempt, check.ok) == ("HTTP 200", 2, True)
    alias = recorded("unit.name", "sshd.service", {"machine": "server", "real": "ssh.service"})
    assert alias.data() == {"machine": "server", "id": "ssh.service"}
    assert isinstance(recorded("world.state", "e", {"state": "ready", "number": 2, "total": 3}), IsolationStateChanged)
    host = recorded("host.accelerator", "", {"accelerator": "tcg", "factor": 10})
    assert isinstance(host, AcceleratorChosen) and host.time_scale == 10.0
    beat = recorded("wait.heartbeat", "web", {"what": "x", "limit": 90, "last": "refused"})
    assert isinstance(beat, Heartbeat) and (beat.timeout, beat.detail) == (90.0, "refused")
    image = recorded("image.state", "i", {"state": "failed", "why": "no disk"})
    assert isinstance(image, ImageStateChanged) and image.detail == "no disk"
    test = recorded("test.planned", "t", {"elsewhere": True})
    assert isinstance(test, TestPlanned) and test.other_shard
    note = recorded("note", "", {"message": "m", "left_folder": "/r"})
    assert isinstance(note, Note) and note.run_folder == "/r"


def test_no_new_name_is_an_old_one() -> None:
    for new, names in RENAMED.values():
        known = {one.name for one in fields(KINDS[new])}
        assert set(names.values()) <= known
        assert not set(names) & known
    assert not {old for old, (new, _) in RENAMED.items() if old != new} & KINDS.keys()


def test_a_kind_that_is_not_known_is_kept_and_a_field_left_out() -> None:
    unknown = recorded("machine.weather", "server", {"offset": 0.25, "how": ["kvm"]})
    assert isinstance(unknown, UnknownEvent)
    assert (unknown.name, unknown.subject, unknown.record) == (
        "machine.weather",
        "server",
        {"offset": 0.25, "how": ["kvm"]},
    )
    known = recorded("machine.state", "server", {"state": "hibernating", "battery": 7})
    assert isinstance(known, MachineStateChanged)
    assert known.data() == {"state": "hibernating"}
    view = fold([unknown, known])
    assert view.machines[0].state == "hibernating", "a word of a newer version is shown as it is"


def test_a_newer_file_says_so(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    line = json.loads(STARTED.as_json())
    path.write_text(json.dumps({**line, "format": FORMAT + 1}) + "\n")
    _, note = load_events(path)
    assert f"has format {FORMAT + 1}, this version reads {FORMAT}" in notes([note], "warning")[0]
    path.write_text(json.dumps(line) + "\n")
    assert len(list(load_events(path))) == 1
    del line["format"]
    path.write_text(json.dumps(line) + "\n")
    (old,) = load_events(path)
    assert isinstance(old, RunStarted) and old.format == 0


ODD = (None, True, [], {}, "x", 1e400, float("nan"), -1, 10**400, "\x00\x1b[31m", [[]], [{"name": {}}], 10**5000)


@pytest.mark.parametrize("value", ODD, ids=range(len(ODD)))
def test_a_field_of_any_type_does_no_harm(value: object) -> None:
    for kind, cls in KINDS.items():
        data = {one.name: value for one in fields(cls) if one.name != "subject"}
        event = event_of({"kind": kind, "subject": value, **data})
        assert type(event) is cls
        for name, got in event.data().items():
            assert isinstance(got, str | int | float | bool | tuple | None), (kind, name)
        assert all(isinstance(one, str | int | float | bool | tuple | None) for one in event.data().values())
    assert fold(event_of({"kind": kind, **dict.fromkeys(("state", "machines"), value)}) for kind in KINDS).finished  # type: ignore[misc]


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=6,
)


@given(
    st.sampled_from(sorted(KINDS.keys() | RENAMED.keys())),
    st.dictionaries(st.sampled_from(sorted({one.name for cls in KINDS.values() for one in fields(cls)})), JSON),
)
def test_types_are_right_whatever_was_written(kind: str, data: dict[str, object]) -> None:
    event = event_of({**data, "kind": kind})
    assert event is not None
    assert isinstance(event.subject, str)
    assert isinstance(event.time, float) and isinstance(event.at, float)
    again = parse_event(event.as_json())
    assert again is not None
    assert again.data() == event.data()


@pytest.mark.parametrize("line", [b"", b"{", b"[]", b"7", b'{"kind": 7}', b'{"time": "x"}', b"[" * 60_000])
def test_lines_that_are_no_events(line: bytes) -> None:
    assert parse_event(line) is None


def test_one_text_is_a_list_of_one() -> None:
    event = recorded("failure", "", {"what": "w", "where": "a/b", "evidence": ["x", 7, None]})
    assert isinstance(event, Failure)
    assert (event.where, event.evidence) == (("a/b",), ("x", "7"))
