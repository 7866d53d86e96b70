"""The run folder of a command, and the reports that are written into it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path

from orchestrator.cli import crash
from orchestrator.cli.runtime import say
from orchestrator.debug import debug_log
from orchestrator.errors import OrchestratorError
from orchestrator.events import Event, EventBus, JsonLinesLog
from orchestrator.events.run import Note, RunStarted
from orchestrator.text import json_text


class RunFolder:
    """Remembers the run folder from the events; a subscriber."""

    def __init__(self, bus: EventBus) -> None:
        self.path: Path | None = None
        self._left: list[Path] = []  # those of killed commands, which wrote no reports
        bus.subscribe(self)

    def __call__(self, event: Event) -> None:
        match event:
            case RunStarted():
                self.path = Path(event.run_folder)
                crash.FOLDERS.insert(0, self.path)
            case Note(run_folder=left) if left:
                self._left.append(Path(left))

    def report(self) -> None:
        """Write the reports, whatever state the folder is in."""
        for folder in (*(path for path in self._left if path.is_dir()), self.path):
            if folder is not None:
                report_on(folder)


@contextmanager
def continued(folder: Path, bus: EventBus, *, only_missing: bool = False) -> Iterator[None]:
    """Go on writing in the run folder of an earlier command: events and debug log, and reports at the end.

    Args:
        only_missing: write no reports where there are some.
    """
    with ExitStack() as stack:
        debug_log.write_to(folder)
        stack.callback(debug_log.leave)
        stack.callback(report_on, folder, only_missing=only_missing)
        log = stack.enter_context(JsonLinesLog(folder / "events.jsonl"))
        stack.callback(bus.subscribe(log))
        yield


def report_on(folder: Path, *, only_missing: bool = False) -> None:
    """Write the reports of a run folder; a full disk is told, and hides nothing.

    Args:
        only_missing: nothing, where they were written before.
    """
    from orchestrator.report.write import write_report  # commands that only look need no reports

    if only_missing and (folder / "summary.json").exists():
        return
    try:
        write_report(folder)
    except OSError as error:
        say(f"warning: the reports could not be written: {error}")
    remember(folder)


def remember(folder: Path) -> None:
    """Put the run into the history; a history that cannot be written is told, and changes nothing about the run."""
    from orchestrator.history.filling import record

    try:
        record(folder)
    except OrchestratorError as error:
        say(f"warning: the run is not in the history yet: {error.brief}")


def print_summary(folder: Path, code: int) -> None:
    """Print the ``summary.json`` of a run folder on stdout; where a full disk has none, how the command ended."""
    try:
        text = (folder / "summary.json").read_text(encoding="utf-8")
    except OSError:
        text = json_text({"exit_code": code, "run_folder": str(folder)})
    sys.stdout.write(text.rstrip("\n") + "\n")
