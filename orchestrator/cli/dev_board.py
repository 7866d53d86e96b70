"""The board of `dev`: what the loop does now, how the last round went, and the keys."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from types import TracebackType
from typing import Self, TextIO

from rich.console import Console, ConsoleOptions, Group, RenderableType, RenderResult
from rich.live import Live
from rich.text import Text

from orchestrator.cli.dev_lines import round_line, state_text
from orchestrator.cli.progress import Progress
from orchestrator.cli.progress_board import Board
from orchestrator.cli.progress_failure import render_failure, use_color
from orchestrator.cli.progress_lines import LineWriter
from orchestrator.cli.progress_live import FRAMES, REFRESH, clock, one_line, phase_lines, row_line
from orchestrator.deadline import monotonic
from orchestrator.events import Event
from orchestrator.events.dev import DevCycleEnded, DevStateChanged
from orchestrator.events.machines import LogMatched
from orchestrator.events.run import Failure, Note
from orchestrator.events.suite import SuiteError, TestBegan, TestEnded
from orchestrator.report.model_tests import FAILED_TESTS

KEYS = (("Enter", "again"), ("a", "all"), ("f", "failed"), ("s", "shell"), ("R", "reset"), ("q", "quit"))
FAILURES_SHOWN = 3
STYLES = {"passed": "bold green", "failed": "bold red", "error": "bold red"}


class DevBoard(Progress):
    """The loop on the screen; the line of each round stays in the scroll-back.

    Attributes:
        addresses: URLs for the user's own browser, by what they lead to.
        state: of the loop.
    """

    def __init__(self, stream: TextIO, *, verbose: int = 0, color: bool | None = None) -> None:
        super().__init__(stream, verbose=verbose, color=use_color(stream, color))
        self.addresses: Callable[[], Mapping[str, str]] = dict
        self.state = "starting"
        self._told = "starting"
        self._since = monotonic()
        self._ended: DevCycleEnded | None = None
        self._hint = ""
        self._board = Board()
        self._lines = LineWriter(verbose)
        self._console = Console(
            file=stream, force_terminal=True, no_color=not self._color, highlight=False, markup=False, emoji=False
        )
        self._live = self._new_live()

    def _new_live(self) -> Live:
        return Live(
            _Drawing(self),
            console=self._console,
            refresh_per_second=REFRESH,
            redirect_stdout=False,
            redirect_stderr=False,
            transient=True,
            vertical_overflow="crop",
        )

    def __enter__(self) -> Self:
        self._live.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._live.stop()

    @contextmanager
    def suspended(self) -> Iterator[None]:
        """The terminal is somebody else's, for the block."""
        self._live.stop()
        try:
            yield
        finally:
            self._live = self._new_live()
            self._live.start()

    def hint(self, text: str) -> None:
        """An answer to a key, until the loop goes on."""
        self._hint = text

    def debug(self, line: str) -> None:
        self._console.print(Text(line, style="dim"))

    def show(self, event: Event) -> None:
        self._board.apply(event)
        match event:
            case DevStateChanged():
                self.state, self._told, self._since, self._hint = event.state, state_text(event), monotonic(), ""
                if event.state == "testing":
                    self._board.phases.clear()
            case TestBegan():
                self._lines.line(event)
            case TestEnded() if event.status in FAILED_TESTS:
                self._console.print(Text(self._lines.test(event), style="red"))
            case DevCycleEnded():
                self._ended = event
                style = {"passed": "green", "failed": "red", "error": "red"}.get(event.outcome, "dim")
                self._console.print(Text(round_line(event), style=style))
            case Failure():
                self._console.print(Text.from_ansi(render_failure(event.data(), self._color)))
            case LogMatched() | SuiteError():
                self._console.print(Text(self._lines.line(event) or "", style="red"))
            case Note():
                self._console.print(
                    Text(self._lines.line(event) or "", style="yellow" if event.level == "warning" else "dim")
                )

    # ------------------------------------------------------------------ drawing

    def draw(self, width: int, height: int, now: float) -> RenderableType:
        """At most ``height - 1`` lines."""
        frame = FRAMES[int(now * REFRESH) % len(FRAMES)]
        waiting = self.state == "waiting"
        sign, style = self._sign(frame)
        spent = Text("" if waiting else clock(now - self._since), style="dim")
        lines = [one_line(Text.assemble((f"{sign} ", style), (self._told, "bold")), spent, width)]
        if self.state in ("starting", "deploying"):
            lines += self._work(frame, width, height - 8, now)
        elif self.state == "testing":
            for phase in self._board.phases.values():
                lines += phase_lines(phase, frame, width, now)
        elif self._ended is not None:
            lines += self._failures(self._ended, width)
        for what, url in self.addresses().items():
            lines.append(one_line(Text.assemble("  ", (url, "underline"), (f"  {what}", "dim")), Text(""), width))
        keys = Text("  ")
        for key, meaning in KEYS:
            keys.append(key, style="bold").append(f" {meaning}   ", style="dim")
        lines.append(one_line(Text(f"  {self._hint}", style="yellow") if self._hint else keys, Text(""), width))
        return Group(*lines[: max(1, height - 1)])

    def _sign(self, frame: str) -> tuple[str, str]:
        if self.state != "waiting":
            return frame, "yellow"
        outcome = "passed" if self._ended is None else self._ended.outcome
        return {"failed": "✘", "error": "✘"}.get(outcome, "●"), STYLES.get(outcome, "dim")

    def _work(self, frame: str, width: int, room: int, now: float) -> list[RenderableType]:
        rows = self._board.rows
        busy = [row for row in rows if row.mark in ("active", "broken")][: max(1, room)]
        up = sum(row.mark == "up" for row in rows)
        counted = Text(f"  {up} of {len(rows)} machines and services up", style="dim")
        return [*(row_line(row, busy, frame, width, now) for row in busy), one_line(counted, Text(""), width)]

    @staticmethod
    def _failures(ended: DevCycleEnded, width: int) -> list[RenderableType]:
        told = ended.failures or ((ended.error,) if ended.error else ())
        lines: list[RenderableType] = [
            one_line(Text(f"  ✘ {text}", style="red"), Text(""), width) for text in told[:FAILURES_SHOWN]
        ]
        if len(told) > FAILURES_SHOWN:
            lines.append(Text(f"    … and {len(told) - FAILURES_SHOWN} more", style="dim"))
        if told and ended.run_folder:
            lines.append(one_line(Text(f"  {ended.run_folder}/report/index.html", style="dim"), Text(""), width))
        return lines


class _Drawing:
    """Draws the board again at each refresh."""

    def __init__(self, board: DevBoard) -> None:
        self._board = board

    def __rich_console__(self, console: Console, options: ConsoleOptions) -> RenderResult:
        yield self._board.draw(options.max_width, console.size.height, monotonic())
