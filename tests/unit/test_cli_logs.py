"""`logs` prints each line of a journal once, also one that is written while it reads."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from cli_process import Cli

from orchestrator.cli.logs import _read


def line(number: int) -> bytes:
    entry = {"__REALTIME_TIMESTAMP": str(number * 1_000_000), "MESSAGE": f"line {number}", "SYSLOG_IDENTIFIER": "web"}
    return json.dumps(entry).encode() + b"\n"


def test_following_begins_where_reading_ended(tmp_path: Path) -> None:
    journal, ends = tmp_path / "journal.jsonl", dict[str, int]()
    journal.write_bytes(line(1) + line(2))
    reading = _read(journal, "server", ends)
    seen = [next(reading)[0].message]
    with journal.open("ab") as file:
        file.write(line(3))
    seen += [entry.message for entry, _ in reading]
    assert seen == ["line 1", "line 2"]
    assert journal.read_bytes()[ends["server"] :] == line(3)


def test_half_a_line_is_left_to_be_followed(tmp_path: Path) -> None:
    journal, ends = tmp_path / "journal.jsonl", dict[str, int]()
    journal.write_bytes(line(1) + line(2)[:20])
    assert [entry.message for entry, _ in _read(journal, "server", ends)] == ["line 1"]
    assert ends == {"server": len(line(1))}


@pytest.mark.parametrize(("words", "shown"), [((), [1, 2, 3]), (("--lines", "2"), [2, 3]), (("--lines", "0"), [])])
def test_the_last_lines_of_all_machines(tmp_path: Path, words: tuple[str, ...], shown: list[int]) -> None:
    cli = Cli(tmp_path)
    for machine, numbers in (("alpha", (1, 3)), ("beta", (2,))):
        folder = tmp_path / "other" / "latest" / "machines" / machine
        folder.mkdir(parents=True)
        (folder / "journal.jsonl").write_bytes(b"".join(map(line, numbers)))
    done = cli("logs", *words, ORCH_RUNS="other")
    assert [text.rsplit(" ", 1)[1] for text in done.stdout.splitlines()] == [str(number) for number in shown]
    assert ("no lines yet" in done.stderr) is (not shown)


def test_an_empty_variable_is_as_none(tmp_path: Path) -> None:
    folder = tmp_path / "runs" / "latest" / "machines" / "alpha"
    folder.mkdir(parents=True)
    (folder / "journal.jsonl").write_bytes(line(7))
    assert "line 7" in Cli(tmp_path)("logs", ORCH_RUNS="").stdout
