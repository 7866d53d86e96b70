"""What a suite prints and what its runner tells, taken apart: bounded, and whatever it is, nothing raises."""

from __future__ import annotations

import json
from typing import Any

import pytest
from event_records import notes, of
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.environment import suite_invoke as module
from orchestrator.environment.suite_events import LINE_LIMIT, Case, Finished, Lines, Planned, parse
from orchestrator.environment.suite_invoke import Reader, only_files
from orchestrator.environment.suite_tally import Account, Outcome, judge
from orchestrator.errors import OrchestratorError
from orchestrator.events import Event, EventBus
from orchestrator.events.suite import SuiteOutput
from orchestrator.report.fold import fold
from orchestrator.report.junit import junit_xml
from orchestrator.report.summary import summary_json


def reader() -> tuple[Reader, list[Event]]:
    bus, events = EventBus(), list[Event]()
    bus.subscribe(events.append)
    return Reader(bus, "stack"), events


def told(**fields: Any) -> bytes:
    return json.dumps({"event": "test-end", "id": "1", "title": "t", "status": "failed", **fields}).encode() + b"\n"


def test_lines_come_in_any_pieces_and_streams_stay_apart() -> None:
    found, events = reader()
    for stream, data in (("stdout", b"on"), ("stderr", b"tw"), ("stdout", b"e\r\n\n"), ("stderr", b"o\n\xff\n")):
        found.feed(data, stream)
    found.feed(b"no end", "stdout")
    found.close()
    assert [(event.stream, event.line) for event in of(events, SuiteOutput)] == [
        ("stdout", "one"),
        ("stderr", "two"),
        ("stderr", "\ufffd"),
        ("stdout", "no end"),
    ]


def test_a_gigabyte_of_noise_is_a_bounded_number_of_events(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "OUTPUT_LIMIT", 1 << 20)
    found, events = reader()
    found._room = 1 << 20
    noise = (b"n" * 1023 + b"\n") * 1024
    for _ in range(1024):
        found.feed(noise, "stdout")
    endless = b"e" * (1 << 20)  # a line without end
    for _ in range(16):
        found.feed(endless, "stderr")
    assert sum(len(event.as_json()) for event in events) < 3 << 20
    assert notes(events) == ["phase stack prints more than 1 MiB; the rest is left out"]
    assert sum(map(len, found._rest.values())) <= 2 * module.LINE_LIMIT


def test_tests_beyond_the_bound_are_still_counted() -> None:
    found, events = reader()
    found._telling_room = 4000
    for number in range(100):
        found.tell(told(id=str(number), error="e" * 500))
    assert found.account.count("failed") == 100
    assert 1 < len(events) < 10


def test_of_several_attempts_the_last_counts() -> None:
    found, _ = reader()
    for status in ("failed", "timedOut", "flaky"):
        found.tell(told(status=status))
    assert found.account.results == {"1": "flaky"}
    found.tell(told(status="a word of a newer runner"))
    assert found.account.results == {"1": "failed"}


@pytest.mark.parametrize("size", [1, 7, 4096, 10**6])
def test_the_channel_comes_in_any_pieces_and_too_long_lines_cost_only_themselves(size: int) -> None:
    good = b"g" * (LINE_LIMIT - 1)
    stream = b"first\n" + good + b"\n" + b"b" * LINE_LIMIT + b"\n" + b"c" * 10**5 + b"\n\nlast\nhalf"
    lines = Lines()
    step = max(size, 1)
    found = [line for at in range(0, len(stream), step) for line in lines.feed(stream[at : at + step])]
    assert found == [b"first", good, b"last"]
    assert lines.dropped == 2


@pytest.mark.parametrize(
    "line",
    [
        b"",
        b"{",
        b"[]",
        b"null",
        b"1e999",
        b'{"event": 1}',
        b'{"event": null, "title": []}',
        b"\xff\xfe",
        b"[" * 60_000,
        b'{"event":"test-end","id":"1","duration":' + b"9" * 50_000 + b"}",
        b'{"event":"planned"}',
        b'{"event":"planned","id":7}',
        b'{"event":"test-end","id":"' + b"i" * 1000 + b'"}',
    ],
)
def test_lines_that_tell_nothing_are_counted_and_cost_nothing(line: bytes) -> None:
    found, events = reader()
    found.tell(line + b"\n")
    assert found.account == Account()
    found.close()
    expected = ["phase stack wrote 1 lines that are not test events"] if line else []
    assert notes(events) == expected


def test_numbers_that_are_none_are_left_out() -> None:
    event = parse(b'{"event":"test-end","id":"1","duration":NaN,"retry":-1e400,"line":Infinity,"status":[]}')
    assert isinstance(event, Finished)
    assert (event.duration, event.retry, event.test.line, event.status) == (0.0, 0, 0, "interrupted")


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
NAMES = (
    "id",
    "title",
    "file",
    "path",
    "line",
    "index",
    "total",
    "support",
    "whole",
    "status",
    "duration",
    "retry",
    "error",
    "attachments",
    "text",
    "phase",
    "shard",
)
KINDS = st.sampled_from(("begin", "planned", "elsewhere", "test-begin", "test-end", "error", "end"))
ATTACHMENTS = st.lists(st.dictionaries(st.sampled_from(("name", "path", "content_type")), JSON))
EVENTS = st.builds(
    lambda kind, fields, ident, files: {"event": kind, "id": ident, "attachments": files, **fields},
    KINDS | JSON,
    st.dictionaries(st.sampled_from(NAMES), JSON),
    st.sampled_from("ab") | JSON,
    ATTACHMENTS | JSON,
)


@given(st.lists(EVENTS | JSON, max_size=8), st.integers(1, 40), st.sampled_from([0, 1, 4, 137]))
def test_whatever_is_told_nothing_raises_on_its_way_to_the_reports(told: list[Any], size: int, code: int) -> None:
    found, events = reader()
    stream = b"".join(json.dumps(one).encode() + b"\n" for one in told)
    for at in range(0, len(stream), size):
        found.tell(stream[at : at + size])
    found.close()
    outcome = Outcome()
    outcome.phase("stack").add(found.account, code)
    try:
        judge(outcome)
    except OrchestratorError as error:
        assert error.what
    view = fold(events)
    assert junit_xml(view)
    json.loads(summary_json(view))


@given(st.binary(max_size=300))
def test_bytes_of_any_kind_are_no_events(data: bytes) -> None:
    assert parse(data) is None or data.lstrip().startswith(b"{")


def test_names_of_files_are_told_as_they_are_and_become_exact_patterns() -> None:
    event = parse(json.dumps({"event": "planned", "id": "1", "path": "/s/[id] c++.spec.ts"}).encode())
    assert isinstance(event, Planned)
    assert only_files({"1": event.test}) == [r"^/s/\[id\] c\+\+\.spec\.ts$"]
    unknown = Case("2", "t", "f", 1, "")
    assert only_files({"1": event.test, "2": unknown}) == []
    for path in ("/nul\0", "/half\ud800", "/" + "x" * 5000):
        bad = parse(json.dumps({"event": "planned", "id": "1", "path": path}).encode())
        assert isinstance(bad, Planned) and bad.test.path == "", "it can be no word of a command"
