"""Events: handed out in order, to all, and written whatever a guest put into them."""

from __future__ import annotations

import io
import json
import sys
from pathlib import Path

import pytest

from orchestrator.events import Event, EventBus, JsonLinesLog, utc_text


def test_every_subscriber_gets_every_event_in_order() -> None:
    bus = EventBus()
    seen: list[tuple[str, str]] = []
    bus.subscribe(lambda event: seen.append(("first", event.subject)))
    stop = bus.subscribe(lambda event: seen.append(("second", event.subject)))
    bus.emit("machine.state", "server", state="booting")
    stop()
    stop()
    bus.emit("machine.state", "client")
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
    bus.emit("note", "one")
    bus.emit("note", "two")
    assert [event.subject for event in seen] == ["one", "two"]


def test_a_broken_view_is_dropped_and_told_once(capsys: pytest.CaptureFixture[str]) -> None:
    bus = EventBus()
    seen: list[Event] = []

    def broken(_: Event) -> None:
        raise RuntimeError("no terminal")

    bus.subscribe(broken)
    bus.subscribe(seen.append)
    bus.emit("note", message="one")
    bus.emit("note", message="two")
    assert [event.data["message"] for event in seen] == ["one", "two"]
    assert capsys.readouterr().err.count("no terminal") == 1


def test_a_subscriber_may_leave_while_it_is_called() -> None:
    bus = EventBus()
    seen: list[Event] = []

    def once(event: Event) -> None:
        seen.append(event)
        stop()

    stop = bus.subscribe(once)
    bus.emit("note")
    bus.emit("note")
    assert len(seen) == 1


def test_an_event_as_a_line() -> None:
    event = Event("check.answer", "web", {"ok": False, "path": Path("/x"), "answer": "ü\n\x1b[31m"}, at=1795400000.1234)
    line = event.as_json()
    assert "\n" not in line
    assert json.loads(line) == {
        "time": "2026-11-23T02:13:20.123Z",
        "kind": "check.answer",
        "subject": "web",
        "ok": False,
        "path": "/x",
        "answer": "ü\n\x1b[31m",
    }
    assert utc_text(0) == "1970-01-01T00:00:00.000Z"


def test_the_log_is_on_disk_at_once_and_is_appended_to(tmp_path: Path) -> None:
    path = tmp_path / "events.jsonl"
    path.write_text('{"kind": "old"}\n')
    bus = EventBus()
    with JsonLinesLog(path) as log:
        bus.subscribe(log)
        bus.emit("run.ready", "shop")
        assert [json.loads(line)["kind"] for line in path.read_text().splitlines()] == ["old", "run.ready"]


def test_text_that_is_no_unicode_does_not_end_the_log(tmp_path: Path) -> None:
    """JSON of a guest's journal can hold half a surrogate pair, which UTF-8 cannot."""
    path = tmp_path / "events.jsonl"
    bus = EventBus()
    line = json.loads('"broken \\ud800 half"')
    with JsonLinesLog(path) as log:
        bus.subscribe(log)
        bus.emit("machine.sign", "server", line=line)
        bus.emit("note", message="still written")
    first, second = [json.loads(text) for text in path.read_text().splitlines()]
    assert first["line"] == line
    assert second["message"] == "still written"
