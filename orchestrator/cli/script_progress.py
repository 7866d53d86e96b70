"""What is shown of a script while it runs: its own lines among those of the machines."""

from __future__ import annotations

import argparse
from pathlib import Path
from types import TracebackType
from typing import Self

from orchestrator.cli import crash
from orchestrator.cli.progress import Mode, Progress, make_progress
from orchestrator.cli.runtime import say
from orchestrator.debug import debug_log
from orchestrator.driver.testscript.outcome import failure_text
from orchestrator.errors import OrchestratorError, SuiteFailed
from orchestrator.events import Event
from orchestrator.events.run import Failure, Note, RunStarted
from orchestrator.events.suite import SuiteOutput


class ScriptProgress:
    """A subscriber. Lines unless told otherwise: a view that redraws itself would overwrite what scripts print."""

    def __init__(self, arguments: argparse.Namespace) -> None:
        mode: Mode = "quiet" if arguments.quiet else arguments.progress
        self._mode: Mode = "plain" if mode == "auto" else mode
        color = False if arguments.no_color else None
        self._progress: Progress = make_progress(self._mode, verbose=arguments.verbose, color=color)
        self._shown: set[str] = set()
        self._debug = debug_log.shown_by(self._progress.debug)
        self.run_folder = ""

    def __enter__(self) -> Self:
        self._progress.__enter__()
        self._debug.__enter__()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._debug.__exit__(kind, error, trace)
        self._progress.__exit__(kind, error, trace)

    def __call__(self, event: Event) -> None:
        match event:
            case RunStarted():
                self.run_folder = event.run_folder
                crash.FOLDERS.insert(0, Path(event.run_folder))
            case SuiteOutput() if self._mode != "json":
                if self._mode != "quiet":
                    self._progress.debug(event.line)
                return
            case Failure(type=SuiteFailed.__name__) if self._mode != "json":
                self._progress.debug(failure_text(_error_of(event)))
                return
            case Failure():
                self._shown.add(event.what)
        self._progress(event)

    def has_shown(self, error: OrchestratorError) -> bool:
        """Whether this error was shown as an event."""
        return error.what in self._shown

    def interrupted(self) -> None:
        """Say that a signal came."""
        self(Note(level="warning", message="interrupted: shutting down; a second Ctrl-C ends at once"))

    def told_where(self) -> None:
        """Say where the report is."""
        if self.run_folder:
            say(f"report: {Path(self.run_folder) / 'report' / 'index.html'}")


def _error_of(event: Failure) -> OrchestratorError:
    return SuiteFailed(event.what, why=event.why, where=event.where, hint=event.hint, evidence=event.evidence)
