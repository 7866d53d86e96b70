"""The run folder of a command, and the reports that are written into it."""

from __future__ import annotations

from pathlib import Path

from orchestrator.cli import crash
from orchestrator.cli.runtime import say
from orchestrator.events import Event, EventBus
from orchestrator.events.run import Note, RunStarted


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
        """Write the reports, whatever state the folder is in; a full disk is told, and hides nothing."""
        for folder in (*(path for path in self._left if path.is_dir()), self.path):
            if folder is None:
                continue
            from orchestrator.report.write import write_report  # commands that only look need no reports

            try:
                write_report(folder)
            except OSError as error:
                say(f"warning: the reports could not be written: {error}")
