"""Progress on the terminal: subscribers of the event stream.

=======  ===================================================================
auto     tty on a terminal, otherwise plain
tty      one line per machine and service that redraws itself
plain    a line with the time per change of state, for CI and cron
json     the events themselves, one JSON object a line
quiet    failures only
=======  ===================================================================
"""

from __future__ import annotations

import sys
import threading
from types import TracebackType
from typing import TYPE_CHECKING, Literal, Self, TextIO

from orchestrator.cli.progress_failure import is_terminal, render_failure, use_color
from orchestrator.cli.progress_lines import LineWriter, stamp
from orchestrator.events import Event
from orchestrator.events.fleet import CellOutput
from orchestrator.events.machines import ImageOutput, LogMatched
from orchestrator.events.run import Failure, Note, RunFinished, RunReady
from orchestrator.events.services import CheckResulted
from orchestrator.events.suite import SuiteError, SuiteOutput, TestBegan, TestEnded
from orchestrator.report.model_tests import FAILED_TESTS

if TYPE_CHECKING:
    from orchestrator.cli.progress_live import LiveView

Mode = Literal["auto", "tty", "plain", "json", "quiet"]

__all__ = ["Mode", "Progress", "make_progress", "render_failure"]


def make_progress(mode: Mode, stream: TextIO | None = None, *, verbose: int = 0, color: bool | None = None) -> Progress:
    """The progress view of a mode.

    Args:
        stream: stderr unless told; stdout is for data.
        verbose: 1 also shows check answers, screenshots and output of builds and the suite; 2 the same, and the
            debug log (`Progress.debug`).
        color: None decides by the terminal and NO_COLOR.

    Returns:
        A context manager which gives itself, a `Subscriber`.
    """
    stream = sys.stderr if stream is None else stream
    if mode == "auto":
        mode = "tty" if is_terminal(stream) else "plain"
    kinds = {"tty": TtyProgress, "plain": PlainProgress, "json": JsonProgress, "quiet": QuietProgress}
    return kinds[mode](stream, verbose=verbose, color=use_color(stream, color))


class Progress:
    """Common part of the views. Safe to call from any thread.

    A terminal or pipe that went away ends the view and nothing else.
    """

    def __init__(self, stream: TextIO, *, verbose: int, color: bool) -> None:
        self._stream = stream
        self._verbose = verbose
        self._color = color
        self._lock = threading.RLock()
        self._gone = False

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        return None

    def __call__(self, event: Event) -> None:
        with self._lock:
            self.show(event)

    def show(self, event: Event) -> None:
        raise NotImplementedError

    def debug(self, line: str) -> None:
        """A line of the debug log."""
        with self._lock:
            self._write(f"{line}\n")

    def _write(self, lines: str) -> None:
        if self._gone:
            return
        encoding = getattr(self._stream, "encoding", None) or "utf-8"
        try:
            # a terminal of another encoding gets ? for what it cannot show
            self._stream.write(lines.encode(encoding, "replace").decode(encoding))
            self._stream.flush()
        except (OSError, ValueError):  # hung up, or closed
            self._gone = True


class PlainProgress(Progress):
    """Lines with the time of day."""

    def __init__(self, stream: TextIO, *, verbose: int, color: bool) -> None:
        super().__init__(stream, verbose=verbose, color=color)
        self._lines = LineWriter(verbose)

    def show(self, event: Event) -> None:
        line = self._lines.line(event)
        if isinstance(event, Failure):
            self._write(f"{stamp(event.time)} {render_failure(event.data(), self._color)}")
        elif line is not None:
            self._write(f"{stamp(event.time)} {line}\n")


class JsonProgress(Progress):
    """The stream itself."""

    def show(self, event: Event) -> None:
        self._write(event.as_json() + "\n")

    def debug(self, line: str) -> None:
        """Nothing: each line of the stream is an event."""


class QuietProgress(Progress):
    """Failures, and tests that failed."""

    def __init__(self, stream: TextIO, *, verbose: int, color: bool) -> None:
        super().__init__(stream, verbose=verbose, color=color)
        self._lines = LineWriter()

    def show(self, event: Event) -> None:
        match event:
            case Failure():
                self._write(render_failure(event.data(), self._color))
            case TestBegan():
                self._lines.line(event)
            case SuiteError():
                self._write(f"{self._lines.line(event)}\n")
            case TestEnded() if event.status in FAILED_TESTS:
                self._write(self._lines.test(event) + "\n")


class TtyProgress(Progress):
    """The live view; failures are explained below it when it ends."""

    def __init__(self, stream: TextIO, *, verbose: int, color: bool) -> None:
        super().__init__(stream, verbose=verbose, color=color)
        self._lines = LineWriter(verbose)
        self._view: LiveView | None = None
        self._failures: list[str] = []
        self._closing: list[str] = []

    def __enter__(self) -> Self:
        from orchestrator.cli.progress_live import LiveView

        self._view = LiveView(self._stream, self._color)
        self._view.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if self._view is not None:
            self._view.stop()
            self._view = None
        self._write("".join([*self._failures, *self._closing]))

    def debug(self, line: str) -> None:
        if self._view is None:
            super().debug(line)
        else:
            self._view.above(line, "dim")

    def show(self, event: Event) -> None:
        view = self._view
        if view is None:
            return
        view.apply(event)
        match event:
            case Failure():
                self._failures.append(render_failure(event.data(), self._color))
            case TestBegan():
                self._lines.line(event)
            case TestEnded():
                if event.status in FAILED_TESTS:
                    view.above(self._lines.test(event), "red")
            case SuiteError() | LogMatched():
                view.above(self._lines.line(event) or "", "red")
            case RunReady():
                view.above(self._lines.line(event) or "", "bold green")
            case Note():
                view.above(self._lines.line(event) or "", "yellow" if event.level == "warning" else "")
            case RunFinished():
                self._closing = [f"{self._lines.line(event)}\n"]
            case CheckResulted() | ImageOutput() | SuiteOutput() | CellOutput() if self._verbose:
                view.above(self._lines.line(event) or "", "dim")
