"""The history: made of run folders, whole after any end, the same for several writers."""

from __future__ import annotations

import json
import multiprocessing
import resource
import signal
import sqlite3
import sys
from contextlib import closing
from pathlib import Path

import pytest
from cli_process import Cli

sys.path.insert(0, str(Path(__file__).parents[2] / "scripts/lib"))

from night_runs import FIRST, InventedRun, invent

from orchestrator.cli.history import looked_at
from orchestrator.errors import HistoryError
from orchestrator.history.filling import Imported, fill, record, refill
from orchestrator.history.queries import find_run, run_rows
from orchestrator.history.records import read_run
from orchestrator.history.store import History


@pytest.fixture
def history(tmp_path: Path) -> History:
    return History(tmp_path / "state")


@pytest.fixture
def runs(tmp_path: Path) -> Path:
    return tmp_path / "runs"


def outcomes(history: History) -> dict[str, str]:
    return {row["run_id"]: row["outcome"] for row in looked_at(run_rows, history)}


def imported(history: History, *places: Path, again: bool = False) -> Imported:
    for place in places:
        history.add_folder(place)
    return history.use(lambda connection: fill(connection, places, again=again), refill(history))


def test_a_run_is_recorded_with_what_it_was_made_of(history: History, runs: Path) -> None:
    folder = InventedRun(0, {"a page works": "fp", "another": "f"}, {"layer app": "a7"}).write(runs)
    record(folder, history)
    row = looked_at(lambda connection: find_run(connection, folder.name[:12]), history)
    assert row is not None
    assert (row["outcome"], row["exit_code"], row["accelerator"]) == ("failed", 1, "tcg")
    found = read_run(folder)
    assert {one.kind: one.digest for one in found.revisions} == {
        "suite": "s1",
        "layer app": "a7",
        "image server": "i1",
        "QEMU": "10.0",
        "orchestrator": "1",
    }
    assert [(test.title, test.status, len(test.attempts)) for test in found.tests] == [
        ("a page works", "flaky", 2),
        ("another", "failed", 1),
    ]


def test_one_revision_set_is_one_name(runs: Path) -> None:
    first, same, other = (InventedRun(n, {}, {"layer app": a}).write(runs) for n, a in enumerate(("a1", "a1", "a2")))
    assert read_run(first).revision_set == read_run(same).revision_set != read_run(other).revision_set


def test_what_did_not_change_is_not_read_again(history: History, runs: Path) -> None:
    invent(runs, 3, 2)
    assert imported(history, runs) == Imported(runs=3)
    assert imported(history, runs) == Imported(known=3)
    assert imported(history, runs, again=True) == Imported(runs=3)
    assert len(outcomes(history)) == 3


def test_a_run_that_was_killed_is_found_with_the_next_look(history: History, runs: Path) -> None:
    """It could not record itself; its folder ends in the middle of a line."""
    first, killed = invent(runs, 2, 2)
    record(first, history)
    events = killed / "events.jsonl"
    text = events.read_text().splitlines(keepends=True)
    events.write_text("".join(text[:-1]) + '{"time": "2026-')
    assert outcomes(history) == {first.name: "passed", killed.name: "interrupted"}
    events.write_text("".join(text))  # it went on after all
    assert outcomes(history)[killed.name] == "passed"


@pytest.mark.parametrize(
    "content", [b"", b"no database at all, but some text\n" * 100, b"SQLite format 3\0" + b"\x99" * 9000]
)
def test_a_damaged_database_is_set_aside_and_made_again(history: History, runs: Path, content: bytes) -> None:
    invent(runs, 2, 2)
    imported(history, runs)
    for part in ("-wal", "-shm"):
        Path(f"{history.path}{part}").unlink(missing_ok=True)
    history.path.write_bytes(content)
    assert len(outcomes(history)) == 2
    aside = list(history.root.glob("history.db.damaged-*"))
    assert [path.read_bytes() for path in aside] == ([content] if content else [])


def test_a_page_in_the_middle_that_is_damaged_loses_nothing(history: History, runs: Path) -> None:
    invent(runs, 20, 60)
    imported(history, runs)
    with closing(sqlite3.connect(history.path)) as connection:
        connection.execute("PRAGMA wal_checkpoint(TRUNCATE)")
    content = bytearray(history.path.read_bytes())
    content[4096 * 2 :] = b"\x13" * (len(content) - 4096 * 2)
    history.path.write_bytes(content)
    assert len(outcomes(history)) == 20
    assert list(history.root.glob("history.db.damaged-*"))


def test_a_database_of_a_newer_version_is_left_alone(history: History, runs: Path) -> None:
    imported(history, *invent(runs, 1, 1))
    with closing(sqlite3.connect(history.path)) as connection:
        connection.execute("PRAGMA user_version=99")
    with pytest.raises(HistoryError, match="newer version"):
        outcomes(history)


def _record_all(root: Path, folders: list[Path]) -> None:
    for folder in folders:
        record(folder, History(root))


@pytest.mark.slow
def test_several_writers_lose_nothing(history: History, runs: Path) -> None:
    """Also where all of them find no database."""
    folders = invent(runs, 24, 5)
    context = multiprocessing.get_context("spawn")
    writers = [context.Process(target=_record_all, args=(history.root, folders[part::4])) for part in range(4)]
    for writer in writers:
        writer.start()
    for writer in writers:
        writer.join()
    assert [writer.exitcode for writer in writers] == [0] * 4
    with closing(sqlite3.connect(history.path)) as connection:  # not by way of what looks for new folders
        assert connection.execute("SELECT count(*) FROM run").fetchone()[0] == 24
        assert connection.execute("SELECT count(*) FROM result").fetchone()[0] == 24 * 5
        assert connection.execute("PRAGMA integrity_check").fetchone()[0] == "ok"


def _record_until_full(root: Path, folders: list[Path]) -> None:
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, 200_000))  # a write beyond it fails, as on a full disk
    refused = 0
    for folder in folders:
        try:
            record(folder, History(root))
        except HistoryError:
            refused += 1
    sys.exit(7 if refused else 0)


@pytest.mark.slow
def test_a_full_disk_loses_nothing(history: History, runs: Path) -> None:
    folders = invent(runs, 20, 100)
    writer = multiprocessing.get_context("spawn").Process(target=_record_until_full, args=(history.root, folders))
    writer.start()
    writer.join()
    assert writer.exitcode == 7, "a write was to fail"
    assert len(outcomes(history)) == 20


def _import_slowly(root: Path, runs: Path) -> None:
    imported(History(root), runs)


@pytest.mark.slow
def test_killed_at_any_moment_it_is_whole(history: History, runs: Path) -> None:
    invent(runs, 30, 40)
    context = multiprocessing.get_context("spawn")
    for least in (1, 8, 15):
        writer = context.Process(target=_import_slowly, args=(history.root, runs))
        writer.start()
        while writer.is_alive() and _recorded(history) < least:
            pass
        writer.kill()
        writer.join()
    assert len(outcomes(history)) == 30
    with closing(sqlite3.connect(history.path)) as connection:
        assert connection.execute("SELECT count(*) FROM result").fetchone()[0] == 30 * 40


def _recorded(history: History) -> int:
    try:
        with closing(sqlite3.connect(f"file:{history.path}?mode=ro", uri=True)) as connection:
            return int(connection.execute("SELECT count(*) FROM run").fetchone()[0])
    except sqlite3.Error:
        return 0


def test_a_folder_name_that_was_cut_off_swallows_no_other(history: History, runs: Path) -> None:
    history.add_folder(runs)
    with history.folders_path.open("ab") as file:
        file.write(b"\0/cut/o")
    history.add_folder(runs / "other")
    assert history.folders() == [runs, Path("/cut/o"), runs / "other"]


def test_the_parts_of_a_divided_run_are_one_run(history: History, runs: Path) -> None:
    whole = runs / "20261128T000000Z-aaaaaa"
    for number, tests in enumerate(({"a": "p"}, {"b": "f"}), 1):
        part = InventedRun(number, tests, environment=f"shop-{number}").write(whole / "clones" / f"shop-{number}")
        record(part, history)
    record(whole, history)
    (row,) = looked_at(run_rows, history)
    assert (row["run_id"], row["environment"], row["tests"], row["failed"]) == (whole.name, "shop", 2, 1)


def test_a_clock_that_was_set_back_mixes_no_runs(history: History, runs: Path) -> None:
    """Runs keep their own durations, and all are there; the order is that of the clock."""
    InventedRun(0, {"a": "p"}, started=FIRST + 86_400 * 300).write(runs)
    InventedRun(1, {"a": "f"}, started=FIRST).write(runs)
    imported(history, runs)
    rows = looked_at(run_rows, history)
    assert [row["outcome"] for row in rows] == ["passed", "failed"]
    assert [row["seconds"] for row in rows] == [60.0, 60.0]


@pytest.mark.slow
def test_the_commands(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    folders = invent(tmp_path / "runs", 5, 3, failing=[4])
    assert "5 runs and 0 nights read" in cli("history", "import", "runs").stderr
    assert cli("history", "list").stdout.count(" passed ") == 4
    listed = json.loads(cli("history", "list", "--json").stdout)
    assert [row["run_id"] for row in listed] == [folder.name for folder in reversed(folders)]
    shown = cli("history", "show", "latest").stdout
    assert "failed: page 0 works: expected 1, found 2" in shown
    assert "layer app: a0" in shown
    told = cli("history", "test", "page 0").stdout
    assert told.startswith("unknown: page 0 works")
    assert "✔✔✔✔✘" in told
    assert cli("history", "show", "2031").returncode == 2
    assert cli("history", "test", "no such").returncode == 2
    assert json.loads(cli("history", "export").stdout)["tests"][0]["verdict"] == "unknown"


@pytest.mark.slow
def test_a_pin_outlives_the_database(tmp_path: Path) -> None:
    cli = Cli(tmp_path)
    (folder,) = invent(tmp_path / "runs", 1, 1)
    cli("history", "import", "runs")
    assert "is never removed" in cli("history", "pin", folder.name).stderr
    (tmp_path / "state/history.db").write_bytes(b"damaged" * 1000)
    assert json.loads(cli("history", "list", "--json").stdout)[0]["pinned"] is True
    cli("history", "pin", folder.name, "--remove")
    assert json.loads(cli("history", "list", "--json").stdout)[0]["pinned"] is False


def test_a_text_that_is_no_utf_8_comes_back_as_it_is(history: History) -> None:
    odd = "a \udce9 of latin-1, and ü"

    def asked(opened: sqlite3.Connection) -> tuple[str, int, str]:
        return tuple(opened.execute("SELECT ?, length(?), ?", (odd, odd, odd)).fetchone())

    assert looked_at(asked, history) == (odd, len(odd), odd)
