"""The progress of a copy: a bar on a terminal, else a line from time to time; nothing for a quick copy."""

from __future__ import annotations

import threading
from types import TracebackType
from typing import TYPE_CHECKING, Self, TextIO

from orchestrator.deadline import monotonic
from orchestrator.text import size_text

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID

BEGIN = 0.7  # seconds until a bar is worth it
EVERY = 30.0  # seconds between two lines where there is no terminal


class CopyProgress:
    """Counts bytes from any thread. `add` is called by what copies.

    Args:
        total: bytes, approximately; 0 if unknown.
        live: a bar that is redrawn; else lines; with neither it only counts.
    """

    def __init__(self, stream: TextIO, *, live: bool, lines: bool, color: bool = False) -> None:
        self.total = 0
        self.bytes = 0
        self._stream = stream
        self._live, self._lines, self._color = live, lines, color
        self._began = self._said = monotonic()
        self._label = ""
        self._bar: Progress | None = None
        self._task: TaskID | None = None
        self._lock = threading.Lock()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._lock:
            if self._bar is not None:
                self._bar.stop()
            self._live = self._lines = False  # a thread that still copies says nothing any more

    @property
    def wanted(self) -> bool:
        """Whether progress is shown, so that the total is needed."""
        return self._live

    def begin(self, label: str, total: int) -> None:
        """Start the next source, of about so many bytes."""
        with self._lock:
            if not self._label:  # connecting is no part of the rate
                self._began = self._said = monotonic()
            self._label = label
            self.total += total

    def add(self, size: int) -> None:
        with self._lock:
            self.bytes += size
            now = monotonic()
            if self._live and now - self._began >= BEGIN:
                self._draw()
            elif self._lines and now - self._said >= EVERY:
                self._said = now
                self._stream.write(f"{self._label}: {self._so_far(now)}\n")
                self._stream.flush()

    def rate(self) -> str:
        """The mean rate so far; empty if the copy was too quick to measure."""
        elapsed = monotonic() - self._began
        return f"{size_text(self.bytes / elapsed)}/s" if elapsed >= BEGIN else ""

    def _so_far(self, now: float) -> str:
        of = f" of {size_text(self.total)}" if self.total else ""
        return f"{size_text(self.bytes)}{of}, {size_text(self.bytes / (now - self._began))}/s"

    def _draw(self) -> None:
        if self._bar is None:
            from rich.console import Console
            from rich.progress import (
                BarColumn,
                DownloadColumn,
                Progress,
                TextColumn,
                TimeRemainingColumn,
                TransferSpeedColumn,
            )

            console = Console(file=self._stream, force_terminal=True, no_color=not self._color, highlight=False)
            self._bar = Progress(
                TextColumn("{task.description}", markup=False),
                BarColumn(),
                DownloadColumn(binary_units=True),
                TransferSpeedColumn(),
                TimeRemainingColumn(),
                console=console,
                transient=True,
                redirect_stdout=False,
                redirect_stderr=False,
                refresh_per_second=5,
            )
            self._task = self._bar.add_task(self._label, total=self.total or None)
            self._bar.start()
        assert self._task is not None
        total = max(self.total, self.bytes) or None if self.total else None
        self._bar.update(self._task, completed=self.bytes, total=total, description=self._label)
