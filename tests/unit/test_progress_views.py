"""The progress views: plain lines, the live view in a pseudo-terminal, failures."""

import fcntl
import io
import json
import os
import pty
import re
import struct
import subprocess
import sys
import termios
import time
from pathlib import Path

import pytest
from event_records import recorded
from hypothesis import given
from hypothesis import strategies as st

from orchestrator.cli.progress import Mode, make_progress, render_failure
from orchestrator.cli.progress_board import Board
from orchestrator.cli.progress_live import draw
from orchestrator.errors import ServiceError
from orchestrator.events import Event
from orchestrator.events.read import load_events
from orchestrator.events.run import Note
from orchestrator.text import clean

GOLDEN = Path(__file__).parents[1] / "golden" / "report"
ROOT = Path(__file__).parents[2]


@pytest.fixture(autouse=True)
def utc(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("TZ", "UTC")
    monkeypatch.delenv("NO_COLOR", raising=False)
    time.tzset()


def shown(mode: Mode, events: list[Event], *, verbose: int = 0, color: bool | None = False) -> str:
    stream = io.StringIO()
    with make_progress(mode, stream, verbose=verbose, color=color) as view:
        for event in events:
            view(event)
    return stream.getvalue()


def sample(name: str) -> list[Event]:
    return list(load_events(GOLDEN / f"{name}-events.jsonl"))


@pytest.mark.parametrize("name", ["sample", "failed-migrations", "failed-tests"])
def test_plain_lines_of_the_samples(name: str) -> None:
    path = GOLDEN / f"{name}-plain.txt"
    actual = shown("auto", sample(name))  # a StringIO is no terminal
    if os.environ.get("UPDATE_GOLDEN"):
        path.write_text(actual)
    assert actual == path.read_text()


def test_plain_says_a_state_once() -> None:
    state = {"machine": "server", "state": "healthy", "elapsed": 4.2}
    events = [recorded("service.state", "postgresql", state, at=43424.0 + i) for i in range(3)]
    assert shown("plain", events) == "12:03:44 service postgresql: healthy (4.2 s)\n"


def test_a_fresh_state_is_one_line_and_its_failure_all_of_them() -> None:
    def state(word: str) -> Event:
        return recorded("service.state", "nginx", {"state": word}, at=43424.0)

    begin = recorded("isolation.state", "e", {"state": "restoring", "number": 2, "total": 9}, at=43424.0)
    ready = recorded("isolation.state", "e", {"state": "ready", "number": 2, "total": 9, "elapsed": 3.84}, at=43424.0)
    events = [begin, state("checking"), state("healthy"), ready, state("stopped")]
    assert shown("plain", events).splitlines() == [
        "12:03:44 fresh state 2 of 9: ready (3.8 s)",
        "12:03:44 service nginx: stopped",
    ]
    assert "service nginx: checking" in shown("plain", events, verbose=1)
    failure = recorded("failure", "e", {"what": "no"})
    broken = shown("plain", [begin, state("checking"), state("failed"), failure, state("stopped")])
    assert "nginx: checking" not in broken
    assert "nginx: failed" in broken and "nginx: stopped" in broken


def test_heartbeats_are_thirty_seconds_apart() -> None:
    beats = [
        recorded("wait.heartbeat", "x", {"what": "x", "elapsed": i, "limit": 90, "last": "refused"}, at=1000.0 + i)
        for i in range(0, 90, 5)
    ]
    lines = shown("plain", beats).splitlines()
    assert [re.search(r"(\d+) s of 90 s, last answer: refused", line)[1] for line in lines] == ["0", "30", "60"]  # type: ignore[index]


def test_json_is_the_stream_itself() -> None:
    events = sample("sample")
    lines = shown("json", events).splitlines()
    assert lines == [event.as_json() for event in events]
    assert json.loads(lines[0])["kind"] == "run.started"


def test_quiet_tells_failures_only() -> None:
    assert shown("quiet", sample("sample")) == ""
    told = shown("quiet", sample("failed-tests"))
    assert told.count("✘ ") == 5
    assert "error: 2 of 10 browser tests failed" in told
    assert "READY" not in told


def test_verbose_shows_answers_of_checks() -> None:
    assert "check backend/health: not yet: connection refused" in shown("plain", sample("sample"), verbose=1)


def test_a_pipe_that_closed_ends_the_view_and_not_the_run() -> None:
    stream = io.StringIO()
    view = make_progress("plain", stream)
    stream.close()
    view(Note(message="x"))


def test_failure_on_one_screen() -> None:
    error = ServiceError(
        "service backend failed\x1b[2J",
        why="it exited with 1\nafter 3 starts",
        where=["machines/server/journal.jsonl"],
        hint="orchestrator shell server",
        evidence=[f"line {i}" for i in range(100)],
    )
    lines = render_failure(error.as_dict(), color=False).splitlines()
    assert lines[0] == "error: service backend failed"
    assert lines[1:3] == ["  why:   it exited with 1", "         after 3 starts"]
    assert lines[3] == "  │ … 89 earlier lines left out"
    assert lines[14] == "  │ line 99"
    assert lines[-2:] == ["  where: machines/server/journal.jsonl", "  next:  orchestrator shell server"]
    assert len(lines) < 24
    assert render_failure(error.as_dict(), color=True).startswith("\x1b[1;31merror: service backend failed\x1b[0m\n")


ODD = st.none() | st.booleans() | st.floats() | st.text(max_size=20) | st.lists(st.text(max_size=9), max_size=3)


@given(st.dictionaries(st.sampled_from(["what", "why", "where", "hint", "evidence"]), ODD))
def test_any_failure_can_be_shown(error: dict[str, object]) -> None:
    text = render_failure(error, color=False)
    assert text.startswith("error: ")
    assert clean(text, 100_000, multiline=True) == text


@given(
    st.lists(
        st.builds(
            recorded,
            kind=st.sampled_from(["run.started", "service.state", "machine.state", "test.end", "check.result", "note"]),
            subject=st.text(max_size=20),
            data=st.dictionaries(st.sampled_from(["state", "elapsed", "phase", "status", "check", "services"]), ODD),
        ),
        max_size=8,
    ),
    st.sampled_from(["plain", "json", "quiet"]),
)
def test_no_event_breaks_a_view(events: list[Event], mode: Mode) -> None:
    text = shown(mode, events, verbose=1)
    assert mode == "json" or clean(text, 1_000_000, multiline=True) == text


def test_board_shows_the_whole_plan_from_the_first_event() -> None:
    board = Board()
    board.apply(sample("sample")[0])
    assert [row.name for row in board.rows][:4] == ["server", "client", "network", "postgresql"]
    assert {row.state for row in board.rows} == {"pending"}
    assert all(row.elapsed(1e9) is None for row in board.rows)


def test_clock_runs_only_while_something_starts() -> None:
    board = Board()
    board.apply(recorded("service.state", "a", {"state": "starting", "elapsed": 0.0}))
    row = board.services["a"]
    assert row.since is not None
    assert row.elapsed(row.since + 3) == 3.0
    board.apply(recorded("service.state", "a", {"state": "healthy", "elapsed": 4.2}))
    assert row.elapsed(row.since or 1e9) == 4.2
    board.apply(recorded("service.state", "a", {"state": "stopped", "elapsed": 99.0}))
    assert (row.elapsed(1e9), row.mark) == (4.2, "idle")


@pytest.mark.parametrize(("width", "height"), [(100, 40), (44, 9), (20, 5), (8, 3)])
def test_view_fits_any_terminal(width: int, height: int) -> None:
    from rich.console import Console

    board = Board()
    for event in sample("failed-tests")[:90]:
        board.apply(event)
        stream = io.StringIO()
        Console(file=stream, width=width, height=height).print(draw(board, width, height, 1e9))
        lines = stream.getvalue().splitlines()
        assert all(len(line) <= width for line in lines)
        assert len(lines) <= max(height - 1, 8)


@pytest.mark.parametrize("width", [40, 80, 109, 110, 111, 200])
def test_a_long_command_line_leaves_the_clock_its_place(width: int) -> None:
    from rich.console import Console

    board = Board()
    board.apply(recorded("run.started", "alicia", {"command": "orchestrator run --file " + "a/long/path/" * 8}))
    board.apply(recorded("host.accelerator", "", {"accelerator": "tcg", "factor": 10.0}))
    stream = io.StringIO()
    Console(file=stream, width=width, height=30).print(draw(board, width, 30, board.started + 754.5))
    first = stream.getvalue().splitlines()[0]
    assert first.endswith(" 12:34") and len(first) == width
    assert width > 150 or first[:-6].rstrip().endswith("…")


def test_tests_that_did_not_run_are_told_as_such() -> None:
    counts = {"passed": 6, "failed": 1, "skipped": 0, "did_not_run": 5}
    event = recorded("suite.state", "stack", {"state": "finished", "elapsed": 3, **counts})
    assert "suite stack: 6 passed, 1 failed, 5 did not run (3 s)" in shown("plain", [event])


def test_an_error_of_the_suite_itself_is_a_line() -> None:
    event = recorded("suite.error", "stack", {"error": "SyntaxError: Unexpected token\n\nat a.spec.ts:3"})
    for mode in ("plain", "quiet"):
        assert "✘ suite stack: SyntaxError: Unexpected token\n" in shown(mode, [event])


def in_terminal(name: str, **environment: str) -> str:
    """What a terminal of 80 columns gets when the sample is replayed to it."""
    code = (
        "import sys; from pathlib import Path; from orchestrator.events.read import load_events;"
        "from orchestrator.cli.progress import make_progress\n"
        "with make_progress('auto') as view:\n"
        "    for event in load_events(Path(sys.argv[1])): view(event)\n"
    )
    ours, theirs = pty.openpty()
    fcntl.ioctl(theirs, termios.TIOCSWINSZ, struct.pack("HHHH", 24, 80, 0, 0))
    child = subprocess.Popen(
        [sys.executable, "-c", code, str(GOLDEN / f"{name}-events.jsonl")],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=theirs,
        cwd=ROOT,
        env={"PATH": os.environ["PATH"], "TERM": "xterm-256color", "LANG": "C.UTF-8", **environment},
    )
    os.close(theirs)
    output = b""
    try:
        while chunk := os.read(ours, 65536):
            output += chunk
    except OSError:  # EIO: the other side is closed
        pass
    os.close(ours)
    assert child.wait(30) == 0
    return output.decode()


def test_live_view_in_a_terminal() -> None:
    output = in_terminal("failed-migrations")
    assert "\x1b[?25l" in output, "the cursor is hidden while it draws"
    assert output.rindex("\x1b[?25h") > output.rindex("\x1b[?25l"), "and shown again"
    assert "migrations" in output
    assert "\x1b[1;31merror: service migrations failed" in output
    assert output.rstrip().endswith("error in 47.8 s (exit code 3)")


def test_live_view_without_colour() -> None:
    output = in_terminal("failed-migrations", NO_COLOR="1")
    assert not re.search(r"\x1b\[[0-9;]*3[0-7]m", output)
    assert "error: service migrations failed" in output


def test_dumb_terminal_gets_plain_lines() -> None:
    assert re.match(r"\d\d:\d\d:\d\d run alicia", in_terminal("sample", TERM="dumb"))


def test_rich_is_imported_only_for_the_live_view() -> None:
    code = "import sys, orchestrator.cli.progress, orchestrator.report.write; print('rich' in sys.modules)"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=ROOT)
    assert out.stdout == "False\n"


def test_a_builds_output_is_shown_where_it_says_so() -> None:
    """Nix's, which may take an hour; the many lines of packages of a Debian image stay for --verbose."""
    lines = [
        recorded("image.output", "server", {"line": "building x.drv", "step": "nix", "shown": True}),
        recorded("image.output", "server", {"line": "Setting up y", "step": "packages"}),
    ]
    assert shown("plain", lines).count("server | building x.drv") == 1
    assert "Setting up y" not in shown("plain", lines)
    assert "Setting up y" in shown("plain", lines, verbose=1)
