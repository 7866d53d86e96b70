"""What a suite prints, taken apart: tests become events, the rest is bounded."""

from __future__ import annotations

import json

import pytest

from orchestrator.environment import suite as module
from orchestrator.environment.suite import MARK, _Reader
from orchestrator.events import Event, EventBus


def reader() -> tuple[_Reader, list[Event]]:
    bus, events = EventBus(), list[Event]()
    bus.subscribe(events.append)
    return _Reader(bus, "stack"), events


def test_lines_come_in_any_pieces_and_streams_stay_apart() -> None:
    found, events = reader()
    for stream, data in (("stdout", b"on"), ("stderr", b"tw"), ("stdout", b"e\r\n\n"), ("stderr", b"o\n\xff\n")):
        found.feed(data, stream)
    assert [(event.data["stream"], event.data["line"]) for event in events] == [
        ("stdout", "one"), ("stderr", "two"), ("stderr", "\ufffd"),
    ]  # fmt: skip


def test_a_gigabyte_of_noise_is_a_bounded_number_of_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OUTPUT_LIMIT", 1 << 20)
    found, events = reader()
    noise = (b"n" * 1023 + b"\n") * 1024
    for _ in range(1024):
        found.feed(noise, "stdout")
    endless = b"e" * (1 << 20)  # a line without end
    for _ in range(16):
        found.feed(endless, "stderr")
    assert sum(len(str(event.data)) for event in events) < 3 << 20
    assert [event.data["message"] for event in events if event.kind == "note"] == [
        "phase stack prints more than 1 MiB; the rest is left out"
    ]
    assert sum(map(len, found._rest.values())) <= 2 * module.LINE_LIMIT


def test_tests_beyond_the_bound_are_still_counted(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OUTPUT_LIMIT", 1000)
    found, events = reader()
    end = {"event": "test-end", "title": "t", "status": "failed", "final": True, "error": "e" * 500}
    line = f"{MARK}{json.dumps(end)}\n".encode()
    for _ in range(100):
        found.feed(line, "stdout")
    assert found.counts.failed == 100
    assert 1 < len(events) < 10


@pytest.mark.parametrize("text", ["", "{", "[]", '{"event": 1}', '{"event": null, "title": []}', "\ud800"])
def test_marks_that_are_none_are_output(text: str) -> None:
    found, events = reader()
    found.feed(f"{MARK}{text}\n".encode("utf-8", "replace"), "stdout")
    assert {event.kind for event in events} <= {"suite.output"}
