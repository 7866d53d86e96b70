"""What the live page shows of a run folder: read again when something was written, and not more often than it pays."""

from __future__ import annotations

import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

from orchestrator.deadline import monotonic
from orchestrator.report.axis_data import axis_data, axis_text
from orchestrator.report.fold import fold
from orchestrator.report.html import LIVE_FILES, render_html
from orchestrator.report.write import list_files
from orchestrator.timeline.read import on_axis, read_timeline
from orchestrator.timeline.story import tell

SHARE = 0.25  # of a processor that is spent on reading, at most
_WATCHED = ("events.jsonl", "machines/*/journal.jsonl", "machines/*/serial.log", "machines/*/samples.csv")


@dataclass(frozen=True, slots=True)
class Shown:
    """The page and its data, of one state of the folder."""

    state: int
    data: str


class Content:
    """One run folder, for any number of readers. Its methods may be called in any thread.

    Args:
        logs: where its machines write.
        screens: machines whose displays can be seen now.
    """

    def __init__(self, folder: Path, logs: Path, screens: Sequence[str] = ()) -> None:
        self._screens = list(screens)
        self.folder = folder
        self._logs = logs
        self._lock = threading.Lock()
        self._shown: Shown | None = None
        self._not_before = 0.0

    def state(self) -> int:
        """A number that rises with all that is written."""
        found = 0
        for pattern in _WATCHED:
            for path in {*self.folder.glob(pattern), *self._logs.glob(pattern)}:
                try:
                    found += path.stat().st_size
                except OSError:
                    continue  # it was removed
        return found

    def page(self) -> str:
        """The whole page.

        Raises:
            OSError: the folder cannot be read.
        """
        timeline = read_timeline(self.folder, logs=self._logs)
        return render_html(fold(on_axis(timeline)), list_files(self.folder), timeline=timeline, live=True)

    def data(self) -> str:
        """The data of its axis as JSON, perhaps of a moment ago.

        Raises:
            OSError: the folder cannot be read.
        """
        with self._lock:
            state = self.state()
            shown = self._shown
            if shown is None or (shown.state != state and monotonic() >= self._not_before):
                shown = self._shown = Shown(state, self._timed(self._read))
            return shown.data

    def is_waiting(self) -> bool:
        """Whether `data` would be of a moment ago, whatever was written since."""
        return monotonic() < self._not_before

    def _timed(self, read: Callable[[], str]) -> str:
        began = monotonic()
        text = read()
        took = monotonic() - began
        self._not_before = monotonic() + took * (1 / SHARE - 1)
        return text

    def _read(self) -> str:
        timeline = read_timeline(self.folder, logs=self._logs)
        view = fold(on_axis(timeline))
        data = axis_data(view, timeline, tell(timeline, self.folder.name))
        return axis_text({**data, "files": LIVE_FILES, "screens": self._screens})
