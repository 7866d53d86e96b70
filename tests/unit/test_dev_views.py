"""What a person sees of `dev`: the line of a round, and the board."""

from __future__ import annotations

import io

from rich.console import Console

from orchestrator.cli.dev_board import DevBoard
from orchestrator.cli.dev_lines import dev_line, round_line, state_text
from orchestrator.events.dev import DevCycleEnded, DevStateChanged
from orchestrator.events.run import Note
from orchestrator.events.suite import SuiteStateChanged, TestBegan, TestEnded

DEPLOYED = "layer app brought in, 4 of 9 services started again"
PASSED = DevCycleEnded(
    "shop", number=3, outcome="passed", cause="app/main.py", deployed=DEPLOYED, deploy_seconds=4.6, tests="all tests",
    passed=2, test_seconds=6.1, elapsed=11.0,
)  # fmt: skip
FAILED = DevCycleEnded(
    "shop", number=4, outcome="failed", cause="app/main.py", tests="all tests", passed=1, failed=5, elapsed=9.0,
    failures=tuple(f"page › {name}: is empty" for name in "abcde"), run_folder="/runs/4",
)  # fmt: skip
ERROR = DevCycleEnded("shop", number=5, outcome="error", cause="app/x\x1b[31m", error="service web failed", elapsed=3.0)


def test_a_round_is_one_line() -> None:
    assert round_line(PASSED) == f"✔ 3 app/main.py: {DEPLOYED} (4.6 s); 2 passed (6.1 s); 11 s"
    assert round_line(FAILED) == "✘ 4 app/main.py: 1 passed, 5 failed (0 s); 9 s"
    assert round_line(ERROR) == "✘ 5 app/x: service web failed; 3 s"
    assert (
        round_line(DevCycleEnded("shop", number=6, outcome="unchanged", cause="app/a")) == "– 6 app/a: nothing changed"
    )
    superseded = DevCycleEnded("shop", number=7, outcome="superseded", cause="app/a", elapsed=2.0)
    assert round_line(superseded) == "– 7 app/a: the next change came while tests ran; 2 s"


def test_a_state_is_told_with_its_reason() -> None:
    assert state_text(DevStateChanged("shop", state="deploying", detail="app/main.py")) == "deploying: app/main.py"
    assert dev_line(DevStateChanged("shop", state="starting")) is None, "what starts is told by itself"
    assert dev_line(Note(level="info", message="x")) is None


class Screen:
    def __init__(self) -> None:
        self.out = io.StringIO()
        self.board = DevBoard(self.out, color=False)
        self.board.addresses = lambda: {"server:80": "http://127.0.0.1:4000"}

    def lines(self, width: int = 80, height: int = 24) -> list[str]:
        console = Console(file=io.StringIO(), width=width, height=height, force_terminal=False)
        console.print(self.board.draw(width, height, 0.0))
        text = console.file.getvalue()  # type: ignore[attr-defined]
        return [line.rstrip() for line in text.splitlines()]


def test_the_board_waits_with_the_address_and_the_keys() -> None:
    screen = Screen()
    screen.board(DevStateChanged("shop", state="waiting"))
    assert screen.lines() == [
        "● waiting for a change",
        "  http://127.0.0.1:4000  server:80",
        "  Enter again   a all   f failed   s shell   R reset   q quit",
    ]


def test_the_board_shows_the_first_failures_and_their_report() -> None:
    screen = Screen()
    screen.board(FAILED)
    screen.board(DevStateChanged("shop", state="waiting"))
    assert screen.lines()[:6] == [
        "✘ waiting for a change",
        "  ✘ page › a: is empty",
        "  ✘ page › b: is empty",
        "  ✘ page › c: is empty",
        "    … and 2 more",
        "  /runs/4/report/index.html",
    ]
    assert "✘ 4 app/main.py: 1 passed, 5 failed" in screen.out.getvalue(), "the line stays in the scroll-back"


def test_the_board_counts_tests_as_they_end_and_tells_a_failed_one_at_once() -> None:
    screen = Screen()
    screen.board(DevStateChanged("shop", state="testing", detail="all tests"))
    screen.board(SuiteStateChanged("stack", state="running"))
    common = {"phase": "stack", "id": "1", "file": "a.spec.ts", "line": 1}
    screen.board(TestBegan("a.spec.ts › one", index=1, total=2, **common))  # type: ignore[arg-type]
    ended = TestEnded("a.spec.ts › one", status="failed", duration=1.0, retry=0, error="boom", **common)  # type: ignore[arg-type]
    screen.board(ended)
    shown = "\n".join(screen.lines())
    assert "testing: all tests" in shown
    assert "1 of 2  1 failed" in shown
    assert "✘ 1/2 a.spec.ts › one (1 s): boom" in screen.out.getvalue()


def test_a_low_window_shows_what_fits() -> None:
    screen = Screen()
    screen.board(FAILED)
    screen.board(DevStateChanged("shop", state="waiting"))
    assert len(screen.lines(height=4)) == 3


def test_a_hint_takes_the_place_of_the_keys_until_the_loop_goes_on() -> None:
    screen = Screen()
    screen.board.hint("press s again")
    assert screen.lines()[-1] == "  press s again"
    screen.board(DevStateChanged("shop", state="waiting"))
    assert screen.lines()[-1].startswith("  Enter again")
