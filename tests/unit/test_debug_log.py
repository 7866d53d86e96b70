"""The debug log has each command with its time and result, and no secret."""

import asyncio
import logging
import re
from collections.abc import Iterator
from pathlib import Path

import pytest
from cli_process import Cli

from orchestrator import debug
from orchestrator.deadline import Deadline
from orchestrator.debug import DebugLog, shown_arguments, shown_command, timed
from orchestrator.process import run

SECRET = "hunter2-and-more"


@pytest.fixture
def log() -> Iterator[DebugLog]:
    root = logging.getLogger()
    before = list(root.handlers)
    yield DebugLog()
    for handler in [each for each in root.handlers if each not in before]:
        root.removeHandler(handler)
        handler.close()


def test_what_came_before_the_run_folder_is_written_first(log: DebugLog, tmp_path: Path) -> None:
    log.configure()
    with timed("qmp", "server", "query-status"):
        pass
    log.write_to(tmp_path)
    with timed("host", "", "true") as outcome:
        outcome.text = "code 0"
    first, second = (tmp_path / "debug.log").read_text().splitlines()
    stamp = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z orchestrator.commands"
    assert re.fullmatch(rf"{stamp} qmp server: query-status → ok \(\d+\.\d{{3}} s\)", first)
    assert re.fullmatch(rf"{stamp} host: true → code 0 \(\d+\.\d{{3}} s\)", second)


def test_a_command_without_a_run_folder_keeps_the_last_records_only(
    log: DebugLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(debug, "BEFORE", 3)
    log.configure()
    for number in range(10):
        with timed("qmp", "server", f"command-{number}"):
            pass
    log.write_to(tmp_path)
    assert re.findall(r"command-\d", (tmp_path / "debug.log").read_text()) == ["command-7", "command-8", "command-9"]


def test_a_host_command_is_there_with_its_code_and_without_what_it_printed(log: DebugLog, tmp_path: Path) -> None:
    log.configure()
    log.write_to(tmp_path)
    asyncio.run(run(["sh", "-c", f"echo {SECRET}; exit 3"], deadline=Deadline.after(20), check=False))
    text = (tmp_path / "debug.log").read_text()
    assert "host: sh <2 words> → code 3" in text
    assert SECRET not in text


def test_a_failure_is_named_by_its_kind_only(log: DebugLog, tmp_path: Path) -> None:
    log.configure()
    log.write_to(tmp_path)
    with pytest.raises(ValueError, match=SECRET), timed("agent", "client", "guest-exec"):
        raise ValueError(SECRET)
    assert "agent client: guest-exec → ValueError" in (tmp_path / "debug.log").read_text()
    assert SECRET not in (tmp_path / "debug.log").read_text()


@pytest.mark.parametrize(
    "argv",
    [
        ["psql", f"postgres://u:{SECRET}@db/x"],
        ["env", f"TOKEN={SECRET}", "true"],
        ["systemctl", "set-environment", f"TOKEN={SECRET}"],
        ["curl", "-H", f"Authorization: {SECRET}"],
        ["/opt/x", SECRET],
    ],
)
def test_arguments_of_unknown_programs_and_values_of_assignments_are_not_shown(argv: list[str]) -> None:
    assert SECRET not in shown_command(argv)


def test_arguments_of_qmp_show_text_of_known_keys_only() -> None:
    shown = shown_arguments({"id": "disk0", "password": SECRET, "buf-b64": SECRET, "nested": {"a": SECRET}, "n": 3})
    assert (
        shown
        == f"id=disk0 password=<{len(SECRET)} characters> buf-b64=<{len(SECRET)} characters> nested=<1 values> n=3"
    )


def test_the_file_is_bounded(log: DebugLog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(debug, "MOST", 10_000)
    log.configure()
    log.write_to(tmp_path)
    for number in range(1_000):
        with timed("host", "", f"command {number}"):
            pass
    assert sorted(path.name for path in tmp_path.iterdir()) == ["debug.log", "debug.log.1"]
    assert sum(path.stat().st_size for path in tmp_path.iterdir()) <= 20_000
    assert "command 999" in (tmp_path / "debug.log").read_text()


def test_a_full_disk_ends_the_debug_log_and_nothing_else(
    log: DebugLog, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    log.configure()
    log.write_to(tmp_path / "that is not there")
    with timed("host", "", "true"):
        pass
    assert capsys.readouterr().err == ""


def test_records_are_shown_where_the_progress_is(log: DebugLog) -> None:
    first: list[str] = []
    second: list[str] = []
    log.configure(first.append)
    with timed("qmp", "server", "cont"):
        pass
    with log.shown_by(second.append), timed("qmp", "server", "stop"):
        pass
    assert [line.partition(" →")[0] for line in first + second] == ["qmp server: cont", "qmp server: stop"]
    logging.getLogger("paramiko").warning("not for the terminal")
    assert len(first + second) == 2


def test_v_and_vv_differ(tmp_path: Path) -> None:
    """`doctor` runs commands of the host: only -vv shows them."""
    cli = Cli(tmp_path)
    once, twice = cli("doctor", "-v"), cli("doctor", "-vv")
    assert "host: " not in once.stderr
    assert re.search(r"^host: \S.* → code 0 \(\d+\.\d{3} s\)$", twice.stderr, re.MULTILINE)
    assert once.stdout.splitlines()[0] == twice.stdout.splitlines()[0]
