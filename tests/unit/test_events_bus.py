"""Events: handed out in order, to all, and written whatever a guest put into them."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest
from event_records import notes

from orchestrator.events import Event, EventBus, JsonLinesLog, event_kind, utc_text
from orchestrator.events.machines import LogMatched, MachineStateChanged
from orchestrator.events.run import Note, PlannedService, RunReady, RunStarted
from orchestrator.events.services import CheckResulted
from orchestrator.log_patterns import Severity


def test_every_subscriber_gets_every_event_in_order() -> None:
    bus = EventBus()
    seen: list[tuple[str, str]] = []
    bus.subscribe(lambda event: seen.append(("first", event.subject)))
    stop = bus.subscribe(lambda event: seen.append(("second", event.subject)))
    bus.emit(MachineStateChanged("server", state="booting"))
    stop()
    stop()
    bus.emit(MachineStateChanged("client", state="booting"))
    assert seen == [("first", "server"), ("second", "server"), ("first", "client")]


def test_a_view_that_nobody_reads_any_more_breaks_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    class Gone(io.StringIO):
        def write(self, text: str) -> int:
            raise BrokenPipeError(text)

    monkeypatch.setattr(sys, "stderr", Gone())
    bus = EventBus()
    seen: list[Event] = []
    bus.subscribe(lambda event: print(event.subject, file=sys.stderr))
    bus.subscribe(seen.append)
    bus.emit(Note("one", message=""))
    bus.emit(Note("two", message=""))
    assert [event.subject for event in seen] == ["one", "two"]


def test_a_broken_view_is_dropped_and_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    bus = EventBus()
    seen: list[Event] = []

    def broken(_: Event) -> None:
        raise RuntimeError("no terminal")

    bus.subscribe(broken)
    bus.subscribe(seen.append)
    bus.emit(Note(message="one"))
    bus.emit(Note(message="two"))
    assert notes(seen) == ["one", "two"]
    assert capsys.readouterr().err.count("no terminal") == 1


def test_a_subscriber_may_leave_while_it_is_called() -> None:
    bus = EventBus()
    seen: list[Event] = []

    def once(event: Event) -> None:
        seen.append(event)
        stop()

    stop = bus.subscribe(once)
    bus.emit(Note(message=""))
    bus.emit(Note(message=""))
    assert len(seen) == 1


def test_an_event_as_a_line() -> None:
    event = CheckResulted(
        "web", check="page", ok=False, message="ü\n\x1b[31m", attempt=2, elapsed=1.5, time=1795400000.1234, at=77.25
    )
    line = event.as_json()
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2026-11-23T02:13:20.123Z",
        "at": 77.25,
        "kind": "check.result",
        "subject": "web",
        "check": "page",
        "ok": False,
        "message": "ü\n\x1b[31m",
        "attempt": 2,
        "elapsed": 1.5,
    }
    assert utc_text(0) == "1970-01-01T00:00:00.000Z"


def test_what_is_not_known_is_left_out_and_what_is_known_to_be_none_is_not() -> None:
    assert json.loads(MachineStateChanged("m", state="ready", elapsed=0.0).as_json()).keys() == {
        "time",
        "at",
        "kind",
        "subject",
        "state",
        "elapsed",
    }
    assert RunReady("e", elapsed=1.0, restored=False).data() == {"elapsed": 1.0, "restored": False}
    assert RunReady("e", elapsed=1.0).data() == {"elapsed": 1.0}


def test_parts_of_an_event_are_objects_in_json() -> None:
    service = PlannedService("web", "server", "daemon", None, ("db",))
    event = RunStarted(
        "e",
        format=2,
        command="up",
        run_id="r",
        run_folder="/runs/r",
        variant="",
        provider="debian",
        topology="t.toml",
        machines=(),
        services=(service,),
        version="1",
    )
    told = json.loads(event.as_json())
    assert told["machines"] == []
    assert told["services"] == [
        {"name": "web", "machine": "server", "kind": "daemon", "unit": None, "depends_on": ["db"]}
    ]


def test_the_monotonic_time_only_grows() -> None:
    first, second = Note(message="one"), Note(message="two")
    assert first.at <= second.at
    assert abs((second.time - first.time) - (second.at - first.at)) < 1


def test_the_log_is_on_disk_at_once_and_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"kind": "old"}\n')
    bus = EventBus()
    with JsonLinesLog(path) as log:
        bus.subscribe(log)
        bus.emit(RunReady("shop", elapsed=1.0))
        assert [json.loads(line)["kind"] for line in path.read_text().splitlines()] == ["old", "run.ready"]


def test_text_that_is_no_unicode_does_not_end_the_log(tmp_path: Path) -> None:
    """JSON of a guest's journal can hold half a surrogate pair, which UTF-8 cannot."""
    path = tmp_path / "events.jsonl"
    bus = EventBus()
    line = json.loads('"broken \\ud800 half"')
    with JsonLinesLog(path) as log:
        bus.subscribe(log)
        bus.emit(LogMatched("server", pattern="oops", line=line, explanation="", severity=Severity.FAILING))
        bus.emit(Note(message="still written"))
    first, second = [json.loads(text) for text in path.read_text().splitlines()]
    assert first["line"] == line
    assert first["severity"] == "failing"
    assert second["message"] == "still written"


def test_a_name_is_of_one_kind() -> None:
    with pytest.raises(ValueError, match="note is Note already"):

        @event_kind("note")
        class Other(Event):
            """Something else."""
