"""The journal of a guest: lines that come from somebody we do not trust, in a file that grows."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from simulated_time import run_simulated

from orchestrator.deadline import Deadline
from orchestrator.services.journal import MESSAGE_LIMIT, RUNS_LIMIT, Entry, Journal, parse_entry
from orchestrator.vm.follow import LINE_LIMIT, follow_lines, shorten


def line(message: str, unit: str = "web.service", **fields: object) -> str:
    return json.dumps({"MESSAGE": message, "_SYSTEMD_UNIT": unit, **fields})


def test_a_real_line() -> None:
    text = (
        '{"__CURSOR":"s=1","__REALTIME_TIMESTAMP":"1795400000123456","__MONOTONIC_TIMESTAMP":"5000","PRIORITY":"3",'
        '"SYSLOG_IDENTIFIER":"alicia","_SYSTEMD_UNIT":"alicia.service","MESSAGE":"listening on 8888"}'
    )
    entry = Entry(1795400000.123456, "alicia.service", "alicia", "listening on 8888", 3, monotonic=0.005)
    assert parse_entry(text) == entry


def test_when_a_line_was_said_and_not_when_journald_had_the_time_to_take_it() -> None:
    taken = {"__REALTIME_TIMESTAMP": "1795400014000000", "__MONOTONIC_TIMESTAMP": "14000000"}
    of_kernel = parse_entry(line("Linux version", **taken, _SOURCE_MONOTONIC_TIMESTAMP="1500000"))
    of_program = parse_entry(line("ready", **taken, _SOURCE_REALTIME_TIMESTAMP="1795400013000000"))
    stepped = parse_entry(line("ready", **taken, _SOURCE_REALTIME_TIMESTAMP="1700000000000000"))
    odd = parse_entry(line("ready", **taken, _SOURCE_MONOTONIC_TIMESTAMP=["1"]))
    assert [one and one.monotonic for one in (of_kernel, of_program, stepped, odd)] == [1.5, 13.0, 14.0, 14.0]


def test_what_systemd_says_about_a_unit_belongs_to_the_unit() -> None:
    entry = parse_entry(line("Started web.", unit="init.scope", UNIT="web.service"))
    assert entry is not None
    assert entry.unit == "web.service"


def test_only_systemd_says_that_a_unit_ended() -> None:
    exited = "98e322203f7a4ed290d09fe03c09fe15"
    by_systemd = parse_entry(line("Main process exited", unit="init.scope", UNIT="web.service", MESSAGE_ID=exited))
    by_itself = parse_entry(line("Main process exited", MESSAGE_ID=exited))
    of_something_else = parse_entry(line("Started web.", unit="init.scope", UNIT="web.service", MESSAGE_ID="39f5"))
    odd = parse_entry(line("x", UNIT="web.service", MESSAGE_ID=[exited]))
    assert [entry and entry.ended for entry in (by_systemd, by_itself, of_something_else, odd)] == [
        True,
        False,
        False,
        False,
    ]


def test_a_message_of_bytes() -> None:
    entry = parse_entry(line("", MESSAGE=[104, 105, 255, 300, -1, "x", None]))
    assert entry is not None
    assert entry.message == "hi\ufffd"


@pytest.mark.parametrize(
    "text",
    [
        "",
        "not json",
        "null",
        "[]",
        "42",
        '"text"',
        "{",
        "{}x",
        '{"PRIORITY": null}',
        '{"PRIORITY": "high"}',
        '{"PRIORITY": [3]}',
        '{"__REALTIME_TIMESTAMP": {}}',
        '{"__REALTIME_TIMESTAMP": NaN}',
        '{"__REALTIME_TIMESTAMP": Infinity}',
        '{"__REALTIME_TIMESTAMP": "' + "9" * 400 + '"}',
        '{"__REALTIME_TIMESTAMP": "' + "9" * 6000 + '"}',
        "[" * 60000,
        '{"a":' * 10000,
    ],
    ids=lambda text: text[:24],
)
def test_anything_else_is_no_entry(text: str) -> None:
    assert parse_entry(text) is None


@pytest.mark.parametrize("value", [None, 7, True, [], {}, {"a": [1]}])
@pytest.mark.parametrize("key", ["MESSAGE", "UNIT", "_SYSTEMD_UNIT", "SYSLOG_IDENTIFIER"])
def test_fields_of_another_type_become_text(key: str, value: object) -> None:
    entry = parse_entry(json.dumps({key: value}))
    assert entry is not None
    assert isinstance(entry.unit, str)
    assert isinstance(entry.message, str)


@given(st.text() | st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists).map(json.dumps))
@settings(derandomize=True, deadline=None)
def test_no_line_raises(text: str) -> None:
    parse_entry(text)


def test_messages_are_bounded() -> None:
    entry = parse_entry(line("x" * 100_000))
    assert entry is not None
    assert len(entry.message) == MESSAGE_LIMIT


# ------------------------------------------------------------------ following


@asynccontextmanager
async def following(journal: Journal) -> AsyncIterator[None]:
    task = asyncio.create_task(journal.follow())
    try:
        yield
    finally:
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task


def append(path: Path, data: str | bytes) -> None:
    with path.open("ab") as file:
        file.write(data if isinstance(data, bytes) else data.encode())


async def until(condition: Callable[[], bool], what: str) -> None:
    limit = Deadline.after(5)
    while not condition():
        assert not limit.expired, what
        await asyncio.sleep(0.002)


def check(work: Callable[[Journal, list[Entry]], Awaitable[None]], path: Path) -> None:
    async def scenario() -> None:
        seen: list[Entry] = []
        journal = Journal(path, seen.append)
        async with following(journal):
            await work(journal, seen)

    run_simulated(scenario())


def test_a_file_that_comes_later_and_grows_in_pieces(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"

    async def work(journal: Journal, seen: list[Entry]) -> None:
        await asyncio.sleep(0.06)
        whole = line("ääh, two parts").encode() + b"\n"
        append(path, whole[:25])  # in the middle of a character
        await asyncio.sleep(0.12)
        assert seen == []
        append(path, whole[25:] + line("second").encode() + b"\nrubbish\xff\xfe\n" + line("third").encode() + b"\n")
        await until(lambda: len(seen) == 3, "three entries")
        assert [entry.message for entry in seen] == ["ääh, two parts", "second", "third"]

    check(work, path)


def test_the_end_of_a_unit_is_told_once_to_who_asked_before(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.touch()

    async def work(journal: Journal, seen: list[Entry]) -> None:
        ended = journal.await_end("web.service")
        append(path, line("nothing of it") + "\n")
        append(path, line("", UNIT="other.service", MESSAGE_ID="be02cf6855d2428ba40df7e9d022f03d") + "\n")
        await until(lambda: len(seen) == 2, "two entries")
        assert not ended.is_set()
        append(path, line("", UNIT="web.service", MESSAGE_ID="be02cf6855d2428ba40df7e9d022f03d") + "\n")
        async with Deadline.after(2).enforce():
            await ended.wait()
        assert not journal.await_end("web.service").is_set(), "another start is another wait"

    check(work, path)


def test_the_runs_of_a_unit_are_known_by_its_own_name(tmp_path: Path) -> None:
    """The topology calls it by an alias; what others say of it, and what was said before, does not count."""

    def line(unit: str, run: str, key: str = "UNIT") -> str:
        return json.dumps({"MESSAGE": "Starting", key: unit, "INVOCATION_ID": run}) + "\n"

    async def scenario() -> None:
        path = tmp_path / "journal.jsonl"
        path.write_text(line("ssh.service", "0"))
        journal = Journal(path)
        follower = asyncio.create_task(journal.follow())
        await journal.wait_for_entry("ssh.service")
        journal.know("sshd.service", "ssh.service")
        journal.await_end("sshd.service")
        with path.open("a") as file:
            file.write(line("ssh.service", "1") + line("web.service", "2") + line("ssh.service", "3", "_SYSTEMD_UNIT"))
            file.write("".join(line("ssh.service", f"{n}") for n in range(1000, 2000)))
            file.write(json.dumps({"MESSAGE": "end", "_SYSTEMD_UNIT": "end.service"}) + "\n")
        await journal.wait_for_entry("end.service")
        runs = journal.runs("sshd.service")
        assert "1" in runs
        assert not {"0", "2", "3"} & runs
        assert len(runs) == RUNS_LIMIT, "bounded, whatever a guest says"
        assert journal.runs("web.service") == frozenset(), "nobody asked for it"
        follower.cancel()

    run_simulated(scenario())


def test_news_wakes_at_the_next_line_of_the_unit_only(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    path.touch()

    async def work(journal: Journal, seen: list[Entry]) -> None:
        async with asyncio.TaskGroup() as group:
            waiting = [group.create_task(journal.wait_for_entry("web.service")) for _ in range(2)]
            await asyncio.sleep(0)
            append(path, line("not for you", "db.service") + "\n")
            await until(lambda: len(seen) == 1, "the other's line")
            await asyncio.sleep(0.01)
            assert not any(task.done() for task in waiting)
            written = time.monotonic()
            append(path, line("for you") + "\n")
            async with asyncio.timeout(5):
                await asyncio.gather(*waiting)
            assert time.monotonic() - written < 0.25

    check(work, path)


def test_a_flood_starves_nobody(tmp_path: Path) -> None:
    path = tmp_path / "journal.jsonl"
    flood = (line("x" * 300) + "\n") * 20_000  # 7 MB, as of a service gone wild
    path.write_text(flood + line("last") + "\n")

    async def work(journal: Journal, seen: list[Entry]) -> None:
        longest, before = 0.0, time.monotonic()
        while not seen or seen[-1].message != "last":
            await asyncio.sleep(0.001)
            now = time.monotonic()
            longest, before = max(longest, now - before), now
        assert longest < 0.5, "the loop was held"

    check(work, path)


def test_overlong_lines_are_cut_and_the_next_is_whole(tmp_path: Path) -> None:
    path = tmp_path / "serial.log"
    path.write_bytes(b"a" * (3 * LINE_LIMIT + 300_000) + b"\r\nnext\r\nrest without an end")

    async def scenario() -> None:
        lines = follow_lines(path)
        first = await anext(lines)
        assert set(first) == {"a"}
        assert len(first) == LINE_LIMIT
        assert await anext(lines) == "next"
        append(path, b", until now\n")
        assert await anext(lines) == "rest without an end, until now"
        await lines.aclose()  # type: ignore[attr-defined]

    run_simulated(scenario())


def test_following_may_begin_in_the_middle(tmp_path: Path) -> None:
    path = tmp_path / "serial.log"
    path.write_text("old\nnew\n")

    async def scenario() -> str:
        return await anext(follow_lines(path, start=4))

    assert run_simulated(scenario()) == "new"


def test_a_log_that_grows_without_end_is_shortened_and_followed_on(tmp_path: Path) -> None:
    async def scenario() -> None:
        path = tmp_path / "serial.log"
        lines = follow_lines(path)
        with path.open("ab") as writer:  # as QEMU does: it appends, and never opens it again
            writer.write(b"x" * 5000 + b"\nfirst\n")
            writer.flush()
            assert [await anext(lines), await anext(lines)] == ["x" * 5000, "first"]
            assert not shorten(path, 10_000)
            assert shorten(path, 5000)
            assert path.stat().st_size == 0
            assert (tmp_path / "serial.log.1").read_bytes().endswith(b"\nfirst\n")
            writer.write(b"second\n")
            writer.flush()
            assert await anext(lines) == "second"
        assert not shorten(tmp_path / "none", 1)
        path.write_bytes(b"x" * 100)
        (tmp_path / "serial.log.1").unlink()
        (tmp_path / "serial.log.1").mkdir()  # what it held cannot be kept: as on a full disk
        (tmp_path / "serial.log.1" / "x").touch()
        assert shorten(path, 10)
        assert path.stat().st_size == 0

    run_simulated(scenario())
