"""The terminal view that redraws itself; the only module here that needs rich."""

from __future__ import annotations

import threading
from typing import TextIO

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.text import Text

from orchestrator.cli.progress_board import Board, PhaseRow, Row
from orchestrator.deadline import monotonic
from orchestrator.events import Event

FRAMES = "⠋⠙⠹⠸⠼⠴⠦⠧⠇⠏"
REFRESH = 5  # drawings a second: the hosts that need patience are also the slow ones
_MARKS = {"up": ("✔", "green"), "broken": ("✘", "bold red"), "idle": ("–", "dim")}
_STATES = {"up": "green", "broken": "bold red", "active": "yellow", "idle": "dim"}


class LiveView:
    """A `Board` on the screen; lines given to `above` stay in the scroll-back for good."""

    def __init__(self, stream: TextIO, color: bool) -> None:
        self._console = Console(
            file=stream,
            force_terminal=True,
            no_color=not color,
            highlight=False,
            markup=False,
            emoji=False,
            soft_wrap=False,
        )
        self._board = Board()
        self._lock = threading.RLock()
        # rich also redirects stdout; ours is data and must not pass through the view
        self._live = Live(
            _Drawing(self._board, self._lock),
            console=self._console,
            refresh_per_second=REFRESH,
            redirect_stdout=False,
            redirect_stderr=False,
            vertical_overflow="crop",
        )

    def start(self) -> None:
        self._live.start()

    def stop(self) -> None:
        """Draw the last state and leave it standing."""
        self._live.stop()

    def apply(self, event: Event) -> None:
        with self._lock:
            self._board.apply(event)

    def above(self, line: str, style: str = "") -> None:
        """Print a line above the view."""
        self._console.print(Text(line, style=style))


class _Drawing:
    """Draws the board again at each refresh, in the height and width there are."""

    def __init__(self, board: Board, lock: threading.RLock) -> None:  # type: ignore[valid-type, unused-ignore]
        self._board = board
        self._lock = lock

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        with self._lock:
            yield draw(self._board, options.max_width, console.size.height, monotonic())


def draw(board: Board, width: int, height: int, now: float) -> RenderableType:
    """The board as something rich can print, at most ``height - 1`` lines.

    When there are more lines than fit, those that are up are counted instead of shown.
    """
    rows, phases = board.rows, [p for p in board.phases.values() if p.state != "finished" or p.total or p.done]
    room = max(3, height - 2 - 2 * len(phases))
    hidden = 0
    if len(rows) > room:
        keep = sorted(rows, key=lambda row: {"broken": 0, "active": 1, "idle": 2, "up": 3}[row.mark])
        shown = {id(row) for row in keep[: room - 1]}
        hidden = len(rows) - len(shown)
        rows = [row for row in rows if id(row) in shown]
    frame = FRAMES[int(now * REFRESH) % len(FRAMES)]
    lines: list[RenderableType] = []
    if board.title:
        spent = Text(clock(now - board.started), style="dim")
        lines.append(one_line(Text(board.title, style="bold"), spent, width))
    lines += [row_line(row, rows, frame, width, now) for row in rows]
    if hidden:
        lines.append(Text(f"  … and {hidden} more", style="dim"))
    for phase in phases:
        lines += phase_lines(phase, frame, width, now)
    return Group(*lines)


def row_line(row: Row, rows: list[Row], frame: str, width: int, now: float) -> RenderableType:
    """A machine, service or image; names are as wide as those of all rows."""
    sign, style = _MARKS.get(row.mark, (frame, "yellow"))
    names = min(max((len(r.name) for r in rows), default=8), max(8, width // 3))
    line = Text.assemble(
        (f"{sign} ", style),
        f"{row.kind:<8}" if width >= 60 else "",
        (f"{_cut(row.name, names):<{names}}  ", "bold" if row.mark == "active" else ""),
        (f"{row.state:<10}", _STATES[row.mark]),
    )
    if row.note:
        line.append(f" {row.note}", style="red" if row.mark == "broken" else "dim")
    elapsed = row.elapsed(now)
    return one_line(line, Text("" if elapsed is None else f"{elapsed:.1f}s"), width)


def phase_lines(phase: PhaseRow, frame: str, width: int, now: float) -> list[RenderableType]:
    """A phase of the suite, and the test that runs."""
    over = phase.state == "finished"
    sign, style = _MARKS["broken" if phase.failed else "up"] if over else (frame, "yellow")
    counted = f"{phase.done} of {phase.total or '?'}" if phase.done or phase.total else phase.state
    line = Text.assemble(
        (f"{sign} ", style),
        f"{'tests':<8}" if width >= 60 else "",
        (phase.name, "bold"),
        f"  {counted}",
        (f"  {phase.failed} failed" if phase.failed else "", "bold red"),
    )
    out: list[RenderableType] = [one_line(line, Text("" if over else clock(now - phase.since)), width)]
    if phase.current:
        out.append(one_line(Text(f"  {phase.current}", style="dim"), Text(""), width))
    return out


def one_line(left: Text, right: Text, width: int) -> RenderableType:
    """One line, ``right`` at the right edge whole; ``left`` is cut, never wrapped."""
    room = max(0, width - right.cell_len - 1)
    line = left.copy()
    line.truncate(room, overflow="ellipsis", pad=True)
    line.append(" ")
    line.append_text(right)
    line.no_wrap, line.overflow = True, "crop"
    return line


def _cut(name: str, width: int) -> str:
    return name if len(name) <= width else name[: width - 1] + "…"


def clock(seconds: float) -> str:
    """``1:05``."""
    minutes, rest = divmod(max(0, int(seconds)), 60)
    return f"{minutes}:{rest:02}"
